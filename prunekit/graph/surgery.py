"""Masks and surgery: units are set to zero, or removed physically without changing the outputs of the graph.

Both need only the slices of the groups. A removed unit whose value is constant keeps its contribution: ``zeroed``
leaves the unit unchanged, and ``shrink`` folds it into the bias of whatever reads it. Any other removed unit becomes
zero. Under a norm (a coupling ``across``) a unit counts as constant only if it is zero there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import CouplingError, EmptyGroupError, InputError
from prunekit.graph.constants import along, known_values
from prunekit.graph.folding import can_fold, folded
from prunekit.graph.graph import Graph, given_to, specs_of, with_parameters
from prunekit.graph.groups import Group, Positions, find_groups
from prunekit.graph.op import Array, name_of, parameters

Masks = Mapping[str, NDArray[np.bool_]]
"""One ``keep`` bool [width] per group, by the group's name."""

_Units = dict[str, NDArray[np.int64]]
_Messages = dict[str, str]


def check_masks(groups: Sequence[Group], masks: Masks, min_units: int = 1) -> None:
    """Raise InputError for masks that do not fit ``groups``, and EmptyGroupError for one that keeps fewer than
    ``min_units``.
    """
    unknown = set(masks) - {group.name for group in groups}
    if unknown:
        raise InputError(f"mask '{min(unknown)}' belongs to no group (groups: {', '.join(g.name for g in groups)})")
    for group in groups:
        keep = masks.get(group.name)
        if keep is None:
            raise InputError(f"group '{group.name}' has no mask; give one keep vector per group")
        if keep.dtype != np.bool_ or keep.shape != (group.width,):
            raise InputError(
                f"mask '{group.name}' is {keep.dtype}{list(keep.shape)}, but the group needs bool[{group.width}]"
            )
        if int(keep.sum()) < max(min_units, 1):
            raise EmptyGroupError(
                f"mask '{group.name}' keeps {int(keep.sum())} units, but at least {max(min_units, 1)} must survive; "
                "lower the sparsity or min_units"
            )


def zeroed(graph: Graph, masks: Masks) -> Graph:
    """Return ``graph`` with all constants and initial states of removed units set to zero, except constant units.

    Raises InputError and EmptyGroupError as ``check_masks`` does. Raises CouplingError, naming node and op, if a
    removed unit would not be zero under a norm because its activation is not zero at zero.
    """
    groups = find_groups(graph)
    check_masks(groups, masks)
    return _zeroed(graph, groups, masks)[0]


def shrink(graph: Graph, masks: Masks, *, min_units: int = 1) -> Graph:
    """Return a smaller graph that computes the same as ``zeroed(graph, masks)``; raises the same errors (law 1).

    Also raises InputError if a constant would have to be folded into an op that has no form for it.
    """
    groups = find_groups(graph)
    check_masks(groups, masks, min_units)
    result, constant = _zeroed(graph, groups, masks)
    result = folded(result, groups, constant)
    gone = {group.name: np.flatnonzero(~masks[group.name]) for group in groups}
    return _changed(result, groups, gone, lambda value, positions, axis: np.delete(value, positions, axis))


def constant_units(graph: Graph) -> dict[str, NDArray[np.bool_]]:
    """Return masks that remove all units with a constant value, so ``shrink`` with them changes no output.

    A group keeps at least one unit. It keeps all of them if something that reads it cannot take a folded constant.
    """
    groups = find_groups(graph)
    masks: dict[str, NDArray[np.bool_]] = {}
    for group, stays in zip(groups, _constant(graph, groups, list(_read_across(graph))), strict=True):
        keep = ~stays if can_fold(graph, group) else np.ones(group.width, bool)
        keep[0] |= not keep.any()
        masks[group.name] = keep
    return masks


def refused_groups(graph: Graph) -> dict[str, str]:
    """Return the groups from which ``zeroed`` and ``shrink`` can remove no unit: the reason, keyed by group name."""
    read = list(_read_across(graph))
    if not read:
        return {}
    groups = find_groups(graph)
    units = {group.name: np.arange(group.width) for group in groups}
    return _not_zero(_changed(graph, groups, units, _zero), groups, units, read)


def not_held_groups(graph: Graph, held: Collection[tuple[int, str]]) -> dict[str, str]:
    """Return the groups for which setting only the constants ``held`` to zero differs from ``zeroed``.

    ``held`` are (index of node, field). The result maps the name of the group to the node at which they differ.
    """
    groups = find_groups(graph)
    units = {group.name: np.arange(group.width) for group in groups}
    partly = [replace(group, slices=tuple(s for s in group.slices if (s.node, s.field) in held)) for group in groups]
    wanted = known_values(_changed(graph, groups, units, _zero))
    found = known_values(_changed(graph, partly, units, _zero))
    made_by = {name: node.name for node in graph.nodes for name in node.outputs}
    differing: dict[str, str] = {}
    for group in groups:
        for name, axis, positions in group.carriers:
            one, other = along(wanted[name], axis)[positions], along(found[name], axis)[positions]
            if not np.array_equal(one, other, equal_nan=True):
                differing.setdefault(group.name, made_by[name])
    return differing


