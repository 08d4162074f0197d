"""Surgery: masked units are physically removed, and a smaller dense network remains."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from prunekit.pruning.groups import Group, find_groups, linear_at, producer_of
from prunekit.pruning.masks import Masks, check_masks, constant_units


@torch.no_grad()
def shrink(network: nn.Module, masks: Masks, *, min_units: int = 1) -> nn.Module:
    """Return a smaller copy of ``network`` without the units that ``masks`` removes.

    Law 1: ``shrink(m, masks)(x) == masked(m, masks)(x)`` up to the rounding of shorter sums. A removed unit
    whose output is a non-zero constant is folded into its consumers' bias. Law 6: ``network`` is not touched.

    ``masks`` holds one ``keep`` bool [width] per group of ``find_groups(network)``. The copy keeps dtype,
    device, mode, ``requires_grad`` and everything that is not a linear layer of a pruned group.

    Raises CouplingError for networks that cannot be traced, InputError for masks that do not fit, and
    EmptyGroupError when a group would keep fewer than ``min_units``.
    """
    groups = find_groups(network)
    check_masks(groups, masks, min_units)
    result = copy.deepcopy(network)
    for path, bias in _folded_biases(network, groups, masks).items():
        consumer = linear_at(result, path)
        before = consumer.weight if consumer.bias is None else consumer.bias
        consumer.bias = nn.Parameter(bias, requires_grad=before.requires_grad)
    for group in groups:
        keep = masks[group.name].to(producer_of(network, group).weight.device)
        _select_rows_(linear_at(result, group.name), keep)
        for path in group.consumers:
            _select_columns_(linear_at(result, path), keep)
    return result


def _folded_biases(network: nn.Module, groups: Sequence[Group], masks: Masks) -> dict[str, Tensor]:
    """Return the new bias of every consumer of a removed constant unit, summed in float64."""
    folded: dict[str, Tensor] = {}
    for group in groups:
        producer = producer_of(network, group)
        constant = ~masks[group.name] & constant_units(network, group)
        values = torch.zeros(group.width, dtype=torch.float64) if producer.bias is None else producer.bias.double()
        for activation in group.activations:
            values = activation.to_module()(values)
        for path in group.consumers:
            consumer = linear_at(network, path)
            shift = consumer.weight.double()[:, constant] @ values[constant]
            if not bool(shift.any()):
                continue
            bias = torch.zeros_like(shift) if consumer.bias is None else consumer.bias.double()
            folded[path] = (bias + shift).to(consumer.weight.dtype)
    return folded


def _select_rows_(linear: nn.Linear, keep: Tensor) -> None:
    linear.weight = nn.Parameter(linear.weight[keep].clone(), requires_grad=linear.weight.requires_grad)
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias[keep].clone(), requires_grad=linear.bias.requires_grad)
    linear.out_features = linear.weight.shape[0]


def _select_columns_(linear: nn.Linear, keep: Tensor) -> None:
    linear.weight = nn.Parameter(linear.weight[:, keep].clone(), requires_grad=linear.weight.requires_grad)
    linear.in_features = linear.weight.shape[1]
