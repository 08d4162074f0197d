"""Operators that compute element by element, as nodes of the graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prunekit.ops.activation import Activation
from prunekit.ops.activation_kinds import KINDS
from prunekit.ops.clip import Clip
from prunekit.ops.elementary import Elementary
from prunekit.ops.prelu import PReLU
from prunekit.readers.lowering import arithmetic as lowered
from prunekit.readers.lowering.builder import Builder
from prunekit.readers.lowering.values import Data, Known, Truth
from prunekit.readers.torchscript.symbols import Condition, Symbol
from prunekit.readers.torchscript.tracer import Call, Form, form_of

Floats = Known | Data
_ELEMENTARY = "abs cos erf exp log reciprocal sin sqrt square"
_ACTIVATIONS = {
    "celu": "celu", "hardsigmoid": "hardsigmoid", "hardswish": "hardswish", "leaky_relu": "leaky_relu", "mish": "mish",
    "relu": "relu", "selu": "selu", "sigmoid": "sigmoid", "silu": "silu", "tanh": "tanh",
}  # fmt: skip
"""Operators whose arguments are the numbers of the activation, in its order."""


def computed(call: Call, function: Callable[..., Floats], *values: Any) -> Symbol:
    """Return ``function(builder, *operands)`` as a tensor."""
    operands = operands_of(call, *values)
    made = function(call.building.build, *operands)
    assert isinstance(made, Data)
    return call.building.symbol(made)


def operands_of(call: Call, *values: Any) -> list[Floats]:
    """Return what the graph computes with in place of ``values``; takes what their result needs from the budget."""
    checked = [require_floats(call, value) for value in values]
    call.run.take(math.prod(np.broadcast_shapes(*(tuple(getattr(value, "shape", ())) for value in checked))))
    operands = [call.building.operand(value) for value in checked]
    call.building.label()
    return operands


def require_floats(call: Call, value: Any) -> Any:
    """Return ``value``; raises InputError for traced whole numbers and comparisons, which have no arithmetic."""
    if isinstance(value, Condition) or (isinstance(value, Symbol) and not value.cell.dtype.is_floating_point):
        raise call.refused(
            " with whole numbers or comparisons that depend on the observation: it has no form in a graph"
        )
    return value


def pointwise(call: Call, x: Any, op: Activation | Clip | Elementary) -> Symbol | None:
    """Return ``op`` of every element."""

    def apply(build: Builder, data: Floats) -> Floats:
        assert isinstance(data, Data)
        return build.pointwise(op, data)

    return computed(call, apply, x) if isinstance(x, Symbol) else None


def _activation(name: str, kind: str) -> None:
    defaults = tuple(KINDS[kind].numbers.values())

    @form_of(name)
    def _(call: Call, x: Any, *numbers: Any) -> Symbol | None:
        if len(numbers) > len(defaults) or not all(isinstance(number, int | float) for number in numbers):
            return None
        given = (*map(float, numbers), *defaults[len(numbers) :])
        return pointwise(call, x, Activation(kind=kind, numbers=given))


def _elementary(kind: str) -> None:
    @form_of(kind)
    def _(call: Call, x: Any) -> Symbol | None:
        return pointwise(call, x, Elementary(kind=kind))


for _name, _kind in _ACTIVATIONS.items():
    _activation(_name, _kind)
for _name in _ELEMENTARY.split():
    _elementary(_name)


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
        raise call.refused(" as in training, where it samples; save the policy in evaluation mode")
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
    return _where(call, _compared(call, x, threshold, strict=True), x, value)


@form_of("hardshrink")
def _hardshrink(call: Call, x: Any, width: float = 0.5) -> Any:
    size = pointwise(call, x, Elementary(kind="abs"))
    return _where(call, _compared(call, size, width, strict=True), x, 0.0)


@form_of("softshrink")
def _softshrink(call: Call, x: Any, width: float = 0.5) -> Symbol:
    return _sub(call, x, pointwise(call, x, Clip(low=-width, high=width)))


@form_of("log_sigmoid")
def _log_sigmoid(call: Call, x: Any) -> Symbol:
    return _neg(call, pointwise(call, _neg(call, x), Activation(kind="softplus", numbers=(1.0,))))


@form_of("glu")
def _glu(call: Call, x: Symbol, axis: int = -1) -> Symbol:
    parts = [Symbol(x.cell, half) for half in x.at.chunk(2, axis)]
    return _mul(call, parts[0], pointwise(call, parts[1], Activation(kind="sigmoid")))


@form_of("neg", "negative")
def _neg(call: Call, x: Any) -> Symbol:
    return computed(call, lowered.multiplied, x, -1.0)


@form_of("add")
def _add(call: Call, a: Any, b: Any, alpha: Any = 1) -> Any:
    for index, other in ((a, b), (b, a)):
        if isinstance(index, Symbol) and not index.cell.dtype.is_floating_point:
            return _counted(call, index, other)
    return computed(call, lowered.added, a, b if alpha == 1 else _scaled(call, b, alpha))


def _counted(call: Call, index: Symbol, number: Any) -> Any:
    """Return the index of the largest value, plus a whole number: the first action."""
    value = number.item() if isinstance(number, Tensor) and number.numel() == 1 else number
    return call.building.shifted(index, value) if type(value) is int else None


def _scaled(call: Call, x: Any, factor: float) -> Any:
    return computed(call, lowered.multiplied, x, factor) if isinstance(x, Symbol) else x * factor


@form_of("sub", "subtract")
def _sub(call: Call, a: Any, b: Any, alpha: Any = 1) -> Symbol:
    return computed(call, lowered.subtracted, a, b if alpha == 1 else _scaled(call, b, alpha))


@form_of("rsub")
def _rsub(call: Call, a: Any, b: Any, alpha: Any = 1) -> Symbol:
    return _sub(call, b, a, alpha)


@form_of("mul", "multiply")
def _mul(call: Call, a: Any, b: Any) -> Symbol:
    for condition, other in ((a, b), (b, a)):
        if isinstance(condition, Condition):
            return _where(call, condition, other, 0.0)
    return computed(call, lowered.multiplied, a, b)


@form_of("div", "divide", "true_divide")
def _div(call: Call, a: Any, b: Any, rounding_mode: Any = None) -> Symbol | None:
    return computed(call, lowered.divided, a, b) if rounding_mode is None else None


@form_of("addcmul")
def _addcmul(call: Call, x: Any, a: Any, b: Any, value: float = 1.0) -> Symbol:
    return _add(call, x, _either(call, _mul, a, b), alpha=value)  # type: ignore[no-any-return]


@form_of("addcdiv")
def _addcdiv(call: Call, x: Any, a: Any, b: Any, value: float = 1.0) -> Symbol:
    return _add(call, x, _either(call, _div, a, b), alpha=value)  # type: ignore[no-any-return]


@form_of("lerp")
def _lerp(call: Call, a: Any, b: Any, weight: Any) -> Any:
    return _either(call, _add, a, _either(call, _mul, weight, _either(call, _sub, b, a)))


def _either(call: Call, form: Form, a: Any, b: Any) -> Any:
    """Return a form of two values, either of which, or both, may be constant."""
    if isinstance(a, Symbol) or isinstance(b, Symbol):
        return form(call, a, b)
    function = {_mul: torch.mul, _div: torch.div, _add: torch.add, _sub: torch.sub}[form]
    return function(torch.as_tensor(a), b)


@form_of("pow", "float_power")
def _pow(call: Call, x: Any, exponent: Any) -> Symbol | None:
    if isinstance(exponent, Tensor) and exponent.numel() == 1:
        exponent = exponent.item()
    if not isinstance(x, Symbol) or not isinstance(exponent, int | float):
        return None
    return computed(call, lambda build, data: lowered.powered(build, data, float(exponent)), x)


@form_of("rsqrt")
def _rsqrt(call: Call, x: Any) -> Symbol | None:
    return _pow(call, x, -0.5)


@form_of("exp2")
def _exp2(call: Call, x: Any) -> Symbol | None:
    return pointwise(call, _mul(call, x, math.log(2.0)), Elementary(kind="exp"))


@form_of("expm1")
def _expm1(call: Call, x: Any) -> Symbol:
    return _sub(call, pointwise(call, x, Elementary(kind="exp")), 1.0)


@form_of("log1p")
def _log1p(call: Call, x: Any) -> Symbol | None:
    return pointwise(call, _add(call, x, 1.0), Elementary(kind="log"))


@form_of("clamp", "clip", "hardtanh")
def _clamp(call: Call, x: Any, min: Any = None, max: Any = None) -> Symbol | None:
    if call.building.doing.startswith("hardtanh"):
        min, max = -1.0 if min is None else min, 1.0 if max is None else max
    for bound, function in ((min, lowered.largest), (max, lowered.smallest)):
        if isinstance(bound, Symbol):
            x = computed(call, function, x, bound)
    low, high = (
        None if bound is None or isinstance(bound, Symbol) else np.asarray(call.building.operand(bound).array)  # type: ignore[union-attr]
        for bound in (min, max)
    )
    if low is None and high is None:
        return x if isinstance(x, Symbol) else None
    return computed(call, lambda build, data: lowered.held(build, data, low, high), x)


@form_of("clamp_min")
def _clamp_min(call: Call, x: Any, bound: Any) -> Symbol:
    return computed(call, lowered.largest, x, bound)


@form_of("clamp_max")
def _clamp_max(call: Call, x: Any, bound: Any) -> Symbol:
    return computed(call, lowered.smallest, x, bound)


form_of("maximum", "fmax")(_clamp_min)
form_of("minimum", "fmin")(_clamp_max)


def _compared(call: Call, a: Any, b: Any, *, strict: bool) -> Condition:
    """Return where a is above b, or at it where not ``strict``."""
    made = a if not isinstance(b, Symbol | Tensor) and b == 0 else _sub(call, a, b)
    return Condition(require_floats(call, made), strict)


@form_of("gt", "greater")
def _gt(call: Call, a: Any, b: Any) -> Condition:
    return _compared(call, a, b, strict=True)


@form_of("ge", "greater_equal")
def _ge(call: Call, a: Any, b: Any) -> Condition:
    return _compared(call, a, b, strict=False)


@form_of("lt", "less")
def _lt(call: Call, a: Any, b: Any) -> Condition:
    return _compared(call, b if isinstance(b, Symbol) else torch.as_tensor(b), a, strict=True)


@form_of("le", "less_equal")
def _le(call: Call, a: Any, b: Any) -> Condition:
    return _compared(call, b if isinstance(b, Symbol) else torch.as_tensor(b), a, strict=False)


@form_of("where")
def _where(call: Call, condition: Any, a: Any, b: Any) -> Symbol | None:
    operands = operands_of(call, a, b)
    if isinstance(condition, Condition):
        data = call.building.data(condition.symbol)
        made = lowered.chosen(call.building.build, Truth(of=data, strict=condition.strict), *operands)
    elif isinstance(condition, Tensor):
        made = lowered.chosen(call.building.build, Known(array=condition.numpy()), *operands)
    else:
        return None
    assert isinstance(made, Data)
    return call.building.symbol(made)


@form_of("masked_fill")
def _masked_fill(call: Call, x: Any, mask: Any, value: Any) -> Symbol | None:
    return _where(call, mask, value, x)
