"""Forms of element-wise operators with one or two tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prunekit.graph.op import Op
from prunekit.ops.elementary import Elementary
from prunekit.readers.lowering import arithmetic as lowered
from prunekit.readers.lowering.builder import Builder
from prunekit.readers.lowering.values import Data, Known, Truth
from prunekit.readers.torchscript.symbols import Condition, Symbol
from prunekit.readers.torchscript.tracer import Call, Form, form_of

Floats = Known | Data
_ELEMENTARY = "abs cos erf exp log reciprocal sin sqrt square"


def computed(call: Call, function: Callable[..., Floats], *values: Any) -> Symbol:
    """Return ``function(builder, *operands)`` as a tensor."""
    operands = operands_of(call, *values)
    made = function(call.building.build, *operands)
    assert isinstance(made, Data)
    return call.building.symbol(made)


def operands_of(call: Call, *values: Any) -> list[Floats]:
    """Return ``values`` as operands of the graph, and charge the budget for their result."""
    checked = [require_floats(call, value) for value in values]
    call.run.take(math.prod(np.broadcast_shapes(*(tuple(getattr(value, "shape", ())) for value in checked))))
    operands = [call.building.operand(value) for value in checked]
    call.building.label()
    return operands


def require_floats(call: Call, value: Any) -> Any:
    """Return ``value``; raises InputError for traced integers and comparisons, which have no arithmetic."""
    if isinstance(value, Condition) or (isinstance(value, Symbol) and not value.cell.dtype.is_floating_point):
        raise call.refused(" with integers or comparisons that depend on the observation, which a graph cannot express")
    return value


def pointwise(call: Call, x: Any, op: Op) -> Symbol | None:
    """Apply ``op`` to every element."""

    def apply(build: Builder, data: Floats) -> Floats:
        assert isinstance(data, Data)
        return build.pointwise(op, data)

    return computed(call, apply, x) if isinstance(x, Symbol) else None


def _elementary(kind: str) -> None:
    @form_of(kind)
    def _(call: Call, x: Any) -> Symbol | None:
        return pointwise(call, x, Elementary(kind=kind))


for _name in _ELEMENTARY.split():
    _elementary(_name)


@form_of("neg", "negative")
def negated(call: Call, x: Any) -> Symbol:
    """Return -x."""
    return computed(call, lowered.multiplied, x, -1.0)


@form_of("add")
def _add(call: Call, a: Any, b: Any, alpha: Any = 1) -> Any:
    for index, other in ((a, b), (b, a)):
        if isinstance(index, Symbol) and not index.cell.dtype.is_floating_point:
            return _counted(call, index, other)
    return computed(call, lowered.added, a, b if alpha == 1 else _scaled(call, b, alpha))


def _counted(call: Call, index: Symbol, number: Any) -> Any:
    """Return a traced argmax plus an integer, the number of the first action."""
    value = number.item() if isinstance(number, Tensor) and number.numel() == 1 else number
    return call.building.shifted(index, value) if type(value) is int else None


def _scaled(call: Call, x: Any, factor: float) -> Any:
    return computed(call, lowered.multiplied, x, factor) if isinstance(x, Symbol) else x * factor


@form_of("sub", "subtract")
def subtracted(call: Call, a: Any, b: Any, alpha: Any = 1) -> Symbol:
    """Return a - alpha * b."""
    return computed(call, lowered.subtracted, a, b if alpha == 1 else _scaled(call, b, alpha))


@form_of("rsub")
def _rsub(call: Call, a: Any, b: Any, alpha: Any = 1) -> Symbol:
    return subtracted(call, b, a, alpha)


@form_of("mul", "multiply")
def multiplied(call: Call, a: Any, b: Any) -> Symbol | None:
    """Return a * b."""
    for condition, other in ((a, b), (b, a)):
        if isinstance(condition, Condition):
            return chosen(call, condition, other, 0.0)
    return computed(call, lowered.multiplied, a, b)


@form_of("div", "divide", "true_divide")
def _div(call: Call, a: Any, b: Any, rounding_mode: Any = None) -> Symbol | None:
    return computed(call, lowered.divided, a, b) if rounding_mode is None else None


@form_of("addcmul")
def _addcmul(call: Call, x: Any, a: Any, b: Any, value: float = 1.0) -> Symbol:
    return _add(call, x, _either(call, multiplied, a, b), alpha=value)  # type: ignore[no-any-return]


@form_of("addcdiv")
def _addcdiv(call: Call, x: Any, a: Any, b: Any, value: float = 1.0) -> Symbol:
    return _add(call, x, _either(call, _div, a, b), alpha=value)  # type: ignore[no-any-return]


@form_of("lerp")
def _lerp(call: Call, a: Any, b: Any, weight: Any) -> Any:
    return _either(call, _add, a, _either(call, multiplied, weight, _either(call, subtracted, b, a)))


def _either(call: Call, form: Form, a: Any, b: Any) -> Any:
    """Return the form of an op on two values, either or both of which may be constant."""
    if isinstance(a, Symbol) or isinstance(b, Symbol):
        return form(call, a, b)
    return _CONSTANT[form](torch.as_tensor(a), b)


_CONSTANT: dict[Form, Callable[..., Any]] = {
    multiplied: torch.mul, _div: torch.div, _add: torch.add, subtracted: torch.sub
}  # fmt: skip


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


@form_of("sign", "sgn")
def _sign(call: Call, x: Any) -> Symbol:
    above = chosen(call, Condition(symbol=x, strict=True), 1.0, 0.0)
    return subtracted(call, above, chosen(call, Condition(symbol=negated(call, x), strict=True), 1.0, 0.0))


@form_of("exp2")
def _exp2(call: Call, x: Any) -> Symbol | None:
    return pointwise(call, multiplied(call, x, math.log(2.0)), Elementary(kind="exp"))


@form_of("expm1")
def _expm1(call: Call, x: Any) -> Symbol:
    return subtracted(call, pointwise(call, x, Elementary(kind="exp")), 1.0)


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


def compared(call: Call, a: Any, b: Any, *, strict: bool) -> Condition:
    """Return the condition a > b, or a >= b without ``strict``."""
    made = a if not isinstance(b, Symbol | Tensor) and b == 0 else subtracted(call, a, b)
    return Condition(symbol=require_floats(call, made), strict=strict)


@form_of("gt", "greater")
def _gt(call: Call, a: Any, b: Any) -> Condition:
    return compared(call, a, b, strict=True)


@form_of("ge", "greater_equal")
def _ge(call: Call, a: Any, b: Any) -> Condition:
    return compared(call, a, b, strict=False)


@form_of("lt", "less")
def _lt(call: Call, a: Any, b: Any) -> Condition:
    return compared(call, b if isinstance(b, Symbol) else torch.as_tensor(b), a, strict=True)


@form_of("le", "less_equal")
def _le(call: Call, a: Any, b: Any) -> Condition:
    return compared(call, b if isinstance(b, Symbol) else torch.as_tensor(b), a, strict=False)


@form_of("where")
def chosen(call: Call, condition: Any, a: Any, b: Any) -> Symbol | None:
    """Return a where ``condition`` is true, and b elsewhere."""
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
    return chosen(call, mask, value, x)
