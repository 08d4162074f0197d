"""Normalization operators."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from prunekit.errors import InputError
from prunekit.ops.batch_norm import BatchNorm
from prunekit.ops.l2_norm import L2Norm
from prunekit.ops.layer_norm import LayerNorm
from prunekit.ops.rms_norm import RMSNorm
from prunekit.readers.lowering.arithmetic import added, multiplied
from prunekit.readers.lowering.layers import over_axes
from prunekit.readers.lowering.values import Data, Held, Known
from prunekit.readers.onnx.call import Call, operator

_TINY = 1e-30  # below any float32 length except zero


@operator("LayerNormalization")
def _layer_norm(call: Call) -> Sequence[Held]:
    return (_over_last(call, call.data(), 1, 2),)


@operator("SkipLayerNormalization")
def _skip_layer_norm(call: Call) -> Sequence[Held]:
    """Read ONNX Runtime's own operator: a residual sum and a bias, then a LayerNorm."""
    x = added(call.build, call.floats(0), call.floats(1))
    if call.has(4):
        x = added(call.build, x, call.floats(4))
    return (_over_last(call, call.build.data(x), 2, 3, epsilon=1e-12),)


def _over_last(call: Call, x: Data, scale: int, shift: int, epsilon: float = 1e-5) -> Data:
    if any(call.node.output[1:]):
        raise InputError("returns its statistics too, which is not supported; export the policy without them")
    axes = tuple(range(call.axis(-1, len(x.dims)), len(x.dims)))
    size = math.prod(x.dims[axis] for axis in axes)
    epsilon = float(call.attribute("epsilon", epsilon))
    ones, zeros = np.ones(size, np.float32), np.zeros(size, np.float32)
    y = over_axes(call.build, x, axes, lambda n: LayerNorm(scale=ones, shift=zeros, epsilon=epsilon, count=n))
    made: Known | Data = multiplied(call.build, y, Known(array=call.known(scale)))
    if call.has(shift):
        made = added(call.build, made, Known(array=call.known(shift)))
    return call.build.data(made)


@operator("RMSNormalization")
def _rms_norm(call: Call) -> Sequence[Held]:
    x = call.data()
    axes = tuple(range(call.axis(-1, len(x.dims)), len(x.dims)))
    epsilon = float(call.attribute("epsilon", 1e-5))
    y = over_axes(call.build, x, axes, lambda n: RMSNorm(scale=np.ones(n, np.float32), epsilon=epsilon, count=n))
    return (multiplied(call.build, y, Known(array=call.known(1))),)


@operator("LpNormalization")
def _lp_norm(call: Call) -> Sequence[Held]:
    if int(call.attribute("p", 2)) != 2:
        raise InputError("divides by sums of absolute values, which is not read; export the policy without it")
    x = call.data()
    return (over_axes(call.build, x, (call.axis(-1, len(x.dims)),), lambda _: L2Norm(epsilon=_TINY)),)


@operator("BatchNormalization")
def _batch_norm(call: Call) -> Sequence[Held]:
    if call.attribute("training_mode", 0) or any(call.node.output[1:]):
        raise InputError("takes its statistics from the batch; export the policy in evaluation mode")
    x = call.data()
    if len(x.dims) < 2:
        raise InputError("normalizes channels of a value without a batch axis; export the policy with one")
    shape = (x.dims[1], *(1,) * (len(x.dims) - 2))
    scale, shift, mean, variance = (call.known(at) for at in (1, 2, 3, 4))
    if any(array.size != x.dims[1] for array in (scale, shift, mean, variance)):
        raise InputError(f"has statistics that are not for {x.dims[1]} channels; export the policy again")
    epsilon = float(call.attribute("epsilon", 1e-5))
    arrays = [array.reshape(shape) for array in (mean, variance, scale, shift)]
    return (
        call.build.per_value(
            x, arrays, lambda m, v, s, t: BatchNorm(mean=m, variance=v, scale=s, shift=t, epsilon=epsilon)
        ),
    )
