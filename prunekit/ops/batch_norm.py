"""Batch normalization in evaluation mode, with fixed statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.integers import INTEGERS, Scaled, Step
from prunekit.graph.lifting import Lifted, Traced, array_of, from_module, resized
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, like, register_op, require_floats, require_vectors, unitwise
from prunekit.lazy import nn

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class BatchNorm:
    """(x - mean) / sqrt(variance + epsilon) * scale + shift; all constants [n], over the last axis."""

    mean: Array
    variance: Array
    scale: Array
    shift: Array
    epsilon: float
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec of the input."""
        width = require_vectors(mean=self.mean, variance=self.variance, scale=self.scale, shift=self.shift)
        require_floats(given, last=width)
        if not self.epsilon > 0.0 or (self.variance < 0.0).any():
            raise InputError("its variance must not be negative, and its epsilon positive")
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple each unit of y with the same unit of x, and with its statistics."""
        return unitwise(given[0], ("x", "y"), ("mean", "variance", "scale", "shift"))

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        (x,) = values
        factor = like(self.scale, x) / np.sqrt(like(self.variance, x) + self.epsilon)
        return ((x - like(self.mean, x)) * factor + like(self.shift, x),)


@MACS.register(BatchNorm)
def _macs(_: BatchNorm, __: Sequence[Spec]) -> int:
    return 0


@INTEGERS.register(BatchNorm)
def _integers(op: BatchNorm) -> tuple[Step, ...]:
    factor = op.scale.astype(np.float64) / np.sqrt(op.variance.astype(np.float64) + op.epsilon)
    return (Scaled(mean=op.mean, scale=factor, shift=op.shift),)


@TORCH.register(BatchNorm)
def _torch(op: BatchNorm, constants: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    factor = constants["scale"] / (constants["variance"] + op.epsilon).sqrt()
    return ((x - constants["mean"]) * factor + constants["shift"],)


@ONNX.register(BatchNorm)
def _onnx(op: BatchNorm, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    factor = op.scale.astype(np.float64) / np.sqrt(op.variance.astype(np.float64) + op.epsilon)
    centred = writer.add("Sub", [x, writer.constant(op.mean)])
    return (writer.add("Add", [writer.add("Mul", [centred, writer.constant(factor)]), writer.constant(op.shift)]),)


@C.register(BatchNorm)
def _c(op: BatchNorm, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    y = writer.over(x)
    constants = (("mean", op.mean), ("factor", _factor(op)), ("shift", op.shift))
    mean, factor, shift = (writer.load(writer.constant(called, value), x.unit) for called, value in constants)
    writer.each(y, f"({x.text}[i] - {mean}) * {factor} + {shift}")
    return (y,)


@TWIN.register(BatchNorm)
def _twin(op: BatchNorm, x: Float32) -> tuple[Float32, ...]:
    return ((x - op.mean) * _factor(op) + op.shift,)


def _factor(op: BatchNorm) -> Float32:
    with np.errstate(over="ignore"):
        return (op.scale.astype(np.float64) / np.sqrt(op.variance.astype(np.float64) + op.epsilon)).astype(np.float32)


@from_module(lambda: (nn.BatchNorm1d,))
def _module(module: nn.BatchNorm1d, x: Traced) -> Lifted | None:
    if module.running_mean is None or module.running_var is None:
        raise InputError("it takes its statistics from the batch; build it with track_running_stats=True")
    if module.training:
        raise InputError("it takes its statistics from the batch; call network.eval() first")
    if len(x.spec.shape) != 1:  # torch's channels are the first axis
        return None
    mean, variance = array_of(module.running_mean), array_of(module.running_var)
    scale = np.ones_like(mean) if module.weight is None else array_of(module.weight)
    shift = np.zeros_like(mean) if module.bias is None else array_of(module.bias)
    op = BatchNorm(mean=mean, variance=variance, scale=scale, shift=shift, epsilon=module.eps)
    attributes = {"scale": "weight", "shift": "bias", "mean": "running_mean", "variance": "running_var"}
    return Lifted(op=op, inputs=(x,), attributes=attributes)


@resized(lambda: (nn.BatchNorm1d,))
def _resized(module: nn.BatchNorm1d) -> nn.BatchNorm1d:
    module.num_features = len(module.weight)
    return module
