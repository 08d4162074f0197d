"""The NumPy reference of a graph, against which every other backend is tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.graph import Graph
from prunekit.graph.op import Array, name_of

Values = dict[str, Array]


def initial_states(graph: Graph, batch: int, dtype: type[np.floating[Any]] = np.float64) -> Values:
    """Return the initial states, an array [batch, ...] per state, keyed by the name under which nodes read it."""
    return {s.before: np.repeat(s.initial[None].astype(dtype), batch, axis=0) for s in graph.states}


def run_step(
    graph: Graph, inputs: Mapping[str, Array], states: Mapping[str, Array], dtype: type[np.floating[Any]] = np.float64
) -> tuple[Values, Values]:
    """Run the graph once and return (outputs, next states); inputs and states are [batch, ...].

    Raises InputError if names or shapes of inputs do not match the graph.
    """
    values = all_values(graph, inputs, states, dtype)
    return {name: values[name] for name in graph.outputs}, {s.before: values[s.after] for s in graph.states}


def run_sequence(
    graph: Graph, sequence: Sequence[Mapping[str, Array]], dtype: type[np.floating[Any]] = np.float64
) -> list[Values]:
    """Run the graph once per entry of ``sequence``, starting from the initial states, and return the outputs of all
    calls.
    """
    results: list[Values] = []
    states: Values = {}
    for inputs in sequence:
        states = states or initial_states(graph, _batch(inputs), dtype)
        outputs, states = run_step(graph, inputs, states, dtype)
        results.append(outputs)
    return results


def all_values(
    graph: Graph, inputs: Mapping[str, Array], states: Mapping[str, Array], dtype: type[np.floating[Any]] = np.float64
) -> Values:
    """Run the graph once and return every intermediate value, keyed by name. Raises InputError as ``run_step`` does."""
    integers = {port.name for port in graph.inputs if port.dtype == "int64"}
    given = checked(graph, inputs, states)
    values = {name: value.astype(np.int64 if name in integers else dtype) for name, value in given.items()}
    for node in graph.nodes:
        made = node.op.reference([values[name] for name in node.inputs])
        if len(made) != len(node.outputs):
            raise InputError(f"node '{node.name}' ({name_of(node.op)}) gave {len(made)} of {len(node.outputs)} outputs")
        values |= zip(node.outputs, made, strict=True)
    return values


def checked(graph: Graph, inputs: Mapping[str, Array], states: Mapping[str, Array]) -> Values:
    """Return ``inputs`` and ``states`` merged. Raises InputError if names or shapes do not match the graph."""
    given = {**inputs, **states}
    shapes = {port.name: port.shape for port in graph.inputs} | {s.before: s.initial.shape for s in graph.states}
    if set(given) != set(shapes):
        raise InputError(f"the graph needs {sorted(shapes)}, but was given {sorted(given)}")
    for name, value in given.items():
        if value.ndim == 0 or value.shape[1:] != shapes[name] or len(value) != _batch(given):
            raise InputError(f"'{name}' is {list(value.shape)}, but the graph needs [batch, {str(shapes[name])[1:-1]}]")
    return given


def _batch(inputs: Mapping[str, Array]) -> int:
    return next((len(value) for value in inputs.values() if value.ndim), 0)
