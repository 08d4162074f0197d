"""Detection of values that do not depend on the input, by running the reference with NaN for everything that does."""

from __future__ import annotations

import numpy as np

from prunekit.graph.forms import KNOWN
from prunekit.graph.graph import Graph, given_to, specs_of
from prunekit.graph.op import Array


def known_values(graph: Graph) -> dict[str, Array]:
    """Return every value as float64 without batch axis, with NaN where it depends on the input or changes over time.

    A state is known if it always stays at its initial value.
    """
    states = {state.before: state.initial.astype(np.float64) for state in graph.states}
    while True:
        values = _run(graph, states)
        changed = False
        for state in graph.states:
            before, after = states[state.before], values[state.after]
            varies = ~np.isnan(before) & ~(before == after)
            if varies.any():
                states[state.before], changed = np.where(varies, np.nan, before), True
        if not changed:
            return values


def _run(graph: Graph, states: dict[str, Array]) -> dict[str, Array]:
    specs = specs_of(graph)
    values = {port.name: np.full(port.shape, np.nan) for port in graph.inputs} | states
    for node in graph.nodes:
        given = [values[name][None] for name in node.inputs]
        form = KNOWN.find(node.op)
        if form is not None:
            made = [value[0] for value in form(node.op, *given)]
        elif any(coupling.across for coupling in node.op.couplings(given_to(node, specs))) or any(
            specs[name].dtype != "float32" for name in (*node.inputs, *node.outputs)
        ):  # integers have no NaN
            made = [np.full(specs[name].shape, np.nan) for name in node.outputs]
        else:
            with np.errstate(all="ignore"):
                made = [value[0] for value in node.op.reference(given)]
        values |= zip(node.outputs, made, strict=True)
    return values


def along(value: Array, axis: int) -> Array:
    """Return one value per position of ``axis``, [n]; NaN where values differ along the other axes or are unknown."""
    rows = np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)
    return np.where((rows == rows[:, :1]).all(axis=1), rows[:, 0], np.nan)
