"""Patterns of scales, shifts and bounds: they are joined, and folded into the layers and norms before them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from prunekit.graph.graph import Node
from prunekit.graph.op import Array
from prunekit.ops.activation import Activation
from prunekit.ops.affine import Affine
from prunekit.ops.batch_norm import BatchNorm
from prunekit.ops.clip import Clip
from prunekit.ops.clip_to_bounds import ClipToBounds
from prunekit.ops.concat import Concat
from prunekit.ops.flatten import Flatten
from prunekit.ops.layer_norm import LayerNorm
from prunekit.ops.normalize import Normalize
from prunekit.ops.reshape import Reshape
from prunekit.ops.rms_norm import RMSNorm
from prunekit.ops.scale_shift import ScaleShift
from prunekit.ops.slice import Slice
from prunekit.ops.take import Take
from prunekit.readers.passes.rewriting import Found, View, is_uniform, scale_shift_of


def _single(array: Array) -> Array:
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def nothing(_: View, node: Node) -> Found:
    """Remove x * 1 + 0, and bounds that are infinite."""
    op = node.op
    if isinstance(op, ScaleShift) and (op.scale == 1.0).all() and not op.shift.any():
        return node.inputs[0]
    if isinstance(op, Clip) and math.isinf(op.low) and math.isinf(op.high) and op.low < op.high:
        return node.inputs[0]
    return None


def two_scalings(view: View, node: Node) -> Found:
    """Join two scalings in a row. A shift before a scale stays first, because x - mean is exact and x * scale is
    not.
    """
    if not isinstance(node.op, ScaleShift) or view.op(node.inputs[0], ScaleShift) is None:
        return None
    first, second = view.op(node.inputs[0], ScaleShift), node.op
    assert first is not None
    source = view.source(node.inputs[0])
    raw = is_raw(view, source)
    if raw and (first.scale == 1.0).all() and first.shift.any():
        if second.shift.any() or (second.scale == 1.0).all():
            return None
        op = Normalize(mean=-first.shift, scale=second.scale, clip=math.inf)
        return (Node(op=op, inputs=(source,), outputs=node.outputs),)
    a, b = (found for found in (scale_shift_of(first), scale_shift_of(second)) if found is not None)
    made = ScaleShift(scale=_single(a[0] * b[0]), shift=_single(a[1] * b[0] + b[1]))
    return (Node(op=made, inputs=(source,), outputs=node.outputs),)


def clipped_normalizer(view: View, node: Node) -> Found:
    """Join a normalizer with the bounds after it."""
    before = view.op(node.inputs[0], Normalize)
    if not isinstance(node.op, Clip) or before is None or not node.op.low == -node.op.high < 0.0:
        return None
    op = replace(before, clip=min(before.clip, node.op.high))
    return (Node(op=op, inputs=(view.source(node.inputs[0]),), outputs=node.outputs),)


def two_bounds(view: View, node: Node) -> Found:
    """Join bounds with the bounds or the rectifier before them."""
    name = node.inputs[0]
    if isinstance(node.op, Clip):
        inner = view.op(name, Clip)
        low, high = (0.0, math.inf) if view.of(name, "relu") else (inner.low, inner.high) if inner else (0.0, 0.0)
        if low < high and node.op.low < high and low < node.op.high:
            op = Clip(low=max(low, node.op.low), high=min(high, node.op.high))
            return (Node(op=op, inputs=(view.source(name),), outputs=node.outputs),)
    before = view.op(name, ClipToBounds)
    if isinstance(node.op, ClipToBounds) and before is not None:
        pairs = list(zip(before.low, before.high, node.op.low, node.op.high, strict=True))
        if all(low <= high2 and low2 <= high for low, high, low2, high2 in pairs):
            lows = tuple(max(low, low2) for low, _, low2, _ in pairs)
            highs = tuple(min(high, high2) for _, high, _, high2 in pairs)
            return (Node(op=ClipToBounds(low=lows, high=highs), inputs=(view.source(name),), outputs=node.outputs),)
    return None


def rectifier(_: View, node: Node) -> Found:
    """Replace a lower bound of zero by a ReLU."""
    if isinstance(node.op, Clip) and node.op.low == 0.0 and node.op.high == math.inf:
        return (replace(node, op=Activation(kind="relu")),)
    return None


def into_layer(view: View, node: Node) -> Found:
    """Fold a scale and shift into the constants of the layer or norm before it, if nothing else reads that."""
    found, name = scale_shift_of(node.op), node.inputs[0]
    if isinstance(node.op, BatchNorm):
        factor = node.op.scale.astype(np.float64) / np.sqrt(node.op.variance.astype(np.float64) + node.op.epsilon)
        found = factor, node.op.shift - node.op.mean * factor
    maker = view.makers.get(name)
    if found is None or maker is None or not view.alone(name):
        return None
    scale, shift = found
    match maker.op:
        case Affine() as op:
            weight = _single(op.weight if (scale == 1.0).all() else op.weight * scale[:, None])
            made: Affine | LayerNorm | RMSNorm | BatchNorm = Affine(
                weight=weight, bias=_single(op.bias * scale + shift)
            )
        case LayerNorm() | BatchNorm() as op:
            made = replace(op, scale=_single(op.scale * scale), shift=_single(op.shift * scale + shift))
        case RMSNorm() as op if not shift.any():
            made = replace(op, scale=_single(op.scale * scale))
        case _:
            return None
    return (Node(op=made, inputs=maker.inputs, outputs=node.outputs),)


def rows_of_layer(view: View, node: Node) -> Found:
    """Reduce a layer to the rows whose outputs are read."""
    layer, name = view.op(node.inputs[0], Affine), node.inputs[0]
    if layer is None or not view.alone(name):
        return None
    match node.op:
        case Slice() as op:
            rows = np.flatnonzero(op.selected)
        case Take() as op if len(set(op.indices)) == len(op.indices):
            rows = np.asarray(op.indices)
        case _:
            return None
    made = Affine(weight=layer.weight[rows], bias=layer.bias[rows])
    return (Node(op=made, inputs=(view.source(name),), outputs=node.outputs),)


def is_raw(view: View, name: str) -> bool:
    """Return whether a value is an observation or a selection of its entries."""
    seen = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one in seen or one in view.ports:
            continue
        seen.add(one)
        if not isinstance(view.makers[one].op, Slice | Take | Concat | Flatten | Reshape):
            return False
        waiting += view.makers[one].inputs
    return True


def expansion_last(view: View, node: Node) -> Found:
    """Move an element-wise function before a repetition."""
    take = view.op(node.inputs[0], Take) if len(node.inputs) == 1 else None
    if take is None or any(take.indices) or view.specs[view.source(node.inputs[0])].shape[-1] != 1:
        return None
    op = node.op
    if isinstance(op, ScaleShift) and is_uniform(op.scale) and is_uniform(op.shift):
        op = ScaleShift(scale=op.scale[:1], shift=op.shift[:1])
    elif not isinstance(op, Activation | Clip) and type(op).__name__ != "Elementary":
        return None
    inner = view.node(op, (view.source(node.inputs[0]),), node.name)
    return inner, Node(op=take, inputs=inner.outputs, outputs=node.outputs)


def views(view: View, node: Node) -> Found:
    """Join two reshapes in a row, and remove a reshape to the same shape."""
    if not isinstance(node.op, Flatten | Reshape):
        return None
    source = node.inputs[0]
    while source in view.makers and isinstance(view.makers[source].op, Flatten | Reshape):
        source = view.source(source)
    if view.specs[source].shape == view.specs[node.outputs[0]].shape:
        return source
    return None if source == node.inputs[0] else (replace(node, inputs=(source,)),)
