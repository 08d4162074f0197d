"""The graph: ports, nodes, states and named values, validated on construction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, final, get_args

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.op import OPS, Array, DType, Op, Spec, name_of, parameters


@final
@dataclass(frozen=True, kw_only=True)
class Port:
    """An input of a graph: its name, shape (without batch) and dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: DType = "float32"

    @property
    def spec(self) -> Spec:
        """Shape and dtype."""
        return Spec(self.shape, self.dtype)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """An op applied to named values. Its outputs are new names; the first is also the node's name."""

    op: Op
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def name(self) -> str:
        """The node's name in messages and groups."""
        return self.outputs[0] if self.outputs else "?"

    @property
    def values(self) -> dict[str, str]:
        """The names of inputs and outputs in the graph, keyed by their local names in the op."""
        return dict(zip((*self.op.inputs, *self.op.outputs), (*self.inputs, *self.outputs), strict=True))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """A value that one call leaves for the next: read under the name ``before``, written under ``after``, at first
    ``initial``.
    """

    before: str
    after: str
    initial: Array


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A graph from ``inputs`` and states to ``outputs``, with its nodes in order of execution.

    Raises InputError, naming the culprit, for unknown or duplicate names, for shapes and dtypes that do not fit, for
    unregistered ops, and for constants that are not finite.
    """

    inputs: tuple[Port, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    states: tuple[State, ...] = ()

    def __post_init__(self) -> None:
        for node in self.nodes:
            _check_node(node)
        specs = specs_of(self)
        for name in self.outputs:
            if name not in specs:
                raise InputError(f"output '{name}' does not exist; the graph has {_names(specs)}")
        if not self.outputs or len(set(self.outputs)) != len(self.outputs):
            raise InputError(f"a graph needs outputs, each once, not {list(self.outputs)}")
        for state in self.states:
            if state.after not in specs:
                raise InputError(f"state '{state.before}' is left as '{state.after}', which does not exist")
            before, after = specs[state.before], specs[state.after]
            if before != after:
                raise InputError(f"state '{state.before}' is {_told(before)}, but '{state.after}' is {_told(after)}")

    @property
    def parameter_count(self) -> int:
        """The number of values in the constants of all nodes."""
        return sum(value.size for node in self.nodes for value in parameters(node.op).values() if value.dtype != bool)


def specs_of(graph: Graph) -> dict[str, Spec]:
    """Return shape and dtype of every value, keyed by name; raises InputError as ``Graph`` does."""
    specs: dict[str, Spec] = {}
    for port in graph.inputs:
        _add(specs, port.name, port.spec, "input")
    for state in graph.states:
        _check_array(state.initial, f"initial value of state '{state.before}'")
        _add(specs, state.before, Spec(state.initial.shape), "state")
    for node in graph.nodes:
        given = given_to(node, specs)
        try:
            made = node.op.shapes(given)
        except InputError as error:
            raise InputError(f"node '{node.name}' ({name_of(node.op)}): {error}") from error
        for name, spec in zip(node.outputs, made, strict=True):
            _add(specs, name, spec, "value")
    return specs


def given_to(node: Node, specs: Mapping[str, Spec]) -> list[Spec]:
    """Return the specs of the node's inputs; raises InputError if one is not defined before the node."""
    for name in node.inputs:
        if name not in specs:
            raise InputError(f"node '{node.name}' ({name_of(node.op)}) reads '{name}', which no node before it makes")
    return [specs[name] for name in node.inputs]


def with_parameters(op: Op, changed: Mapping[str, Array]) -> Op:
    """Return ``op`` with the arrays in ``changed`` replaced."""
    return replace(op, **changed) if changed else op  # type: ignore[type-var]


def as_dtype(graph: Graph, dtype: type[np.floating[Any]]) -> Graph:
    """Return ``graph`` with its floating-point constants in ``dtype``. Arrays that already have it are shared."""

    def cast(value: Array) -> Array:
        return value if value.dtype == bool else value.astype(dtype, copy=False)

    nodes = tuple(
        replace(node, op=with_parameters(node.op, {k: cast(v) for k, v in parameters(node.op).items()}))
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes, states=tuple(replace(s, initial=cast(s.initial)) for s in graph.states))


def _check_node(node: Node) -> None:
    op, kind = node.op, name_of(node.op)
    if OPS.get(kind) is not type(op):
        raise InputError(f"node '{node.name}': {kind} is not a registered op; put @register_op on its class")
    for what, names, wanted in (("reads", node.inputs, op.inputs), ("makes", node.outputs, op.outputs)):
        if len(names) != len(wanted):
            raise InputError(f"node '{node.name}' ({kind}) {what} {list(names)}, but the op has {list(wanted)}")
    for entry in fields(op):  # type: ignore[arg-type]
        value = getattr(op, entry.name)
        if isinstance(value, np.ndarray):
            _check_array(value, f"'{entry.name}' of node '{node.name}' ({kind})")
        elif isinstance(value, float) and math.isnan(value):
            raise InputError(f"'{entry.name}' of node '{node.name}' ({kind}) is NaN")


def _check_array(value: Array, called: str) -> None:
    if value.dtype not in (np.float32, np.float64, np.bool_):
        raise InputError(f"{called} is {value.dtype}, but constants are float32 or float64")
    if not np.isfinite(value).all():
        raise InputError(f"{called} holds NaN or infinite values; the policy is broken and cannot be used")


def _add(specs: dict[str, Spec], name: str, spec: Spec, what: str) -> None:
    if not name or name in specs:
        raise InputError(f"{what} '{name}' has no unique name; every value needs one")
    if spec.dtype not in get_args(DType):
        raise InputError(f"{what} '{name}' is {spec.dtype}, but values are {' or '.join(get_args(DType))}")
    if any(type(size) is not int or size < 1 for size in spec.shape):
        raise InputError(
            f"{what} '{name}' has shape {list(spec.shape)}, but every axis needs a fixed size of 1 or more"
        )
    specs[name] = spec


def _told(spec: Spec) -> str:
    return f"{spec.dtype}{list(spec.shape)}"


def _names(specs: Mapping[str, Spec]) -> str:
    return ", ".join(f"'{name}'" for name in specs)
