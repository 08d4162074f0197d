"""Element-wise operators of one or several values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
from onnx import TensorProto

from prunekit.errors import InputError
from prunekit.ops.activation import Activation
from prunekit.ops.elementary import Elementary
from prunekit.ops.prelu import PReLU
from prunekit.readers.lowering.arithmetic import (
    Floats,
    added,
    as_number,
    chosen,
    divided,
    either,
    held,
    largest,
    multiplied,
    opposite,
    powered,
    scaled,
    smallest,
    subtracted,
)
from prunekit.readers.lowering.builder import Builder
from prunekit.readers.lowering.values import Choices, Data, Held, Index, Known, Truth
from prunekit.readers.onnx.call import FLOATS, OPERATORS, Call, Handler, operator

_PLAIN = {
    "Relu": "relu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Softsign": "softsign",
    "HardSwish": "hardswish",
    "Mish": "mish",
}
_ELEMENTARY = ("Exp", "Log", "Sqrt", "Reciprocal", "Abs", "Sin", "Cos", "Erf")
_SELU = (1.6732632423543772, 1.0507009873554805)
_PAIRS: dict[str, Callable[[Builder, Floats, Floats], Floats]] = {
    "Add": added,
    "Sub": subtracted,
    "Mul": multiplied,
    "Div": divided,
}


def _activation(call: Call, kind: str, *numbers: float) -> Data:
    return call.build.pointwise(Activation(kind=kind, numbers=numbers), call.data())


def _plain(kind: str) -> Handler:
    return lambda call: (_activation(call, kind),)


def _elementary(kind: str) -> Handler:
    return lambda call: (call.build.pointwise(Elementary(kind=kind), call.data()),)


OPERATORS.update({name: _plain(kind) for name, kind in _PLAIN.items()})
OPERATORS.update({name: _elementary(name.lower()) for name in _ELEMENTARY})


@operator("Identity", "Dropout")
def _identity(call: Call) -> Sequence[Held]:
    """Read operators without effect. Dropout in training mode was refused before, because it samples."""
    return (call.held(0),)


@operator("Elu", "LeakyRelu", "Celu")
def _sloped(call: Call) -> Sequence[Held]:
    kind, default = {"Elu": ("elu", 1.0), "LeakyRelu": ("leaky_relu", 0.01), "Celu": ("celu", 1.0)}[call.node.op_type]
    alpha = float(call.attribute("alpha", default))
    if kind == "celu" and not alpha > 0.0:
        raise InputError(f"has an alpha of {alpha:g}, which must be positive; export the policy again")
    return (_activation(call, kind, alpha),)


@operator("Selu")
def _selu(call: Call) -> Sequence[Held]:
    alpha, gamma = float(call.attribute("alpha", _SELU[0])), float(call.attribute("gamma", _SELU[1]))
    if math.isclose(alpha, _SELU[0], rel_tol=1e-5) and math.isclose(gamma, _SELU[1], rel_tol=1e-5):
        return (_activation(call, "selu"),)
    return (scaled(call.build, _activation(call, "elu", alpha), gamma),)


@operator("Softplus")
def _softplus(call: Call) -> Sequence[Held]:
    return (_activation(call, "softplus", 1.0),)


@operator("HardSigmoid")
def _hardsigmoid(call: Call) -> Sequence[Held]:
    alpha, beta = float(call.attribute("alpha", 0.2)), float(call.attribute("beta", 0.5))
    if math.isclose(alpha, 1 / 6, rel_tol=1e-5) and beta == 0.5:
        return (_activation(call, "hardsigmoid"),)
    return (held(call.build, scaled(call.build, call.data(), alpha, beta), np.zeros(1), np.ones(1)),)


@operator("Gelu", "FastGelu", "BiasGelu")
def _gelu(call: Call) -> Sequence[Held]:
    """Read Gelu in its forms; the last two are ONNX Runtime's own and have a bias."""
    x = added(call.build, call.floats(0), call.floats(1)) if call.has(1) else call.data()
    fast = call.node.op_type == "FastGelu" or call.attribute("approximate", "none") == "tanh"
    return (call.build.pointwise(Activation(kind="gelu_tanh" if fast else "gelu"), call.build.data(x)),)


