"""Activations that a file spells out."""

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
from prunekit.ops.mul import Mul
from prunekit.ops.scale_shift import ScaleShift
from prunekit.ops.where import Where
from prunekit.readers.passes.rewriting import Found, View

_CLOSE = 1e-5
_GATES = {"sigmoid": "silu", "hardsigmoid": "hardswish"}
_GELU_TANH = {1: math.sqrt(2.0 / math.pi), 3: math.sqrt(2.0 / math.pi) * 0.044715}
_GELU_ERF = {1: math.sqrt(0.5)}


def _is(found: float, wanted: float) -> bool:
    return math.isclose(found, wanted, rel_tol=_CLOSE, abs_tol=1e-7)


def _made(view: View, node: Node, kind: str, x: str, factor: float = 1.0, *numbers: float) -> Found:
    """The activation, and a factor after it."""
    op = Activation(kind=kind, numbers=numbers)
    if _is(factor, 1.0):
        return (Node(op=op, inputs=(x,), outputs=node.outputs),)
    inner = view.node(op, (x,), node.name)
    size = view.specs[x].shape[-1]
    scale = ScaleShift(scale=np.full(size, factor, np.float32), shift=np.zeros(size, np.float32))
    return inner, Node(op=scale, inputs=inner.outputs, outputs=node.outputs)


def gated(view: View, node: Node) -> Found:
    """x * g(x): SiLU, hardswish, mish, softsign, and GELU in both forms."""
    if not isinstance(node.op, Mul | ScaleShift):
        return None
    products = [view.factors_of(node)]
    if isinstance(node.op, Mul):
        products.append((1.0, list(node.inputs)))
    for factor, parts in products:
        for x, gate in (parts, parts[::-1]) if len(parts) == 2 else ():
            found = _gate(view, x, gate)
            if found is not None:
                kind, more = found
                return _made(view, node, kind, x, factor * more)
    return None


def _gate(view: View, x: str, gate: str) -> tuple[str, float] | None:
    for kind, name in _GATES.items():
        if view.of(gate, kind) == x:
            return name, 1.0
    bent = view.of(gate, "tanh")
    if bent is not None and view.of(bent, "softplus") == x and _plain_softplus(view, bent):
        return "mish", 1.0
    below = view.of(gate, "reciprocal")
    if below is not None:
        scale, shift, inner = view.linear(below)
        if view.of(inner, "abs") == x and scale > 0.0 and _is(scale, shift):
            return "softsign", 1.0 / scale
    scale, shift, inner = view.linear(gate)
    if not _is(scale, shift) or scale == 0.0:
        return None
    for kind, wanted, name in (("erf", _GELU_ERF, "gelu"), ("tanh", _GELU_TANH, "gelu_tanh")):
        argument = view.of(inner, kind)
        powers = None if argument is None else polynomial(view, argument, x)
        if powers is not None and powers.keys() == wanted.keys() and all(_is(powers[n], wanted[n]) for n in wanted):
            return name, 2.0 * scale
    return None


def _plain_softplus(view: View, name: str) -> bool:
    op = view.op(name, Activation)
    return op is not None and op.numbers == (1.0,)


def polynomial(view: View, name: str, x: str, depth: int = 0) -> dict[int, float] | None:
    """Return ``name`` as a polynomial of ``x``: the numbers by power; None where it is none, or no short one."""
    if name == x:
        return {1: 1.0}
    if depth > 8 or name not in view.makers:
        return None
    scale, shift, inner = view.linear(name)
    if inner != name:
        found = polynomial(view, inner, x, depth + 1)
        if found is None:
            return None
        found = {power: scale * number for power, number in found.items()}
        return found if shift == 0.0 else found | {0: found.get(0, 0.0) + shift}
    maker = view.makers[name]
    pair = maker.inputs * 2 if view.of(name, "square") is not None else maker.inputs
    if len(pair) != 2 or not (isinstance(maker.op, Add | Mul) or view.of(name, "square") is not None):
        return None
    first, second = (polynomial(view, one, x, depth + 1) for one in pair)
    if first is None or second is None:
        return None
    if isinstance(maker.op, Add):
        return {power: first.get(power, 0.0) + second.get(power, 0.0) for power in first.keys() | second.keys()}
    total: dict[int, float] = {}
    for one, a in first.items():
        for other, b in second.items():
            total[one + other] = total.get(one + other, 0.0) + a * b
    return total if max(total) <= 6 else None


