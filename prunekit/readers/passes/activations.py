"""Patterns of activations that are written as powers, logarithms, choices by sign, or bounds."""

from __future__ import annotations

import math

import numpy as np

from prunekit.graph.graph import Node
from prunekit.ops.activation import Activation
from prunekit.ops.add import Add
from prunekit.ops.clip import Clip
from prunekit.ops.constant import Constant
from prunekit.ops.elementary import Elementary
from prunekit.ops.maximum import Maximum
from prunekit.ops.scale_shift import ScaleShift
from prunekit.ops.where import Where
from prunekit.readers.passes.gates import is_close, made, plain_softplus
from prunekit.readers.passes.rewriting import Found, View, is_uniform

_LARGE = 16.0  # from here on softplus(x) is x in float32


def sigmoid(view: View, node: Node) -> Found:
    """Find a sigmoid: 1 / (1 + exp(-x))."""
    below = node.inputs[0]
    if not isinstance(node.op, Elementary) or node.op.kind != "reciprocal":
        return None
    scale, shift, inner = view.linear(below)
    power = view.of(inner, "exp")
    if power is None or not (is_close(scale, 1.0) and is_close(shift, 1.0)):
        return None
    factor, offset, x = view.linear(power)
    return made(view, node, "sigmoid", x) if factor == -1.0 and offset == 0.0 else None


def softplus_of_multiples(view: View, node: Node) -> Found:
    """Find softplus(b * x) / b, with or without the switch to x for large x."""
    name, choice = node.outputs[0], node.op
    if isinstance(choice, Where):
        condition, x, below = node.inputs
        scale, shift, of = view.linear(condition)
        kind = _scaled_softplus(view, below)
        if kind is None or of != x or kind[1] != x or not scale > 0.0 or -shift / scale * kind[0] < _LARGE:
            return None
        return made(view, node, "softplus", x, 1.0, kind[0])
    if isinstance(choice, ScaleShift) and not choice.shift.any() and view.of(node.inputs[0], "softplus") is not None:
        kind = _scaled_softplus(view, name, node)
        return None if kind is None or kind[0] == 1.0 else made(view, node, "softplus", kind[1], 1.0, kind[0])
    return None


def _scaled_softplus(view: View, name: str, node: Node | None = None) -> tuple[float, str] | None:
    """Return (b, x) if the value is softplus(b * x) / b, otherwise None."""
    scale, inner = 1.0, name
    if node is not None:
        assert isinstance(node.op, ScaleShift)
        if not is_uniform(node.op.scale):
            return None
        scale, inner = float(node.op.scale[0]), node.inputs[0]
    more, shift, inner = view.linear(inner)
    argument, op = view.of(inner, "softplus"), view.op(inner, Activation)
    if argument is None or op is None or shift != 0.0:
        return None
    factor, offset, x = view.linear(argument)
    beta = op.numbers[0] * factor
    if offset != 0.0 or not beta > 0.0 or not is_close(scale * more / op.numbers[0] * beta, 1.0):
        return None
    return beta, x


def log_sigmoid(view: View, node: Node) -> Found:
    """Replace log(sigmoid(x)) by -softplus(-x), which is finite for all x."""
    if not isinstance(node.op, Elementary) or node.op.kind != "log":
        return None
    x = view.of(node.inputs[0], "sigmoid")
    if x is None:
        return None
    size = view.specs[x].shape[-1]
    minus = ScaleShift(scale=np.full(size, -1.0, np.float32), shift=np.zeros(size, np.float32))
    turned = view.node(minus, (x,), node.name)
    bent = view.node(Activation(kind="softplus", numbers=(1.0,)), turned.outputs, node.name)
    return turned, bent, Node(op=minus, inputs=bent.outputs, outputs=node.outputs)