@operator("Swish", "QuickGelu")
def _swish(call: Call) -> Sequence[Held]:
    alpha = float(call.attribute("alpha", 1.702 if call.node.op_type == "QuickGelu" else 1.0))
    if alpha == 1.0:
        return (_activation(call, "silu"),)
    gate = call.build.pointwise(Activation(kind="sigmoid"), scaled(call.build, call.data(), alpha))
    return (multiplied(call.build, call.data(), gate),)


@operator("PRelu")
def _prelu(call: Call) -> Sequence[Held]:
    slope = call.floats(1)
    if isinstance(slope, Data):
        below = multiplied(call.build, call.data(), slope)
        return (chosen(call.build, Truth(of=call.data(), strict=False), call.data(), below),)
    return (call.build.per_value(call.data(), [call.known(1)], lambda slope: PReLU(slope=slope)),)


@operator("ThresholdedRelu")
def _thresholded(call: Call) -> Sequence[Held]:
    x, zero = call.data(), Known(array=np.zeros(1, np.float32))
    above = Truth(of=scaled(call.build, x, 1.0, -float(call.attribute("alpha", 1.0))), strict=True)
    return (chosen(call.build, above, x, zero),)


@operator("Shrink")
def _shrink(call: Call) -> Sequence[Held]:
    build, x = call.build, call.data()
    bias, bound = float(call.attribute("bias", 0.0)), float(call.attribute("lambd", 0.5))
    zero = Known(array=np.zeros(1, np.float32))
    inner = chosen(build, Truth(of=scaled(build, x, -1.0, -bound), strict=True), scaled(build, x, 1.0, bias), zero)
    return (chosen(build, Truth(of=scaled(build, x, 1.0, -bound), strict=True), scaled(build, x, 1.0, -bias), inner),)


@operator("Neg")
def _neg(call: Call) -> Sequence[Held]:
    return (scaled(call.build, call.data(), -1.0),)


@operator("Add", "Sub", "Mul", "Div")
def _pair(call: Call) -> Sequence[Held]:
    first, second = call.held(0), call.held(1)
    kind = call.node.op_type
    if kind in ("Add", "Sub") and isinstance(first, Index) and isinstance(second, Known) and second.array.size == 1:
        step = int(second.array.reshape(())) * (1 if kind == "Add" else -1)
        return (Index(of=first.of, start=first.start + step, dims=first.dims),)
    pair = (first, second) if isinstance(first, Choices) else (second, first)
    if kind == "Add" and isinstance(pair[0], Choices) and isinstance(pair[1], Known):
        steps = np.broadcast_to(pair[1].array.reshape(-1), len(pair[0].starts)).tolist()
        moved = tuple(start + int(step) for start, step in zip(pair[0].starts, steps, strict=True))
        return (replace(pair[0], starts=moved),)
    if kind == "Add" and isinstance(second, Index) and isinstance(first, Known) and first.array.size == 1:
        return (Index(of=second.of, start=second.start + int(first.array.reshape(())), dims=second.dims),)
    if kind == "Div" and call.whole(0):
        raise InputError("divides integers of the observation; export the policy with floats")
    return (_PAIRS[kind](call.build, call.floats(0), call.floats(1)),)


@operator("Sum", "Max", "Min", "Mean")
def _several(call: Call) -> Sequence[Held]:
    function = {"Sum": added, "Mean": added, "Max": largest, "Min": smallest}[call.node.op_type]
    values = [call.floats(at) for at in range(len(call.inputs))]
    total = reduce(lambda a, b: function(call.build, a, b), values)
    if call.node.op_type == "Mean":
        total = scaled(call.build, call.build.data(total), 1.0 / len(values))
    return (total,)


