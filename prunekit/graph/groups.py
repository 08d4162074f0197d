"""Groups of units that live or die together: the connected components of all couplings.

Components are computed position by position. Values that are concatenated, sliced, flattened or added are therefore
joined exactly where their units share a fate. Two kinds of units are in no group and are never pruned: inputs and
outputs of the graph, and units on an axis that no coupling of an op names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import CouplingError
from prunekit.graph.graph import Graph, given_to, specs_of
from prunekit.graph.op import name_of, parameters

Positions = NDArray[np.int64]


class Slice(NamedTuple):
    """The units of a group in a constant: ``positions`` (int64 [blocks, width]) on ``axis`` of ``field`` of the node
    with index ``node``.
    """

    node: int
    field: str
    axis: int
    positions: Positions

    @property
    def blocks(self) -> int:
        """How many copies of the units lie on the axis."""
        return len(self.positions)


class Carrier(NamedTuple):
    """The units of a group in the value ``name``: ``positions`` (int64 [blocks, width]) on ``axis``, without the batch
    axis.
    """

    name: str
    axis: int
    positions: Positions


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Units that live or die together, and where they are in constants, in values and in states (by index)."""

    name: str
    width: int
    slices: tuple[Slice, ...]
    carriers: tuple[Carrier, ...]
    states: tuple[int, ...]


class _Place(NamedTuple):
    node: int  # -1 for values
    of: str
    axis: int


def find_groups(graph: Graph) -> tuple[Group, ...]:
    """Return the groups of ``graph``, in the order of the nodes that make their units. No group is empty.

    Raises CouplingError, naming the node, for an op whose couplings do not fit its shapes.
    """
    units = _Units()
    specs = specs_of(graph)
    values = {name: [units.add(_Place(-1, name, k), n) for k, n in enumerate(s.shape)] for name, s in specs.items()}
    for index, node in enumerate(graph.nodes):
        arrays, names, mentioned = parameters(node.op), node.values, set()
        for coupling in node.op.couplings(given_to(node, specs)):
            lying: list[Positions] = []
            for axis in coupling.axes:
                try:
                    shape = specs[names[axis.of]].shape if axis.of in names else arrays[axis.of].shape
                    at = range(len(shape))[axis.axis]
                    if axis.of in names:
                        ids = values[names[axis.of]][at]
                    else:
                        ids = units.add(_Place(index, axis.of, at), shape[at])
                    ids = ids[axis.positions(shape[at])]
                except (KeyError, IndexError, CouplingError) as error:
                    raise CouplingError(
                        f"node '{node.name}' ({name_of(node.op)}) couples {axis}, which does not fit ({error})"
                    ) from error
                lying.append(ids)
                mentioned.update(ids.ravel().tolist())
            if len({ids.shape[1] for ids in lying}) > 1:
                told = ", ".join(f"'{axis.of}' {ids.shape[1]}" for axis, ids in zip(coupling.axes, lying, strict=True))
                raise CouplingError(f"node '{node.name}' ({name_of(node.op)}) couples different widths: {told}")
            units.join(row for ids in lying for row in ids)
        for value in (*node.inputs, *node.outputs):
            for ids in values[value]:
                units.fix(position for position in ids.tolist() if position not in mentioned)
    for state in graph.states:
        for one, other in zip(values[state.before], values[state.after], strict=True):
            units.join((one, other))
    for name in (*(port.name for port in graph.inputs), *graph.outputs):
        for ids in values[name]:
            units.fix(ids.tolist())
    return _collect(graph, units)


@final
class _Units:
    """Union-find over all positions of all axes."""

    def __init__(self) -> None:
        self.parent: list[int] = []
        self.places: dict[_Place, Positions] = {}
        self.fixed: list[int] = []

    def add(self, place: _Place, size: int) -> Positions:
        if place not in self.places:
            first = len(self.parent)
            self.parent.extend(range(first, first + size))
            self.places[place] = np.arange(first, first + size)
        return self.places[place]

    def root(self, position: int) -> int:
        parent = self.parent
        while parent[position] != position:
            parent[position] = parent[parent[position]]
            position = parent[position]
        return position

    def join(self, rows: Iterable[Positions]) -> None:
        first, *others = [row.tolist() for row in rows]
        for other in others:
            for a, b in zip(first, other, strict=True):
                low, high = sorted((self.root(a), self.root(b)))
                self.parent[high] = low

    def fix(self, positions: Iterable[int]) -> None:
        self.fixed.extend(positions)


def _collect(graph: Graph, units: _Units) -> tuple[Group, ...]:
    """Sort units into groups: units that occur in the same places equally often form a group."""
    fixed = {units.root(position) for position in units.fixed}
    lying: dict[int, dict[_Place, list[int]]] = {}
    for place, ids in units.places.items():
        for at, position in enumerate(ids.tolist()):
            top = units.root(position)
            if top not in fixed:
                lying.setdefault(top, {}).setdefault(place, []).append(at)
    groups: dict[tuple[tuple[_Place, int], ...], list[dict[_Place, list[int]]]] = {}
    for places in lying.values():
        if any(place.node >= 0 for place in places):
            groups.setdefault(tuple((place, len(found)) for place, found in places.items()), []).append(places)
    found = []
    for signature, members in groups.items():
        laid = {place: np.array([unit[place] for unit in members], np.int64).T for place, _ in signature}
        found.append((_maker(graph, laid), laid))
    found.sort(key=lambda entry: entry[0])
    counts = Counter(at for at, _ in found)
    seen: Counter[int] = Counter()
    result = []
    for at, laid in found:
        name = graph.nodes[at].name
        if counts[at] > 1:
            name, seen[at] = f"{name}:{seen[at]}", seen[at] + 1
        result.append(_group(graph, name, laid))
    return tuple(result)


def _maker(graph: Graph, laid: Mapping[_Place, Positions]) -> int:
    """Return the index of the first node that has the units in one of its outputs."""
    carried = {place.of for place in laid if place.node < 0}
    made = (at for at, node in enumerate(graph.nodes) if carried & set(node.outputs))
    return next(made, next(place.node for place in laid if place.node >= 0))


def _group(graph: Graph, name: str, laid: Mapping[_Place, Positions]) -> Group:
    slices = tuple(Slice(*place, positions) for place, positions in laid.items() if place.node >= 0)
    carriers = tuple(Carrier(place.of, place.axis, at) for place, at in laid.items() if place.node < 0)
    names = {carrier.name for carrier in carriers}
    states = tuple(index for index, state in enumerate(graph.states) if state.before in names)
    return Group(name=name, width=carriers[0].positions.shape[1] if carriers else slices[0].positions.shape[1],
                 slices=slices, carriers=carriers, states=states)  # fmt: skip
