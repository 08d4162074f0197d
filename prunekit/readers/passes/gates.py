"""Patterns of activations that are written as a product of x and a function of x."""

from __future__ import annotations

import math

import numpy as np

from prunekit.graph.graph import Node
from prunekit.ops.activation import Activation
from prunekit.ops.add import Add
from prunekit.ops.mul import Mul
from prunekit.ops.scale_shift import ScaleShift
from prunekit.readers.passes.rewriting import Found, View

_CLOSE = 2e-6
_GATES = {"sigmoid": "silu", "hardsigmoid": "hardswish"}
_GELU_TANH = {1: math.sqrt(2.0 / math.pi), 3: math.sqrt(2.0 / math.pi) * 0.044715}
_GELU_ERF = {1: math.sqrt(0.5)}


def is_close(found: float, wanted: float) -> bool:
    """Return whether two constants are equal up to the seven digits of float32."""
    return math.isclose(found, wanted, rel_tol=_CLOSE, abs_tol=1e-7)


def made(view: View, node: Node, kind: str, x: str, factor: float = 1.0, *numbers: float) -> Found:
    """Return the activation ``kind`` of x, followed by a multiplication by ``factor``."""
    op = Activation(kind=kind, numbers=numbers)
    if is_close(factor, 1.0):
        return (Node(op=op, inputs=(x,), outputs=node.outputs),)
    inner = view.node(op, (x,), node.name)
    size = view.specs[x].shape[-1]
    scale = ScaleShift(scale=np.full(size, factor, np.float32), shift=np.zeros(size, np.float32))
    return inner, Node(op=scale, inputs=inner.outputs, outputs=node.outputs)


def gated(view: View, node: Node) -> Found:
    """Find x * g(x): SiLU, hardswish, mish, softsign, and both forms of GELU."""
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
                return made(view, node, kind, x, factor * more)
    return None


def _gate(view: View, x: str, gate: str) -> tuple[str, float] | None:
    for kind, name in _GATES.items():
        if view.of(gate, kind) == x:
            return name, 1.0
    bent = view.of(gate, "tanh")
    if bent is not None and view.of(bent, "softplus") == x and plain_softplus(view, bent):
        return "mish", 1.0
    below = view.of(gate, "reciprocal")
    if below is not None:
        scale, shift, inner = view.linear(below)
        if view.of(inner, "abs") == x and scale > 0.0 and is_close(scale, shift):
            return "softsign", 1.0 / scale
    scale, shift, inner = view.linear(gate)
    if not is_close(scale, shift) or scale == 0.0:
        return None
    for kind, wanted, name in (("erf", _GELU_ERF, "gelu"), ("tanh", _GELU_TANH, "gelu_tanh")):
        argument = view.of(inner, kind)
        powers = None if argument is None else polynomial(view, argument, x)
        if (
            powers is not None
            and powers.keys() == wanted.keys()
            and all(is_close(powers[n], wanted[n]) for n in wanted)
        ):
            return name, 2.0 * scale
    return None


def plain_softplus(view: View, name: str) -> bool:
    """Return whether ``name`` is a softplus with the standard scale."""
    op = view.op(name, Activation)
    return op is not None and op.numbers == (1.0,)


def polynomial(view: View, name: str, x: str, depth: int = 0) -> dict[int, float] | None:
    """Return ``name`` as a polynomial of ``x``: its coefficients by power; None if it is not a polynomial of low
    degree.
    """
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
