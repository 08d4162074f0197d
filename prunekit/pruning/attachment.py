"""Validation of what a pruner is attached to: the network's optimizer, and its twins."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from prunekit.errors import InputError
from prunekit.pruning.groups import find_groups
from prunekit.pruning.slices import Group


def parameter_group_of(network: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Return the index of the first parameter group of the optimizer that contains parameters of ``network``.

    Raises InputError for an optimizer that evaluates closures, or that lacks a parameter of the network.
    """
    if isinstance(optimizer, torch.optim.LBFGS):
        raise InputError("LBFGS evaluates the loss inside its step, after the pruner's hook; use another optimizer")
    group_of = {
        id(parameter): index for index, group in enumerate(optimizer.param_groups) for parameter in group["params"]
    }
    for name, parameter in network.named_parameters():
        if id(parameter) not in group_of:
            raise InputError(f"the optimizer does not hold the network's parameter '{name}'")
    found = [group_of[id(parameter)] for parameter in network.parameters()]
    if not found:
        raise InputError("the network has no parameters to prune")
    return min(found)


def check_twins(groups: Sequence[Group], twins: Sequence[nn.Module], *, states: int = 0) -> None:
    """Raise InputError unless every twin has exactly the groups ``groups``."""
    for twin in twins:
        if find_groups(twin, states=states) != tuple(groups):
            raise InputError(f"a twin ({type(twin).__name__}) has other hidden layers than the network it follows")


def check_equal_widths(groups: Sequence[Group], families: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Return ``families`` unchanged; raises InputError if one names an unknown group, or groups of different widths."""
    widths = {group.name: group.width for group in groups}
    for family in families:
        unknown = [name for name in family if name not in widths]
        if unknown:
            raise InputError(f"equal_widths names '{unknown[0]}', but the groups are {', '.join(widths)}")
        if len({widths[name] for name in family}) != 1:
            raise InputError(f"equal_widths names groups of different widths: {[widths[name] for name in family]}")
    return tuple(tuple(family) for family in families)
