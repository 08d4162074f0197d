"""The rewriting engine: it sweeps over the nodes until no pattern matches, and removes nodes that nothing reads."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar, final

import numpy as np

from prunekit.graph.graph import Graph, Node, specs_of
from prunekit.graph.op import Array, Op
from prunekit.ops.activation import Activation
from prunekit.ops.constant import Constant
from prunekit.ops.elementary import Elementary
from prunekit.ops.mul import Mul
from prunekit.ops.normalize import Normalize
from prunekit.ops.scale_shift import ScaleShift

_MAX_SWEEPS = 50
_MAX_LINKS = 16
"""Scales and shifts in a row that are looked back through, of which no function that is known has more than a few."""
_MAX_DEPTH = 3
"""Products of products, likewise; each level may double them."""
_Kind = TypeVar("_Kind", bound=Op)


@final
class View:
    """The graph during a sweep: the node that makes each value, and how often the value is read."""

    def __init__(self, graph: Graph) -> None:
        self.makers: dict[str, Node] = {}
        self.ports = {port.name for port in graph.inputs} | {state.before for state in graph.states}
        self.specs = specs_of(graph)
        self.uses = Counter(name for node in graph.nodes for name in node.inputs)
        self.uses.update(_ends(graph))

    def fresh(self, like: str) -> str:
        """Return an unused name."""
        at = 1
        while f"{like}.{at}" in self.specs:
            at += 1
        return f"{like}.{at}"

    def node(self, op: Op, inputs: Sequence[str], like: str) -> Node:
        """Return a new intermediate node with an unused name."""
        name = self.fresh(like)
        self.specs[name] = op.shapes([self.specs[one] for one in inputs])[0]
        return Node(op=op, inputs=tuple(inputs), outputs=(name,))

    def alone(self, name: str) -> bool:
        """Return whether exactly one node reads the value."""
        return self.uses[name] == 1

    def op(self, name: str, kind: type[_Kind]) -> _Kind | None:
        """Return the op that makes ``name`` if it is of ``kind``, otherwise None."""
        maker = self.makers.get(name)
        return maker.op if maker is not None and isinstance(maker.op, kind) else None

    def source(self, name: str) -> str:
        """Return the first input of the op that makes ``name``."""
        return self.makers[name].inputs[0]

    def of(self, name: str, kind: str) -> str | None:
        """Return the input of the element-wise function ``kind`` that makes ``name``, or None."""
        maker = self.makers.get(name)
        if maker is None or not isinstance(maker.op, Activation | Elementary) or maker.op.kind != kind:
            return None
        return maker.inputs[0]

    def linear(self, name: str) -> tuple[float, float, str]:
        """Return (scale, shift, inner) such that the value is scale * inner + shift, with one number for all
        elements.
        """
        scale, shift = 1.0, 0.0
        for _ in range(_MAX_LINKS):
            if name not in self.makers:
                break
            found = scale_shift_of(self.makers[name].op)
            if found is None or not (is_uniform(found[0]) and is_uniform(found[1])):
                break
            shift += scale * float(found[1][0])
            scale *= float(found[0][0])
            name = self.makers[name].inputs[0]
        return scale, shift, name

    def factors(self, name: str, depth: int = 0) -> tuple[float, list[str]]:
        """Return a number and the values whose product ``name`` is; a square counts twice."""
        maker = self.makers.get(name)
        return (1.0, [name]) if maker is None or depth > _MAX_DEPTH else self.factors_of(maker, depth)

    def factors_of(self, node: Node, depth: int = 0) -> tuple[float, list[str]]:
        """Return the same for a node that is not in the graph yet."""
        name, found = node.outputs[0], scale_shift_of(node.op)
        scale, inner = 1.0, name
        if found is not None:
            if not is_uniform(found[0]) or found[1].any():
                return 1.0, [name]
            scale, shift, inner = self.linear(node.inputs[0])
            if shift != 0.0:
                return float(found[0][0]), [node.inputs[0]]
            scale *= float(found[0][0])
        maker = node if inner == name else self.makers.get(inner)
        if maker is not None and isinstance(maker.op, Mul):
            parts = [self.factors(one, depth + 1) for one in maker.inputs]
        elif maker is not None and isinstance(maker.op, Elementary) and maker.op.kind == "square":
            parts = [self.factors(maker.inputs[0], depth + 1)] * 2
        else:
            return scale, [inner]
        return scale * math.prod(part[0] for part in parts), [one for part in parts for one in part[1]]


Found = Sequence[Node] | str | None
"""What takes a node's place: nodes, the last of which makes the node's value; or the value that it is; or nothing."""

Pattern = Callable[[View, Node], Found]


def rewritten(graph: Graph, patterns: Sequence[Pattern]) -> Graph:
    """Return ``graph`` with every match of a pattern replaced, and without nodes that nothing reads."""
    for _ in range(_MAX_SWEEPS):
        graph = pruned(graph)
        graph, changed = _sweep(graph, patterns)
        if not changed:
            break
    return pruned(graph)


def _sweep(graph: Graph, patterns: Sequence[Pattern]) -> tuple[Graph, bool]:
    view, names, nodes, changed = View(graph), dict[str, str](), list[Node](), False
    ends, moved = _ends(graph), dict[str, str]()
    for original in graph.nodes:
        node = replace(original, inputs=tuple(names.get(name, name) for name in original.inputs))
        found: Found = None
        for pattern in patterns:
            found = pattern(view, node)
            if isinstance(found, str) and node.outputs[0] in ends:
                free = found in view.makers and found not in ends and found not in moved
                moved |= {found: node.outputs[0]} if free else {}  # an output keeps its name
                found = found if free else None
            if found is not None:
                break
        changed |= found is not None
        if isinstance(found, str):
            names[node.outputs[0]] = found
            continue
        for made in (node,) if found is None else found:
            nodes.append(made)
            view.makers.update(dict.fromkeys(made.outputs, made))
    renamed = [_renamed(node, moved) for node in nodes]
    return (replace(graph, nodes=tuple(renamed)), True) if changed else (graph, False)


def _renamed(node: Node, names: Mapping[str, str]) -> Node:
    inputs, outputs = (tuple(names.get(name, name) for name in group) for group in (node.inputs, node.outputs))
    return replace(node, inputs=inputs, outputs=outputs)


def pruned(graph: Graph) -> Graph:
    """Return ``graph`` without nodes and inputs that no output depends on."""
    needed, nodes = set(_ends(graph)), list[Node]()
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            nodes.append(node)
            needed |= set() if isinstance(node.op, Constant) else set(node.inputs)
    kept = [port for port in graph.inputs if port.name in needed] or list(graph.inputs[:1])
    # A constant needs an input only for its batch size, so any input will do.
    nodes = [replace(one, inputs=(kept[0].name,)) if isinstance(one.op, Constant) else one for one in nodes[::-1]]
    return replace(graph, inputs=tuple(kept), nodes=tuple(nodes))


def _ends(graph: Graph) -> list[str]:
    return [*graph.outputs, *(state.after for state in graph.states)]


def scale_shift_of(op: Op) -> tuple[Array, Array] | None:
    """Return (scale, shift) in float64 if the op is only a scale and shift, otherwise None."""
    if isinstance(op, ScaleShift):
        return op.scale.astype(np.float64), op.shift.astype(np.float64)
    if isinstance(op, Normalize) and math.isinf(op.clip):
        scale = op.scale.astype(np.float64)
        return scale, -op.mean.astype(np.float64) * scale
    return None


def is_uniform(array: Array) -> bool:
    """Return whether all entries are equal."""
    return bool((array == array[:1]).all())
