"""Matrix products, reductions and heads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.op import Array
from prunekit.ops.activation import Activation
from prunekit.ops.elementary import Elementary
from prunekit.ops.log_softmax import LogSoftmax
from prunekit.ops.softmax import Softmax
from prunekit.readers.lowering.arithmetic import added, scaled
from prunekit.readers.lowering.builder import Builder, positions
from prunekit.readers.lowering.layers import affine, normal_axes, over_axes, reduced, transposed
from prunekit.readers.lowering.values import Data, Held, Index, Known
from prunekit.readers.onnx.call import Call, operator


def _matrix(array: Array) -> Array:
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2:
        raise InputError(f"has weights of shape {list(array.shape)}, but a layer's are a matrix; export it as layers")
    return array


def _times(matrix: Array, factor: float) -> Array:
    return matrix if factor == 1.0 and matrix.dtype == np.float32 else matrix.astype(np.float64) * factor


def product(build: Builder, first: Known | Data, second: Known | Data, factor: float = 1.0) -> Data:
    """Return factor * first @ second, where one of the two is a constant matrix or vector."""
    if isinstance(first, Data) and isinstance(second, Data):
        raise InputError(
            "multiplies two computed matrices, as attention does, for which there is no op; export a policy of "
            "fully connected layers"
        )
    if isinstance(first, Data):
        assert isinstance(second, Known)
        if second.array.ndim == 1:
            made = affine(build, first, _times(second.array[None], factor))
            return Data(name=made.name, dims=made.dims[:-1])
        extra = second.array.ndim - len(first.dims)
        made = affine(build, first, _times(_matrix(second.array), factor).T)
        return Data(name=made.name, dims=(*(1,) * max(extra, 0), *made.dims))
    assert isinstance(second, Data)
    weight = _times(_matrix(first.array if first.array.ndim > 1 else first.array[None]), factor)
    if len(second.dims) == 1:
        made = affine(build, second, weight)
    else:
        made = transposed(build, affine(build, transposed(build, second), weight))
    if first.array.ndim > 1:
        return made
    return Data(name=made.name, dims=(*made.dims[:-2], *made.dims[-1:]) if len(second.dims) > 1 else made.dims[:-1])


@operator("MatMul", "FusedMatMul")
def _matmul(call: Call) -> Sequence[Held]:
    first, second = _operands(call)
    if any(call.attribute(flag, 0) for flag in ("transBatchA", "transBatchB")):
        raise InputError("moves its batch axis; export the policy again")
    return (product(call.build, first, second, float(call.attribute("alpha", 1.0))),)


@operator("Gemm", "FusedGemm")
def _gemm(call: Call) -> Sequence[Held]:
    build = call.build
    first, second = _operands(call)
    y: Known | Data = product(build, first, second, float(call.attribute("alpha", 1.0)))
    beta = float(call.attribute("beta", 1.0))
    if call.has(2) and beta != 0.0:
        bias = call.floats(2)
        bias = Known(array=bias.array * beta) if isinstance(bias, Known) else scaled(build, bias, beta)
        y = added(build, y, bias)
    if call.node.op_type == "FusedGemm":
        y = _fused(build, build.data(y), call)
    return (y,)


def _fused(build: Builder, y: Data, call: Call) -> Data:
    name = call.attribute("activation", "")
    alpha = float(call.attribute("activation_alpha", 0.01))
    known = {"Relu": ("relu",), "Tanh": ("tanh",), "Sigmoid": ("sigmoid",), "LeakyRelu": ("leaky_relu", alpha)}
    if name not in known:
        raise InputError(f"has the activation {name!r}, which is not read; export it before ONNX Runtime optimizes it")
    kind, *numbers = known[name]
    return build.pointwise(Activation(kind=str(kind), numbers=tuple(float(number) for number in numbers)), y)


def _operands(call: Call) -> tuple[Known | Data, Known | Data]:
    first, second = call.floats(0), call.floats(1)
    if call.attribute("transA", 0):
        first = _turned(call.build, first)
    return first, _turned(call.build, second) if call.attribute("transB", 0) else second


def _turned(build: Builder, value: Known | Data) -> Known | Data:
    if isinstance(value, Data):
        return transposed(build, value)
    return Known(array=np.swapaxes(value.array, -1, -2) if value.array.ndim > 1 else value.array)


@operator("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare",
          "ReduceLogSum", "ReduceLogSumExp")  # fmt: skip
def _reduce(call: Call) -> Sequence[Held]:
    build, x, kind = call.build, call.data(), call.node.op_type.removeprefix("Reduce")
    axes, keep = call.axes(len(x.dims)), bool(call.attribute("keepdims", 1))
    if kind == "LogSumExp":
        top = reduced(build, x, axes, "max", keep=True)
        lower = build.data(added(build, x, scaled(build, top, -1.0)))
        total = reduced(build, build.pointwise(Elementary(kind="exp"), lower), axes, "sum", keep=keep)
        log = build.pointwise(Elementary(kind="log"), total)
        return (added(build, log, Data(name=top.name, dims=log.dims)),)
    before = {"L1": "abs", "L2": "square", "SumSquare": "square"}.get(kind)
    if before is not None:
        x = build.pointwise(Elementary(kind=before), x)
    if kind == "Min":
        return (scaled(build, reduced(build, scaled(build, x, -1.0), axes, "max", keep=keep), -1.0),)
    y = reduced(build, x, axes, {"Mean": "mean", "Max": "max"}.get(kind, "sum"), keep=keep)
    after = {"L2": "sqrt", "LogSum": "log"}.get(kind)
    return (y if after is None else build.pointwise(Elementary(kind=after), y),)


@operator("GlobalAveragePool")
def _average(call: Call) -> Sequence[Held]:
    x = call.data()
    return (reduced(call.build, x, tuple(range(2, len(x.dims))), "mean", keep=True),)


@operator("Softmax", "LogSoftmax")
def _softmax(call: Call) -> Sequence[Held]:
    """Read Softmax; before opset 13 it is over all axes from ``axis`` on."""
    x = call.data()
    axis = call.axis(-1 if call.version >= 13 else 1, len(x.dims))
    axes = (axis,) if call.version >= 13 else tuple(range(axis, len(x.dims)))
    op = Softmax() if call.node.op_type == "Softmax" else LogSoftmax()
    return (over_axes(call.build, x, axes, lambda _: op),)


@operator("ArgMax")
def _argmax(call: Call) -> Sequence[Held]:
    x = call.data()
    axis = call.axis(0, len(x.dims))
    if call.attribute("select_last_index", 0):
        raise InputError(
            "breaks ties by the last index, but an action is the first; export it without select_last_index"
        )
    return (_index(call.build, x, axis, bool(call.attribute("keepdims", 1))),)


@operator("TopK")
def _top(call: Call) -> Sequence[Held]:
    x = call.data()
    axis = call.axis(-1, len(x.dims))
    count = int(call.number(1, float(call.attribute("k", 0))))
    if count != 1 or not call.attribute("largest", 1):
        raise InputError(f"sorts {count} values, but only the largest one can be chosen; export the values before it")
    return reduced(call.build, x, (axis,), "max", keep=True), _index(call.build, x, axis, True)


def _index(build: Builder, x: Data, axis: int, keep: bool) -> Held:
    if x.dims[axis] == 1:
        dims = tuple(size for at, size in enumerate(x.dims) if keep or at != axis)
        return Known(array=np.zeros(dims, np.int64))
    turned = build.moved(x, np.moveaxis(positions(x.dims), axis, -1))
    dims = tuple(1 if at == axis else size for at, size in enumerate(x.dims) if keep or at != axis)
    return Index(of=turned, start=0, dims=dims)


@operator("CumSum")
def _cumsum(call: Call) -> Sequence[Held]:
    """Read CumSum as a product with a triangular matrix of ones."""
    x = call.data()
    (axis,) = normal_axes([int(call.number(1, 0.0))], len(x.dims))
    size = x.dims[axis]
    ones = np.tril(np.ones((size, size)), -1 if call.attribute("exclusive", 0) else 0)
    order = np.moveaxis(positions(x.dims), axis, -1)
    made = affine(call.build, call.build.moved(x, order), ones.T if call.attribute("reverse", 0) else ones)
    back = np.moveaxis(np.arange(math.prod(x.dims)).reshape(order.shape), -1, axis)
    return (call.build.moved(made, back),)