class DeadSlice(NamedTuple):
    """Dead units in a constant: ``positions`` (int64 [dead]) on ``axis`` of ``field`` of the node with index
    ``node``.
    """

    node: int
    field: str
    axis: int
    positions: Positions


def dead_slices(groups: Sequence[Group], masks: Masks) -> list[DeadSlice]:
    """Return the slices that training must hold at zero for the units that ``masks`` remove (law 3)."""
    return [
        DeadSlice(node, field, axis, positions[:, ~masks[group.name]].ravel())
        for group in groups
        for node, field, axis, positions in group.slices
        if not masks[group.name].all()
    ]


def _zeroed(graph: Graph, groups: Sequence[Group], masks: Masks) -> tuple[Graph, _Units]:
    """Return the graph with all non-constant removed units at zero, and the constant removed units of each group."""
    zero_needed = list(_read_across(graph))
    dead: _Units = {}
    constant: _Units = {}
    for group, stays in zip(groups, _constant(graph, groups, zero_needed), strict=True):
        removed = ~masks[group.name]
        dead[group.name], constant[group.name] = np.flatnonzero(removed & ~stays), np.flatnonzero(removed & stays)
    result = _changed(graph, groups, dead, _zero)
    gone = {group.name: np.flatnonzero(~masks[group.name]) for group in groups}
    for message in _not_zero(result, groups, gone, zero_needed).values() if zero_needed else ():
        raise CouplingError(message)
    return result, constant


def _constant(
    graph: Graph, groups: Sequence[Group], zero_needed: Sequence[tuple[int, int, int]]
) -> Iterator[NDArray[np.bool_]]:
    """Yield bool [width] per group: the units that are constant in every value, and zero where a norm reads them."""
    known = known_values(graph)
    across = {(graph.nodes[node].inputs[at], axis) for node, at, axis in zero_needed}
    for group in groups:
        stays = np.ones(group.width, bool)
        for carrier in group.carriers:
            values = along(known[carrier.name], carrier.axis)[carrier.positions]
            stays &= ~np.isnan(values).any(axis=0)
            if (carrier.name, carrier.axis) in across:
                stays &= (values == 0.0).all(axis=0)
        yield stays


def _read_across(graph: Graph) -> Iterator[tuple[int, int, int]]:
    """Yield (node, input, axis) for every axis that an op reads as a whole, so dead units on it must be zero."""
    specs = specs_of(graph)
    for index, node in enumerate(graph.nodes):
        for coupling in node.op.couplings(given_to(node, specs)):
            for axis in coupling.axes if coupling.across else ():
                if axis.of in node.op.inputs:
                    at = node.op.inputs.index(axis.of)
                    yield index, at, range(len(specs[node.inputs[at]].shape))[axis.axis]


def _not_zero(graph: Graph, groups: Sequence[Group], gone: _Units, read: Sequence[tuple[int, int, int]]) -> _Messages:
    """Return, per group, why its units cannot be removed: those in ``gone`` are not zero where an op reads across
    them.
    """
    known = known_values(graph)
    messages: _Messages = {}
    for index, at, axis in read:
        node = graph.nodes[index]
        name = node.inputs[at]
        values = along(known[name], axis)
        for group in groups:
            for carrier in group.carriers:
                if (carrier.name, carrier.axis) == (name, axis):
                    left = values[carrier.positions[:, gone[group.name]]]
                    if not (left == 0.0).all():
                        messages[group.name] = (
                            f"units of group '{group.name}' cannot be removed: '{name}', which node '{node.name}' "
                            f"({name_of(node.op)}) reads all units of, is {left[left != 0.0][0]:g} for a removed one; "
                            "use an activation that is zero at zero before it"
                        )
    return messages


def _zero(value: Array, positions: Positions, axis: int) -> Array:
    if value.dtype == bool:  # says which values go where, not how much they cost
        return value
    value = value.copy()
    np.moveaxis(value, axis, 0)[positions] = 0.0
    return value


def _changed(
    graph: Graph, groups: Sequence[Group], units: _Units, change: Callable[[Array, Positions, int], Array]
) -> Graph:
    """Return ``graph`` with ``change`` applied once to every axis of a constant or initial state that holds
    ``units``.
    """
    found: dict[tuple[int, str, int], list[Positions]] = {}
    for group in groups:
        if not len(units[group.name]):
            continue
        for node, field, axis, positions in group.slices:
            found.setdefault((node, field, axis), []).append(positions[:, units[group.name]].ravel())
        for carrier in group.carriers:
            for index in group.states:
                if graph.states[index].before == carrier.name:
                    at = carrier.positions[:, units[group.name]].ravel()
                    found.setdefault((-1 - index, "initial", carrier.axis), []).append(at)
    nodes, states = list(graph.nodes), list(graph.states)
    for (index, field, axis), lying in found.items():
        where = np.concatenate(lying)
        if index < 0:
            state = states[-1 - index]
            states[-1 - index] = replace(state, initial=change(state.initial, where, axis))
        else:
            op = nodes[index].op
            changed = with_parameters(op, {field: change(parameters(op)[field], where, axis)})
            nodes[index] = replace(nodes[index], op=changed)
    return replace(graph, nodes=tuple(nodes), states=tuple(states))
