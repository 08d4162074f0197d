"""Forms of activations: calls on traced tensors become nodes of the graph."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from prunekit.ops.activation import Activation
from prunekit.ops.activation_kinds import KINDS
from prunekit.ops.clip import Clip
from prunekit.ops.elementary import Elementary
from prunekit.ops.prelu import PReLU
from prunekit.readers.lowering.builder import Builder
from prunekit.readers.lowering.values import Data
from prunekit.readers.torchscript.arithmetic import (
    chosen,
    compared,
    computed,
    multiplied,
    negated,
    pointwise,
    subtracted,
)
from prunekit.readers.torchscript.symbols import Symbol
from prunekit.readers.torchscript.tracer import Call, form_of

_ACTIVATIONS = {
    "celu": "celu", "hardsigmoid": "hardsigmoid", "hardswish": "hardswish", "leaky_relu": "leaky_relu", "mish": "mish",
    "relu": "relu", "selu": "selu", "sigmoid": "sigmoid", "silu": "silu", "tanh": "tanh",
}  # fmt: skip
"""Operators whose arguments are the numbers of the activation, in its order."""


def _activation(name: str, kind: str) -> None:
    defaults = tuple(KINDS[kind].numbers.values())

    @form_of(name)
    def _(call: Call, x: Any, *numbers: Any) -> Symbol | None:
        if len(numbers) > len(defaults) or not all(isinstance(number, int | float) for number in numbers):
            return None
        given = (*map(float, numbers), *defaults[len(numbers) :])
        return pointwise(call, x, Activation(kind=kind, numbers=given))


for _name, _kind in _ACTIVATIONS.items():
    _activation(_name, _kind)


@form_of("elu")
def _elu(call: Call, x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Symbol | None:
    if (scale, input_scale) != (1, 1):
        return None
    return pointwise(call, x, Activation(kind="elu", numbers=(float(alpha),)))


@form_of("softplus")
def _softplus(call: Call, x: Any, beta: float = 1.0, threshold: float = 20.0) -> Symbol | None:
    # beyond the threshold torch leaves out log(1 + exp(-threshold)), which is below float32's rounding from 16 on
    if threshold < 16.0 or beta <= 0.0:
        return None
    return pointwise(call, x, Activation(kind="softplus", numbers=(float(beta),)))


@form_of("gelu")
def _gelu(call: Call, x: Any, approximate: str = "none") -> Symbol | None:
    return pointwise(call, x, Activation(kind="gelu_tanh" if approximate == "tanh" else "gelu"))


@form_of("relu6")
def _relu6(call: Call, x: Any) -> Symbol | None:
    return pointwise(call, x, Clip(low=0.0, high=6.0))


@form_of("rrelu")
def _rrelu(
    call: Call, x: Any, lower: float = 0.125, upper: float = 1 / 3, training: bool = False, _: Any = None
) -> Any:
    if training:
        raise call.refused(" in training mode, where it samples; save the policy in evaluation mode")
    return pointwise(call, x, Activation(kind="leaky_relu", numbers=((lower + upper) / 2,)))


@form_of("prelu", "_prelu_kernel")
def _prelu(call: Call, x: Symbol, slope: Any) -> Symbol | None:
    if not isinstance(slope, Tensor):
        return None
    if slope.numel() == 1:
        return pointwise(call, x, Activation(kind="leaky_relu", numbers=(float(slope),)))
    channels = slope.reshape([-1, *[1] * (x.at.dim() - 2)]) if x.at.dim() > 1 else slope  # torch's channels come second

    def apply(build: Builder, data: Data) -> Data:
        return build.per_value(data, [channels.double().numpy()], lambda one: PReLU(slope=one))

    return computed(call, apply, x)


@form_of("threshold")
def _threshold(call: Call, x: Any, threshold: float, value: float) -> Any:
    if (threshold, value) == (0, 0):
        return pointwise(call, x, Activation(kind="relu"))
    return chosen(call, compared(call, x, threshold, strict=True), x, value)


@form_of("hardshrink")
def _hardshrink(call: Call, x: Any, width: float = 0.5) -> Any:
    size = pointwise(call, x, Elementary(kind="abs"))
    return chosen(call, compared(call, size, width, strict=True), x, 0.0)


@form_of("softshrink")
def _softshrink(call: Call, x: Any, width: float = 0.5) -> Symbol:
    return subtracted(call, x, pointwise(call, x, Clip(low=-width, high=width)))


@form_of("log_sigmoid")
def _log_sigmoid(call: Call, x: Any) -> Symbol:
    return negated(call, pointwise(call, negated(call, x), Activation(kind="softplus", numbers=(1.0,))))


@form_of("glu")
def _glu(call: Call, x: Symbol, axis: int = -1) -> Symbol | None:
    parts = [Symbol(cell=x.cell, at=half) for half in x.at.chunk(2, axis)]
    return multiplied(call, parts[0], pointwise(call, parts[1], Activation(kind="sigmoid")))
