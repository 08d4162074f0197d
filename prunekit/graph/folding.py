"""Folding of removed constant units into the ops that read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from prunekit.graph.constants import along, known_values
from prunekit.graph.forms import FOLD
from prunekit.graph.graph import Graph, Node, given_to, specs_of
from prunekit.graph.groups import Group
from prunekit.graph.op import Array, Axis, Spec


def folded(graph: Graph, groups: Sequence[Group], constant: Mapping[str, NDArray[np.int64]]) -> Graph:
    """Return ``graph`` in which every op that reads the units ``constant`` adds their contribution by itself."""
    if not any(len(units) for units in constant.values()):
        return graph
    known, specs = known_values(graph), specs_of(graph)
    removed = {name: [np.zeros(size) for size in spec.shape] for name, spec in specs.items()}
    for group in groups:
        for carrier in group.carriers:
            positions = carrier.positions[:, constant[group.name]].ravel()
            removed[carrier.name][carrier.axis][positions] = along(known[carrier.name], carrier.axis)[positions]
    return replace(graph, nodes=tuple(_fold_node(node, given_to(node, specs), removed) for node in graph.nodes))


def can_fold(graph: Graph, group: Group) -> bool:
    """Return whether every op that only reads the units of ``group`` can take a folded constant."""
    carried, specs = {(carrier.name, carrier.axis) for carrier in group.carriers}, specs_of(graph)
    for node in graph.nodes:
        for axis in _only_read(node, given_to(node, specs)):
            name = node.inputs[node.op.inputs.index(axis.of)]
            at = range(len(specs[name].shape))[axis.axis]
            if (name, at) in carried and FOLD.find(node.op) is None:
                return False
    return True


def _fold_node(node: Node, given: Sequence[Spec], removed: Mapping[str, Sequence[Array]]) -> Node:
    op = node.op
    for axis in _only_read(node, given):
        whole = removed[node.inputs[op.inputs.index(axis.of)]][axis.axis]
        values, here = np.zeros_like(whole), axis.positions(len(whole))
        values[here] = whole[here]
        if values.any():
            op = FOLD.of(op, node.name)(op, axis.of, values)
    return replace(node, op=op)


def _only_read(node: Node, given: Sequence[Spec]) -> Iterator[Axis]:
    """Yield the input axes whose units appear in no output. Otherwise the op passes a constant on to its readers."""
    for coupling in node.op.couplings(given):
        if not any(axis.of in node.op.outputs for axis in coupling.axes):
            yield from (axis for axis in coupling.axes if axis.of in node.op.inputs)