@operator("Pow")
def _pow(call: Call) -> Sequence[Held]:
    base = call.floats(0)
    if isinstance(base, Known):
        if not (base.array > 0).all():
            raise InputError("takes powers of a number that is not positive; export the policy without it")
        power = scaled(call.build, call.data(1), np.log(base.array.astype(np.float64)))
        return (call.build.pointwise(Elementary(kind="exp"), power),)
    exponents = call.known(1)
    if exponents.size == 0 or (exponents != exponents.ravel()[0]).any():
        raise InputError("has an exponent that is not one number, which is not supported; export the policy without it")
    return (powered(call.build, base, float(exponents.ravel()[0])),)


@operator("Clip")
def _clip(call: Call) -> Sequence[Held]:
    bounds = [call.known(at) if call.has(at) else call.attributes.get(name) for at, name in ((1, "min"), (2, "max"))]
    low, high = (None if bound is None else np.asarray(bound) for bound in bounds)
    return (held(call.build, call.data(), low, high),)


@operator("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
def _compared(call: Call) -> Sequence[Held]:
    first, second = call.floats(0), call.floats(1)
    if call.node.op_type.startswith("Less"):
        first, second = second, first
    difference = call.build.data(subtracted(call.build, first, second))
    return (Truth(of=difference, strict=not call.node.op_type.endswith("OrEqual")),)


@operator("Equal")
def _equal(call: Call) -> Sequence[Held]:
    if not call.whole(0):
        raise InputError("asks whether two floats are equal; export the policy without it")
    build = call.build
    apart = build.data(subtracted(build, call.floats(0), call.floats(1)))
    return (Truth(of=scaled(build, build.pointwise(Elementary(kind="abs"), apart), -1.0, 0.5), strict=True),)


@operator("Round")
def _round(call: Call) -> Sequence[Held]:
    """Read Round of a sigmoid only: it is a choice of two, 1 where the sigmoid is above a half."""
    x = call.data()
    maker = next((node for node in call.build.nodes if node.outputs[0] == x.name), None)
    if maker is None or maker.op != Activation(kind="sigmoid"):
        raise InputError("rounds values of the observation; export the policy without it")
    above = Truth(of=Data(name=maker.inputs[0], dims=x.dims), strict=True)
    return (as_number(call.build, above),)


@operator("Not", "And", "Or")
def _logic(call: Call) -> Sequence[Held]:
    build, kind = call.build, call.node.op_type
    values = [call.held(at) for at in range(len(call.inputs))]
    truths = [value for value in values if isinstance(value, Truth)]
    if len(truths) != len(values):
        raise InputError("combines values that are not comparisons; export the policy without it")
    if kind == "Not":
        return (opposite(build, truths[0]),)
    if kind == "Or":
        return (either(build, truths[0], truths[1]),)
    return (opposite(build, either(build, *(opposite(build, truth) for truth in truths[:2]))),)


@operator("Sign")
def _sign(call: Call) -> Sequence[Held]:
    build, x = call.build, call.data()
    one, none, zero = (Known(array=np.full(1, number)) for number in (1.0, -1.0, 0.0))
    below = chosen(build, Truth(of=scaled(build, x, -1.0), strict=True), none, zero)
    return (chosen(build, Truth(of=x, strict=True), one, below),)


@operator("Where")
def _where(call: Call) -> Sequence[Held]:
    condition = call.held(0)
    if isinstance(condition, Data | Index | Choices):
        raise InputError("chooses by a value that is not a comparison; export the policy without it")
    return (chosen(call.build, condition, call.floats(1), call.floats(2)),)


@operator("Cast", "CastLike")
def _cast(call: Call) -> Sequence[Held]:
    value = call.held(0)
    target = int(call.attribute("to", 0)) if call.node.op_type == "Cast" else call.kinds[1]
    if isinstance(value, Index | Choices):
        return (value,)
    if target == TensorProto.BOOL and isinstance(value, Data):
        return (Truth(of=call.build.pointwise(Elementary(kind="abs"), value), strict=True),)
    if isinstance(value, Truth):
        if target == TensorProto.BOOL:
            return (value,)
        return (as_number(call.build, value),)
    if target not in FLOATS and not call.whole(0):
        raise InputError("rounds values of the observation to integers; export the policy without it")
    if target in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        call.notes.append("computes in half precision; read in single precision")
    return (value,)