def softplus(view: View, node: Node) -> Found:
    """Find log(1 + exp(x)), or max(x, 0) + log(1 + exp(-|x|)), which is the same but never overflows."""
    if isinstance(node.op, Elementary) and node.op.kind == "log":
        x = _log_of_power(view, node)
        return None if x is None else made(view, node, "softplus", x, 1.0, 1.0)
    if isinstance(node.op, Add):
        for above, log in (node.inputs, node.inputs[::-1]):
            x = view.of(above, "relu")
            power = view.of(log, "softplus") if plain_softplus(view, log) else None
            if x is not None and power is not None:
                factor, offset, inner = view.linear(power)
                if factor == -1.0 and offset == 0.0 and view.of(inner, "abs") == x:
                    return made(view, node, "softplus", x, 1.0, 1.0)
    return None


def _log_of_power(view: View, node: Node) -> str | None:
    scale, shift, inner = view.linear(node.inputs[0])
    return view.of(inner, "exp") if is_close(scale, 1.0) and is_close(shift, 1.0) else None


def chosen_by_sign(view: View, node: Node) -> Found:
    """Find ReLU, leaky ReLU and ELU written as one function for x above zero and another one below."""
    if not isinstance(node.op, Where):
        return None
    x, above, below = node.inputs
    if above != x:
        return None
    if _is_zero(view, below):
        return made(view, node, "relu", x)
    scale, shift, inner = view.linear(below)
    if inner == x and shift == 0.0:
        return made(view, node, "leaky_relu", x, 1.0, scale)
    power = view.of(inner, "exp")
    if power is not None and is_close(scale, -shift) and _below_zero(view, power, x):
        return made(view, node, "elu", x, 1.0, scale)
    return None


def sum_of_halves(view: View, node: Node) -> Found:
    """Find ELU written as max(x, 0) + a * (exp(min(x, 0)) - 1)."""
    if not isinstance(node.op, Add):
        return None
    for above, below in (node.inputs, node.inputs[::-1]):
        x = view.of(above, "relu")
        scale, shift, inner = view.linear(below)
        power = view.of(inner, "exp")
        if (
            x is not None
            and power is not None
            and is_close(scale, -shift)
            and power != x
            and _below_zero(view, power, x)
        ):
            return made(view, node, "elu", x, 1.0, scale)
    return None


def _below_zero(view: View, name: str, x: str) -> bool:
    """Return whether ``name`` equals x wherever x is below zero."""
    clip, choice = view.op(name, Clip), view.op(name, Where)
    if clip is not None:
        return view.source(name) == x and clip.low == -math.inf and clip.high == 0.0
    if choice is not None:
        return view.makers[name].inputs[::2] == (x, x) and _is_zero(view, view.makers[name].inputs[1])
    scale, shift, inner = view.linear(name)
    if inner == x:
        return scale == 1.0 and shift == 0.0
    upper = view.of(inner, "relu")  # -max(-x, 0)
    if upper is None or scale != -1.0 or shift != 0.0:
        return False
    return view.linear(upper) == (-1.0, 0.0, x)


def _is_zero(view: View, name: str) -> bool:
    op = view.op(name, Constant)
    return op is not None and not op.value.any()


def larger_of_two(view: View, node: Node) -> Found:
    """Find leaky ReLU written as max(x, slope * x) with a slope below one."""
    if not isinstance(node.op, Maximum):
        return None
    for x, other in (node.inputs, node.inputs[::-1]):
        scale, shift, inner = view.linear(other)
        if inner == x and other != x and shift == 0.0 and scale <= 1.0:
            return made(view, node, "leaky_relu", x, 1.0, scale)
    return None


def hardsigmoid(view: View, node: Node) -> Found:
    """Find hardsigmoid written as x / 6 + 1 / 2 clipped to [0, 1], or x + 3 clipped to [0, 6] and divided by 6."""
    if isinstance(node.op, Clip):
        scale, shift, x = view.linear(node.inputs[0])
        if (node.op.low, node.op.high) == (0.0, 1.0) and is_close(scale, 1 / 6) and is_close(shift, 0.5):
            return made(view, node, "hardsigmoid", x)
        if (node.op.low, node.op.high) == (0.0, 6.0) and scale == 1.0 and shift == 3.0:
            return made(view, node, "hardsigmoid", x, 6.0)
    return None


PATTERNS = (
    sigmoid,
    log_sigmoid,
    softplus,
    softplus_of_multiples,
    chosen_by_sign,
    sum_of_halves,
    larger_of_two,
    hardsigmoid,
)
