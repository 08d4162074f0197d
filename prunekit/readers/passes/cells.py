"""Patterns of recurrent cells, and of values that were split and joined again."""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import numpy as np

from prunekit.graph.graph import Node
from prunekit.graph.op import Array
from prunekit.ops.add import Add
from prunekit.ops.affine import Affine
from prunekit.ops.concat import Concat
from prunekit.ops.gru import GRU
from prunekit.ops.mul import Mul
from prunekit.ops.slice import Slice
from prunekit.readers.passes.rewriting import Found, View


class _Rows(NamedTuple):
    """A range of rows of a layer that reads ``source``."""

    weight: Array
    bias: Array
    source: str


def cell(view: View, node: Node) -> Found:
    """Find a GRU: (1 - z) n + z before, with r, z = sigmoid(...) and n = tanh(n_x + r n_h)."""
    if not isinstance(node.op, Add):
        return None
    for new, kept in permutations(node.inputs):
        for z, before in _pairs(view, kept, Mul):
            for rest, candidate in _pairs(view, new, Mul):
                found = _gru(view, z, before, rest, candidate)
                if found is not None:
                    op, x = found
                    return (Node(op=op, inputs=(x, before), outputs=node.outputs),)
    return None


def _gru(view: View, z: str, before: str, rest: str, candidate: str) -> tuple[GRU, str] | None:
    total, bent = view.of(z, "sigmoid"), view.of(candidate, "tanh")
    if total is None or bent is None or view.linear(rest) != (-1.0, 1.0, z):
        return None
    for z_x, z_h in _pairs(view, total, Add):
        for n_x, gated in _pairs(view, bent, Add):
            for r, n_h in _pairs(view, gated, Mul):
                inner = view.of(r, "sigmoid")
                for r_x, r_h in () if inner is None else _pairs(view, inner, Add):
                    read = [_rows(view, name) for name in (r_x, z_x, n_x)]
                    held = [_rows(view, name) for name in (r_h, z_h, n_h)]
                    made = _joined(view, [*read, *held], before)
                    if made is not None:
                        return made
    return None


def _joined(view: View, parts: list[_Rows | None], before: str) -> tuple[GRU, str] | None:
    rows = [part for part in parts if part is not None]
    if len(rows) != 6 or {part.source for part in rows[3:]} != {before} or len({part.source for part in rows[:3]}) != 1:
        return None
    x = rows[0].source
    shapes = view.specs[x].shape, view.specs[before].shape
    if any(len(shape) != 1 for shape in shapes) or {len(part.bias) for part in rows} != {shapes[1][0]}:
        return None
    weights, biases = [part.weight for part in rows], [part.bias for part in rows]
    op = GRU(
        w_x=np.concatenate(weights[:3]),
        w_h=np.concatenate(weights[3:]),
        b_x=np.concatenate(biases[:3]),
        b_h=np.concatenate(biases[3:]),
    )
    return op, x


def _rows(view: View, name: str) -> _Rows | None:
    """Return the rows of a layer that ``name`` consists of, all or some of them; None if it is not the output of a
    layer.
    """
    picked, source = view.op(name, Slice), name
    if picked is not None:
        source = view.source(name)
    layer = view.op(source, Affine)
    if layer is None:
        return None
    rows = slice(None) if picked is None else np.flatnonzero(picked.selected)
    return _Rows(layer.weight[rows], layer.bias[rows], view.source(source))


def _pairs(view: View, name: str, kind: type[Add] | type[Mul]) -> list[tuple[str, str]]:
    """Return the two values that ``name`` is the sum or product (``kind``) of, in both orders."""
    maker = view.makers.get(name)
    if maker is None or not isinstance(maker.op, kind) or len(maker.inputs) != 2:
        return []
    first, second = maker.inputs
    return [(first, second), (second, first)]


def rejoined(view: View, node: Node) -> Found:
    """Replace a concatenation of all parts of one value, in order, by that value."""
    if not isinstance(node.op, Concat):
        return None
    picked = [view.op(name, Slice) for name in node.inputs]
    sources = {view.source(name) if part is not None else "" for name, part in zip(node.inputs, picked, strict=True)}
    if "" in sources or len(sources) != 1:
        return None
    (source,) = sources
    if view.specs[source].shape != view.specs[node.outputs[0]].shape:
        return None
    places = np.concatenate([np.flatnonzero(part.selected) for part in picked if part is not None])
    return source if (places == np.arange(len(places))).all() else None