def sigmoid(view: View, node: Node) -> Found:
    """1 / (1 + exp(-x))."""
    below = node.inputs[0]
    if not isinstance(node.op, Elementary) or node.op.kind != "reciprocal":
        return None
    scale, shift, inner = view.linear(below)
    power = view.of(inner, "exp")
    if power is None or not (_is(scale, 1.0) and _is(shift, 1.0)):
        return None
    factor, offset, x = view.linear(power)
    return _made(view, node, "sigmoid", x) if factor == -1.0 and offset == 0.0 else None


def softplus(view: View, node: Node) -> Found:
    """log(1 + exp(x)); or max(x, 0) + log(1 + exp(-|x|)), which is the same where exp(x) is infinite."""
    if isinstance(node.op, Elementary) and node.op.kind == "log":
        x = _log_of_power(view, node)
        return None if x is None else _made(view, node, "softplus", x, 1.0, 1.0)
    if isinstance(node.op, Add):
        for above, log in (node.inputs, node.inputs[::-1]):
            x = view.of(above, "relu")
            power = view.of(log, "softplus") if _plain_softplus(view, log) else None
            if x is not None and power is not None:
                factor, offset, inner = view.linear(power)
                if factor == -1.0 and offset == 0.0 and view.of(inner, "abs") == x:
                    return _made(view, node, "softplus", x, 1.0, 1.0)
    return None


def _log_of_power(view: View, node: Node) -> str | None:
    scale, shift, inner = view.linear(node.inputs[0])
    return view.of(inner, "exp") if _is(scale, 1.0) and _is(shift, 1.0) else None


def chosen_by_sign(view: View, node: Node) -> Found:
    """One function above zero, another below: ReLU, leaky ReLU, ELU."""
    if not isinstance(node.op, Where):
        return None
    x, above, below = node.inputs
    if above != x:
        return None
    if _is_zero(view, below):
        return _made(view, node, "relu", x)
    scale, shift, inner = view.linear(below)
    if inner == x and shift == 0.0:
        return _made(view, node, "leaky_relu", x, 1.0, scale)
    power = view.of(inner, "exp")
    if power is not None and _is(scale, -shift) and _below_zero(view, power, x):
        return _made(view, node, "elu", x, 1.0, scale)
    return None


def sum_of_halves(view: View, node: Node) -> Found:
    """max(x, 0) + a * (exp(min(x, 0)) - 1): ELU."""
    if not isinstance(node.op, Add):
        return None
    for above, below in (node.inputs, node.inputs[::-1]):
        x = view.of(above, "relu")
        scale, shift, inner = view.linear(below)
        power = view.of(inner, "exp")
        if x is not None and power is not None and _is(scale, -shift) and power != x and _below_zero(view, power, x):
            return _made(view, node, "elu", x, 1.0, scale)
    return None


def _below_zero(view: View, name: str, x: str) -> bool:
    """Return whether ``name`` is x wherever that is below zero."""
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
    """max(x, slope * x), the slope below one."""
    if not isinstance(node.op, Maximum):
        return None
    for x, other in (node.inputs, node.inputs[::-1]):
        scale, shift, inner = view.linear(other)
        if inner == x and other != x and shift == 0.0 and scale <= 1.0:
            return _made(view, node, "leaky_relu", x, 1.0, scale)
    return None


def hardsigmoid(view: View, node: Node) -> Found:
    """x / 6 + 1 / 2 in [0, 1]; or x + 3 in [0, 6], divided by 6."""
    if isinstance(node.op, Clip):
        scale, shift, x = view.linear(node.inputs[0])
        if (node.op.low, node.op.high) == (0.0, 1.0) and _is(scale, 1 / 6) and _is(shift, 0.5):
            return _made(view, node, "hardsigmoid", x)
        if (node.op.low, node.op.high) == (0.0, 6.0) and scale == 1.0 and shift == 3.0:
            return _made(view, node, "hardsigmoid", x, 6.0)
    return None


PATTERNS = (
    gated, sigmoid, softplus, chosen_by_sign, sum_of_halves, larger_of_two, hardsigmoid,
)  # fmt: skip
