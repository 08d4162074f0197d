"""Groups for training: the groups of a network's graph, located in torch.

``prunekit.graph`` finds the units that live or die together. This module adds the paths of the parameters that hold
them and of the modules that read them. Masks, penalties, surgery and compensation use only these records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from prunekit.errors import CouplingError
from prunekit.graph.graph import Graph, given_to, specs_of
from prunekit.graph.groups import Group as GraphGroup
from prunekit.graph.groups import find_groups as groups_of
from prunekit.graph.lifting import resizes
from prunekit.graph.op import Spec, name_of, parameters
from prunekit.graph.surgery import not_held_groups, refused_groups
from prunekit.graph.tracing import TracedNetwork
from prunekit.ops.affine import Affine
from prunekit.pruning.layers import trace_layers
from prunekit.pruning.slices import Group, Read, Slice, block_of


def find_groups(network: nn.Module, *, states: int = 0) -> tuple[Group, ...]:
    """Find the groups of ``network``, in the order of the modules that make their units.

    The last ``states`` arguments of ``forward`` are states (of an ``nn.GRUCell``, for instance), with initial values of
    zero. ``forward`` returns their next values after its outputs.

    Units whose values reach the output, directly or through something unknown, are in no group and are never pruned.
    Raises CouplingError, naming the module or call, if units pass through something without an op between two layers,
    if a layer or its parameters are shared or computed, or if units could not be held at zero or removed.
    """
    return traced_groups(network, states=states, structure_only=True)[1]


def traced_groups(
    network: nn.Module, *, states: int = 0, structure_only: bool = False
) -> tuple[TracedNetwork | None, tuple[Group, ...]]:
    """Return the traced trunk of the network (None if there is none) and its groups; raises as ``find_groups`` does.

    Raises InputError for weights that are NaN or infinite, unless ``structure_only``.
    """
    traced = trace_layers(network, states=states, structure_only=structure_only)
    if traced is None:
        return None, ()
    mixed = list(_mixed(traced.graph))
    read = {(entry.value, entry.axis) for entry in mixed}
    found = [
        group
        for group in groups_of(traced.graph)
        if any((carrier.name, carrier.axis) in read for carrier in group.carriers)
    ]
    _refuse_not_held(traced, found)
    return traced, tuple(_told(network, traced, mixed, group) for group in found)


def refuse_unprunable(network: nn.Module, *, states: int = 0) -> None:
    """Raise CouplingError, naming the norm, if dead units of ``network`` would not be zero under a norm, or if a norm
    has no weight that could lose units.
    """
    traced, groups = traced_groups(network, states=states, structure_only=True)
    if traced is None:
        return
    for message in refused_groups(traced.graph).values():
        raise CouplingError(message)
    names = {group.name for group in groups}
    units = [entry for group in groups_of(traced.graph) if group.name in names for entry in group.slices]
    for node, field, *_ in units:
        place = traced.places.get((node, field))
        if place is None or not _is_absent(network, place) or not parameters(traced.graph.nodes[node].op)[field].any():
            continue
        path, _, attribute = place.rpartition(".")
        kind = type(network.get_submodule(path)).__name__
        raise CouplingError(
            f"'{path}' ({kind}) has no {attribute}, so it cannot lose units while it trains; give it one "
            "(elementwise_affine=True)"
        )


class StateUnits(NamedTuple):
    """A state of ``width`` values, and the positions of each group's units in it, by name: int [blocks, units]."""

    width: int
    places: Mapping[str, NDArray[np.int64]]


def state_units(network: nn.Module, *, states: int) -> tuple[StateUnits, ...]:
    """Return the units in each of the last ``states`` inputs of ``network``, in order.

    Raises CouplingError if the next value of a state cannot be traced.
    """
    traced = trace_layers(network, states=states, structure_only=True)
    if traced is None or len(traced.graph.states) < states:
        raise CouplingError(
            f"{type(network).__name__} keeps a state in something that has no op, so its units cannot be pruned; "
            "nn.GRUCell has one, nn.GRU and LSTMs have none"
        )
    groups, found = groups_of(traced.graph), []
    for state in traced.graph.states:
        last = state.initial.ndim - 1
        places = {
            group.name: np.asarray(positions, np.int64)
            for group in groups
            for name, axis, positions in group.carriers
            if (name, axis) == (state.before, last)
        }
        found.append(StateUnits(state.initial.shape[last], places))
    return tuple(found)


