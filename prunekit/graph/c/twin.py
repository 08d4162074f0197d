"""The NumPy twin of the C: it computes the same bits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from prunekit.graph.c.body import is_read_as_it_is
from prunekit.graph.forms import TWIN
from prunekit.graph.graph import Graph
from prunekit.graph.op import Array
from prunekit.graph.reference import Values, checked


def run_twin(graph: Graph, inputs: Mapping[str, Array], states: Mapping[str, Array]) -> tuple[Values, Values]:
    """Run the graph once as ``run_step`` does, but with the bits of the C, and return (outputs, next states).

    ``graph`` has float32 constants. Raises InputError, naming node and op, for an op without a twin.
    """
    values = {name: value.astype(np.float32) for name, value in checked(graph, inputs, states).items()}
    with np.errstate(all="ignore"):
        for port in graph.inputs:
            if not is_read_as_it_is(graph, port.name):
                x = values[port.name]
                values[port.name] = np.where(x - x == 0.0, x, np.float32(0.0))
        for node in graph.nodes:
            made = TWIN.of(node.op, node.name)(node.op, *(values[name] for name in node.inputs))
            values |= zip(node.outputs, made, strict=True)
    return {name: values[name] for name in graph.outputs}, {s.before: values[s.after] for s in graph.states}
