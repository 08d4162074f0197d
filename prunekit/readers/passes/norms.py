"""Patterns of norms and log-softmax."""

from __future__ import annotations

import math

import numpy as np

from prunekit.graph.graph import Node
from prunekit.ops.add import Add
from prunekit.ops.clip import Clip
from prunekit.ops.l2_norm import L2Norm
from prunekit.ops.layer_norm import LayerNorm
from prunekit.ops.log_softmax import LogSoftmax
from prunekit.ops.mul import Mul
from prunekit.ops.reduce import Reduce
from prunekit.ops.rms_norm import RMSNorm
from prunekit.ops.softmax import Softmax
from prunekit.ops.take import Take
from prunekit.readers.passes.rewriting import Found, View


def divided_by_size(view: View, node: Node) -> Found:
    """Find x divided by its size: LayerNorm if x is centred, otherwise RMSNorm or L2Norm."""
    if not isinstance(node.op, Mul):
        return None
    for x, other in (node.inputs, node.inputs[::-1]):
        size = view.of(_repeated(view, other), "reciprocal")
        if size is None:
            continue
        width = view.specs[x].shape[-1]
        epsilon = _mean_square(view, size, x)
        if epsilon is not None:
            centred = _centred(view, x)
            ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
            if centred is None:
                op: LayerNorm | RMSNorm | L2Norm = RMSNorm(scale=ones, epsilon=epsilon, count=width)
                return (Node(op=op, inputs=(x,), outputs=node.outputs),)
            op = LayerNorm(scale=ones, shift=zeros, epsilon=epsilon, count=width)
            return (Node(op=op, inputs=(centred,), outputs=node.outputs),)
        smallest = _length(view, size, x)
        if smallest is not None:
            return (Node(op=L2Norm(epsilon=smallest), inputs=(x,), outputs=node.outputs),)
    return None


def log_softmax(view: View, node: Node) -> Found:
    """Find x - log(sum(exp(x))), with or without subtracting the maximum first."""
    if not isinstance(node.op, Add):
        return None
    for x, other in (node.inputs, node.inputs[::-1]):
        scale, shift, total = view.linear(_repeated(view, other))
        if scale == -1.0 and shift == 0.0 and _log_sum_of_powers(view, total) == x:
            return (Node(op=LogSoftmax(), inputs=(x,), outputs=node.outputs),)
    return None


def _log_sum_of_powers(view: View, name: str) -> str | None:
    """Return x if ``name`` is log(sum(exp(x))) or log(sum(exp(x - max(x)))) + max(x), otherwise None."""
    maker = view.makers.get(name)
    pairs = [(name, "")]
    if maker is not None and isinstance(maker.op, Add):
        first, second = maker.inputs
        pairs = [(first, second), (second, first)]
    for log, largest in pairs:
        total = view.of(log, "log")
        op = None if total is None else view.op(total, Reduce)
        powers = None if total is None or op is None or op.kind != "sum" else view.of(view.source(total), "exp")
        if powers is None:
            continue
        if not largest:
            return powers
        top, lower = view.op(largest, Reduce), view.makers.get(powers)
        if top is None or top.kind != "max" or lower is None or not isinstance(lower.op, Add):
            continue
        x = view.source(largest)
        others = [one for one in lower.inputs if one != x]
        if len(others) == 1 and view.linear(_repeated(view, others[0])) == (-1.0, 0.0, largest):
            return x
    return None


def softmax_of_logarithms(view: View, node: Node) -> Found:
    """Replace softmax(log_softmax(x)) by softmax(x)."""
    if isinstance(node.op, Softmax | LogSoftmax) and view.op(node.inputs[0], LogSoftmax) is not None:
        return (Node(op=node.op, inputs=(view.source(node.inputs[0]),), outputs=node.outputs),)
    return None


def _repeated(view: View, name: str) -> str:
    """Return the number that ``name`` repeats, or ``name`` itself."""
    take = view.op(name, Take)
    if take is None or any(take.indices) or view.specs[view.source(name)].shape[-1] != 1:
        return name
    return view.source(name)


def _mean(view: View, name: str) -> str | None:
    """Return the value that ``name`` is the mean of, or None."""
    scale, shift, inner = view.linear(name)
    op = view.op(inner, Reduce)
    if op is None or shift != 0.0 or op.kind == "max":
        return None
    source = view.source(inner)
    wanted = 1.0 if op.kind == "mean" else 1.0 / view.specs[source].shape[-1]
    return source if math.isclose(scale, wanted, rel_tol=1e-6) else None


def _mean_square(view: View, name: str, x: str) -> float | None:
    """Return epsilon if ``name`` is sqrt(mean(x^2) + epsilon), otherwise None."""
    inner = view.of(name, "sqrt")
    if inner is None:
        return None
    scale, shift, variance = view.linear(inner)
    squares = _mean(view, variance)
    if squares is None and scale != 1.0 and shift >= 0.0:  # a sum, a count and epsilon in one
        op = view.op(variance, Reduce)
        if op is not None and op.kind == "sum":
            source = view.source(variance)
            if math.isclose(scale, 1.0 / view.specs[source].shape[-1], rel_tol=1e-6):
                squares, scale = source, 1.0
    if squares is None or scale != 1.0 or shift < 0.0:
        return None
    return shift if view.of(squares, "square") == x else None


def _centred(view: View, x: str) -> str | None:
    """Return the value that ``x`` is without its mean, or None."""
    maker = view.makers.get(x)
    if maker is None or not isinstance(maker.op, Add):
        return None
    for source, other in (maker.inputs, maker.inputs[::-1]):
        scale, shift, inner = view.linear(_repeated(view, other))
        if scale == -1.0 and shift == 0.0 and _mean(view, inner) == source:
            return source
    return None


def _length(view: View, name: str, x: str) -> float | None:
    """Return epsilon if ``name`` is max(|x|, epsilon), otherwise None."""
    clip = view.op(name, Clip)
    if clip is None or clip.high != math.inf or not clip.low > 0.0:
        return None
    total = view.of(view.source(name), "sqrt")
    op = None if total is None else view.op(total, Reduce)
    if total is None or op is None or op.kind != "sum" or view.of(view.source(total), "square") != x:
        return None
    return clip.low


PATTERNS = (divided_by_size, log_softmax, softmax_of_logarithms)