class _Mixed(NamedTuple):
    """A node (by index) that mixes the units on ``axis`` of its input ``argument``, the value ``value``."""

    node: int
    argument: int
    value: str
    axis: int
    shape: tuple[int, ...]


def _mixed(graph: Graph) -> Iterator[_Mixed]:
    specs: Mapping[str, Spec] = specs_of(graph)
    for index, node in enumerate(graph.nodes):
        for coupling in node.op.couplings(given_to(node, specs)):
            if coupling.across or not any(axis.of in node.op.outputs for axis in coupling.axes):
                for axis in coupling.axes:
                    if axis.of in node.op.inputs:
                        at = node.op.inputs.index(axis.of)
                        shape = specs[node.inputs[at]].shape
                        yield _Mixed(index, at, node.inputs[at], range(len(shape))[axis.axis], shape)


def _told(network: nn.Module, traced: TracedNetwork, mixed: list[_Mixed], group: GraphGroup) -> Group:
    slices: dict[bool, list[Slice]] = {True: [], False: []}
    for node, field, axis, positions in group.slices:
        array = parameters(traced.graph.nodes[node].op)[field]
        place = traced.places.get((node, field))
        if array.dtype == bool:
            made = traced.graph.nodes[node]
            raise CouplingError(
                f"'{made.name}' ({name_of(made.op)}) selects hidden units by position, which changes when units are "
                "removed; compute these units in separate layers"
            )
        if node in traced.own_tensors:
            raise CouplingError(
                f"'{traced.graph.nodes[node].name}' reads a parameter or buffer with an entry per hidden unit outside "
                "of a known module, where it cannot lose units; put it into a module, and @resized in its op's file"
            )
        if place is None or _is_absent(network, place):
            continue
        module = network.get_submodule(traced.modules[node])
        if type(module) not in resizes():
            raise CouplingError(
                f"module '{traced.modules[node]}' ({type(module).__name__}) cannot lose units: nothing says how it is "
                "resized; put a function for it under @resized in its op's file"
            )
        entry = Slice(
            path=place, axis=axis, size=array.shape[axis], blocks=tuple(block_of(row) for row in positions.tolist())
        )
        slices[(node, field) in traced.paths].append(entry)
    carried = {(name, axis): at for name, axis, at in group.carriers}
    reads = [
        Read(
            path=traced.modules[entry.node],
            argument=entry.argument,
            axis=entry.axis - len(entry.shape),
            size=entry.shape[entry.axis],
            blocks=tuple(block_of(row) for row in carried[entry.value, entry.axis].tolist()),
            linear=isinstance(traced.graph.nodes[entry.node].op, Affine),
        )
        for entry in mixed
        if (entry.value, entry.axis) in carried and entry.node in traced.modules
    ]
    return Group(
        name=group.name, width=group.width, slices=tuple(slices[True]), reads=tuple(reads), buffers=tuple(slices[False])
    )


def _is_absent(network: nn.Module, place: str) -> bool:
    path, _, attribute = place.rpartition(".")
    return getattr(network.get_submodule(path), attribute) is None


def _refuse_not_held(traced: TracedNetwork, groups: list[GraphGroup]) -> None:
    """Refuse groups with constants that are not parameters (of a norm without weight, for instance): their dead units
    may not be zero.
    """
    graph = traced.graph
    arrays = {(s.node, s.field): parameters(graph.nodes[s.node].op)[s.field] for group in groups for s in group.slices}
    if all(place in traced.paths or array.dtype == bool or not np.any(array) for place, array in arrays.items()):
        return
    for name, culprit in not_held_groups(graph, traced.paths.keys()).items():
        if name in {group.name for group in groups}:
            raise CouplingError(
                f"units of group '{name}' cannot be held at zero: '{culprit}' has no weight and bias; give "
                "it some (elementwise_affine=True, affine=True)"
            )
