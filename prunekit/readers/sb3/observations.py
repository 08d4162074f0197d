"""The observation of a zip's policy: its ports, and the ops that turn them into one row of numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np

from prunekit.errors import InputError
from prunekit.formats.text import shown
from prunekit.graph.graph import Node, Port
from prunekit.graph.op import Op
from prunekit.ops.activation import Activation
from prunekit.ops.concat import Concat
from prunekit.ops.elementary import Elementary
from prunekit.ops.normalize import Normalize
from prunekit.ops.scale_shift import ScaleShift
from prunekit.ops.take import Take
from prunekit.readers.sb3.contents import quoted
from prunekit.readers.sb3.spaces import (
    BOX,
    DISCRETE,
    MULTI_BINARY,
    MULTI_DISCRETE,
    class_of,
    integers_in,
    observation_shape,
    parts_of,
    shape_of,
)

MAX_ONE_HOT = 2**16
"""Places of a one-hot vector: Taxi-v3 has 500, the largest tables of states some tens of thousands."""
MAX_PARTS = 1000
_TAKEN = ("action", "outputs", "joined")


@final
@dataclass(frozen=True, kw_only=True)
class Observed:
    """``ports`` are the inputs, and ``nodes`` compute from them the ``width`` values called ``value``.

    ``whole`` are the ports with integers, which cannot be normalized.
    """

    ports: tuple[Port, ...]
    width: int
    nodes: tuple[Node, ...] = ()
    value: str = "obs"
    whole: frozenset[str] = frozenset()
    notes: tuple[str, ...] = field(default=())

    def behind(self, normalizers: Mapping[str, Normalize]) -> Observed:
        """Return the same with the ports in ``normalizers`` normalized first."""
        names = {name: f"{name}_normalized" for name in normalizers}
        first = [Node(op=op, inputs=(name,), outputs=(names[name],)) for name, op in normalizers.items()]
        rest = [replace(node, inputs=tuple(names.get(one, one) for one in node.inputs)) for node in self.nodes]
        return replace(self, nodes=(*first, *rest), value=names.get(self.value, self.value))

    def is_flattened_in(self, row: int) -> bool:
        """Return whether an environment of ``row`` numbers gives in one row what comes in at several ports, or one-hot.

        Where some are one-hot and others normalized it is no row that the ops here could begin with.
        """
        several = bool(self.whole) or len(self.ports) > 1
        return row == self.width and several and not (self.whole and self._normalized)

    def flattened(self) -> Observed:
        """Return the same for one row of numbers, ``obs``, as Gymnasium's ``FlattenObservation`` gives them.

        Both libraries make whole numbers one-hot, and follow the order of the entries of a ``Dict``.
        """
        names = [port.name for port in self.ports]
        told = f"its {shown(', '.join(names), 200)}: one row of numbers, as FlattenObservation gives them"
        flat = replace(
            self, ports=(Port(name="obs", shape=(self.width,)),), whole=frozenset(), notes=(*self.notes, told)
        )
        if not self._normalized:
            return replace(flat, nodes=(), value="obs")
        ends = np.cumsum([math.prod(port.shape) for port in self.ports]).tolist()
        parts = tuple(
            Node(op=Take(indices=tuple(range(begin, end))), inputs=("obs",), outputs=(name,))
            for name, begin, end in zip(names, [0, *ends], ends, strict=False)
        )
        return replace(flat, nodes=(*parts, *self.nodes))

    @property
    def _normalized(self) -> bool:
        return any(isinstance(node.op, Normalize) for node in self.nodes)

    @property
    def inputs(self) -> int:
        """The total number of input values."""
        return sum(math.prod(port.shape) for port in self.ports)


def observed(space: Mapping[str, Any], called: str = "obs") -> Observed:
    """Return how the library turns an observation of this space (given as text) into the input of the first layer.

    ``Discrete`` and ``MultiDiscrete`` numbers become one-hot vectors, and the entries of a ``Dict`` are concatenated.
    Raises InputError, by name, for other spaces.
    """
    name = class_of(space)
    if name == "Dict":
        return _together({key: observed(part, key) for key, part in parts_of(space).items()})
    if name in (DISCRETE, MULTI_DISCRETE):
        return _one_hot(name, _counts(space, name), called)
    if name not in (BOX, MULTI_BINARY):
        raise InputError(f"observations of type {name} are not supported; Box, Discrete, Multi... and Dict are")
    shape = observation_shape(space)
    width = math.prod(shape)
    what = "observations" if called == "obs" else f"observations '{shown(called, 60)}'"
    notes = (f"{what} of shape {list(shape)} are flattened, row by row",) if len(shape) > 1 else ()
    return Observed(ports=(Port(name=called, shape=(width,)),), width=width, value=called, notes=notes)


def _together(parts: Mapping[str, Observed]) -> Observed:
    """Return the values of all ``parts``, keyed by port, concatenated in order."""
    if not 1 <= len(parts) <= MAX_PARTS or not all(parts) or set(parts) & set(_TAKEN):
        raise InputError(f"its observations have the entries {quoted(list(parts))}, which cannot be inputs of a graph")
    joined = tuple(one.value for one in parts.values())
    join = (Node(op=Concat(parts=len(parts)), inputs=joined, outputs=("joined",)),) if len(parts) > 1 else ()
    return Observed(
        ports=tuple(port for one in parts.values() for port in one.ports),
        nodes=(*(node for one in parts.values() for node in one.nodes), *join),
        value="joined" if join else joined[0],
        width=sum(one.width for one in parts.values()),
        whole=frozenset[str]().union(*(one.whole for one in parts.values())),
        notes=tuple(note for one in parts.values() for note in one.notes),
    )


def observed_as_it_is(space: Mapping[str, Any]) -> Observed:
    """Return how SBX reads an observation: as one row of its numbers, without one-hot vectors.

    Raises InputError, by name, for other spaces.
    """
    name = class_of(space)
    if name not in (DISCRETE, MULTI_DISCRETE):
        return observed(space)
    counts = _counts(space, name)
    port = Port(name="obs", shape=(len(counts),))
    note = f"an observation is {_numbers(name, counts)}, read as it is, as SBX does"
    return Observed(ports=(port,), width=len(counts), whole=frozenset({"obs"}), notes=(note,))


def _numbers(name: str, counts: tuple[int, ...]) -> str:
    return f"{'an integer' if name == DISCRETE else f'{len(counts)} integers'} ({name})"


def _counts(space: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Return the number of possible values of each number in the observation."""
    if name == DISCRETE:
        count = str(space.get("n"))
        counts: tuple[int, ...] = (int(count),) if re.fullmatch(r"\d{1,9}", count) else ()
        starts = [str(space.get("start", 0))]
    else:
        counts = integers_in(space, "nvec", "observations")
        starts = [str(start) for start in integers_in(space, "start", "observations")] if "start" in space else []
        if shape_of(space) != [len(counts)]:
            raise InputError(f"observations of shape {quoted(shape_of(space))} are not supported; only one axis is")
    if any(start != "0" for start in starts):
        raise InputError("its observations are numbers that do not start at 0, which Stable-Baselines3 cannot take")
    if not counts or min(counts) < 1 or sum(counts) > MAX_ONE_HOT:
        raise InputError(
            f"its observations have {quoted(counts)} possible values; from 1 to {MAX_ONE_HOT:,} are supported"
        )
    return counts


def _one_hot(name: str, counts: tuple[int, ...], called: str) -> Observed:
    """Return the ops of a one-hot vector: relu(1 - |number - place|) for every place."""
    width = sum(counts)
    places = np.concatenate([np.arange(count) for count in counts]).astype(np.float32)
    which = tuple(int(index) for index in np.repeat(np.arange(len(counts)), counts))
    ones = np.ones(width, np.float32)
    ops: tuple[Op, ...] = (
        Take(indices=which),
        ScaleShift(scale=ones, shift=-places),
        Elementary(kind="abs"),
        ScaleShift(scale=-ones, shift=ones),
        Activation(kind="relu"),
    )
    value, nodes = called, []
    for op, what in zip(ops, ("repeated", "difference", "distance", "nearness", "one_hot"), strict=True):
        made = what if called == "obs" else f"{called}_{what}"
        nodes.append(Node(op=op, inputs=(value,), outputs=(made,)))
        value = made
    return Observed(
        ports=(Port(name=called, shape=(len(counts),)),),
        width=width,
        nodes=tuple(nodes),
        value=value,
        whole=frozenset({called}),
        notes=(f"an observation is {_numbers(name, counts)}, made one-hot inside",),
    )
