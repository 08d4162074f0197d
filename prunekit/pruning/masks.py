"""Masks: one boolean ``keep`` [width] per group, by the group's name; True means alive."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunekit.errors import EmptyGroupError, InputError
from prunekit.graph.graph import Graph
from prunekit.graph.groups import find_groups as groups_of
from prunekit.graph.lifting import resizes
from prunekit.graph.op import parameters
from prunekit.graph.surgery import zeroed
from prunekit.graph.tracing import TracedNetwork
from prunekit.pruning.groups import traced_groups
from prunekit.pruning.slices import Group, places_of, unit_slices

Masks = Mapping[str, Tensor]
"""Per group, by its name, ``keep`` bool [width]: True is a unit that lives."""


def full_masks(groups: Iterable[Group]) -> dict[str, Tensor]:
    """Return masks that keep every unit."""
    return {group.name: torch.ones(group.width, dtype=torch.bool) for group in groups}


def check_masks(groups: Sequence[Group], masks: Masks, min_units: int = 1) -> None:
    """Check that ``masks`` fit ``groups`` and leave each at least ``min_units``.

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
    """Return all parameter slices of the units that ``masks`` remove: rows, biases, columns, and entries of norms."""
    slices: list[DeadSlice] = []
    for group in groups:
        dead = ~masks[group.name].cpu()
        if bool(dead.any()):
            for tensor, entry in unit_slices(network, group):
                slices.append((tensor, entry.axis, places_of(entry.blocks)[:, dead].ravel().to(tensor.device)))
    return slices


@torch.no_grad()
def zero_slices_(slices: Iterable[DeadSlice]) -> None:
    """Set every slice to exactly zero, in place.

    A unit whose outgoing columns are zero contributes nothing, whatever its activation is at 0. The unchanged forward
    pass then computes ``h = keep * act(W x + b)``.
    """
    for tensor, dimension, dead in slices:
        tensor.index_fill_(dimension, dead, 0.0)


def masked(network: nn.Module, masks: Masks, *, states: int = 0) -> nn.Module:
    """Return a copy of ``network`` in which removed units are gated: ``h = keep * act(W x + b)``.

    A removed unit with a constant value keeps its contribution. ``network`` is not changed. ``states`` is as in
    ``find_groups``. Raises CouplingError, naming the norm, if a removed unit would not be zero under a norm.
    """
    traced, groups = traced_groups(network, states=states)
    check_masks(groups, masks)
    result = copy.deepcopy(network)
    if traced is not None:
        write_(result, traced, zeroed(traced.graph, arrays_of(traced.graph, masks)))
    return result


def arrays_of(graph: Graph, masks: Masks) -> dict[str, NDArray[np.bool_]]:
    """Return ``masks`` in the form that the surgery of ``graph`` takes; groups that nothing reads keep all units."""
    full = {group.name: np.ones(group.width, bool) for group in groups_of(graph)}
    return full | {name: keep.cpu().numpy() for name, keep in masks.items()}


@torch.no_grad()
def write_(network: nn.Module, traced: TracedNetwork, graph: Graph) -> None:
    """Write the constants of ``graph`` into ``network``, in place, if they differ from those of ``traced``.

    ``graph`` has the nodes of ``traced.graph``, possibly with fewer units; modules that lost some are resized or
    replaced. Tensors keep dtype, device and ``requires_grad``. A new bias gets the ``requires_grad`` of its weight. The
    weight that a norm without one gets is not trained.
    """
    resized: dict[str, None] = {}
    for (index, field), place in traced.places.items():
        old, new = (parameters(holder.nodes[index].op)[field] for holder in (traced.graph, graph))
        if old.shape == new.shape and np.array_equal(old, new):
            continue
        path, _, attribute = place.rpartition(".")
        module = network.get_submodule(path)
        before = getattr(module, attribute)
        if before is None and not new.any():
            continue
        kept = next(module.parameters(), None) if before is None else before
        tensor = torch.from_numpy(new).to(next(network.parameters()) if kept is None else kept)
        trained = kept is not None and kept.requires_grad
        is_buffer = attribute in module._buffers
        setattr(module, attribute, tensor if is_buffer else nn.Parameter(tensor, requires_grad=trained))
        if old.shape != new.shape:
            resized[path] = None
    for path in resized:
        resize_(network, path)


def resize_(network: nn.Module, path: str) -> None:
    """Resize or replace the module at ``path``, in place, after its tensors have lost units."""
    module = network.get_submodule(path)
    found = resizes()[type(module)].function(module)
    if found is not module:
        for parent in list(network.modules()):
            for name, child in parent._modules.items():
                if child is module:
                    parent._modules[name] = found
