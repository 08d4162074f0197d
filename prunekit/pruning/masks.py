"""Masks: which units survive. One boolean ``keep`` [width] per group, by the group's name."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from prunekit.errors import EmptyGroupError, InputError
from prunekit.pruning.groups import Group, find_groups, linear_at, producer_of, unit_slices

Masks = Mapping[str, Tensor]


def full_masks(groups: Iterable[Group]) -> dict[str, Tensor]:
    """Return masks under which every unit survives."""
    return {group.name: torch.ones(group.width, dtype=torch.bool) for group in groups}


def check_masks(groups: Sequence[Group], masks: Masks, min_units: int = 1) -> None:
    """Check that ``masks`` fit ``groups`` and leave each at least ``min_units`` (law 8).

    Raises InputError for a wrong name, dtype or width, and EmptyGroupError for a group with too few units.
    """
    names = {group.name for group in groups}
    for name in masks:
        if name not in names:
            raise InputError(f"mask '{name}' belongs to no group of this network (groups: {', '.join(sorted(names))})")
    for group in groups:
        keep = masks.get(group.name)
        if keep is None:
            raise InputError(f"group '{group.name}' has no mask; give one keep vector per group")
        if keep.dtype != torch.bool or tuple(keep.shape) != (group.width,):
            raise InputError(
                f"mask '{group.name}' is {str(keep.dtype).removeprefix('torch.')}{list(keep.shape)}, "
                f"but the group needs bool[{group.width}]"
            )
        kept = int(keep.sum())
        if kept < max(min_units, 1):
            raise EmptyGroupError(
                f"mask '{group.name}' keeps {kept} units, but at least {max(min_units, 1)} must survive; "
                "lower the sparsity or min_units"
            )


def kept_units(masks: Masks) -> dict[str, int]:
    """Return the number of surviving units per group."""
    return {name: int(keep.sum()) for name, keep in masks.items()}


def sparsity_of(masks: Masks) -> float:
    """Return the share of hidden units removed, over all groups."""
    total = sum(keep.numel() for keep in masks.values())
    return 1.0 - sum(kept_units(masks).values()) / total if total else 0.0


DeadSlice = tuple[Tensor, int, Tensor]
"""A live parameter, the dimension that counts units in it, and the indices int64 [dead] of the dead ones."""


def dead_slices(network: nn.Module, groups: Sequence[Group], masks: Masks) -> list[DeadSlice]:
    """Return every parameter slice that dies with the units that ``masks`` remove: rows, bias, consumers' columns."""
    slices: list[DeadSlice] = []
    for group in groups:
        rows, columns = unit_slices(network, group)
        dead = (~masks[group.name]).nonzero().squeeze(1).to(rows[0].device)
        if dead.numel():
            slices += [(tensor, 0, dead) for tensor in rows] + [(tensor, 1, dead) for tensor in columns]
    return slices


@torch.no_grad()
def zero_slices_(slices: Iterable[DeadSlice]) -> None:
    """Set every slice to exactly zero, in place.

    With its columns at zero a unit contributes nothing whatever its activation is at 0, so the plain forward
    pass of the changed network computes ``h = keep * act(W x + b)``.
    """
    for tensor, dimension, dead in slices:
        tensor.index_fill_(dimension, dead, 0.0)


@torch.no_grad()
def masked(network: nn.Module, masks: Masks) -> nn.Module:
    """Return a copy of ``network`` in which removed units are gated: ``h = keep * act(W x + b)``.

    A removed unit without any live incoming weight does not vary with the input; it keeps the constant
    ``act(b)`` that it contributes. ``network`` is not touched (law 6).
    """
    groups = find_groups(network)
    check_masks(groups, masks)
    result = copy.deepcopy(network)
    for group in groups:
        gated = ~masks[group.name] & ~constant_units(network, group)
        for path in group.consumers:
            linear_at(result, path).weight[:, gated] = 0.0
    return result


def constant_units(network: nn.Module, group: Group) -> Tensor:
    """Return bool [width]: units whose incoming weights are all zero, so that their output is ``act(bias)``."""
    return (producer_of(network, group).weight == 0).all(dim=1).cpu()
