"""Activations in integers: those that need no table, and tabulated curves for all others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prunekit.graph.integers import INTEGERS, Bent, Curve, Quotient, Scaled, Squashed, Step
from prunekit.graph.op import Array
from prunekit.ops.activation import Activation
from prunekit.ops.activation_kinds import KINDS, SELU_ALPHA, SELU_SCALE

_elu = KINDS["elu"].reference
_OWN: dict[str, Callable[..., tuple[Step, ...]]] = {
    "tanh": lambda: (Squashed(kind="tanh"),),
    "sigmoid": lambda: (Squashed(kind="sigmoid"),),
    "relu": lambda: (Bent(slope=0.0),),
    "leaky_relu": lambda slope: (Bent(slope=slope),),
    "softsign": lambda: (Quotient(),),
    "hardsigmoid": lambda: (Bent(low=-3.0, high=3.0), Scaled(scale=1.0 / 6.0, shift=0.5)),
    "selu": lambda: (
        Curve(name="elu", numbers=(SELU_ALPHA,), function=lambda x: _elu(x, SELU_ALPHA)),
        Scaled(scale=SELU_SCALE),
    ),
}


@INTEGERS.register(Activation)
def _integers(op: Activation) -> tuple[Step, ...]:
    if op.kind in _OWN:
        return _OWN[op.kind](*op.numbers)
    return (Curve(name=op.kind, numbers=op.numbers, function=partial(_of, op)),)


def _of(op: Activation, x: Array) -> Array:
    return op.reference([x])[0]
