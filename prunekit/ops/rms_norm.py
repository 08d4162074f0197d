"""Normalization by the root of the mean square."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from prunekit.errors import InputError
from prunekit.graph.forms import KNOWN, MACS, ONNX, TORCH
from prunekit.graph.lifting import Lifted, Traced, array_of, from_module, resized
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, like, register_op, require_floats, require_vectors, unitwise


@register_op
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class RMSNorm:
    """x / sqrt(sum(x^2) / count + epsilon) * scale over the last axis; scale [n], ``count`` as in LayerNorm."""

    scale: Array
    epsilon: float
    count: int
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec that comes in."""
        width = require_vectors(scale=self.scale)
        require_floats(given, last=width)
        if self.count < width:
            raise InputError(f"its mean is over {self.count} values, but it reads {width}")
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Each unit has a part in the mean, zeros none."""
        return unitwise(given[0], ("x", "y"), ("scale",), across=True)

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        (x,) = values
        square = (x * x).sum(axis=-1, keepdims=True) / self.count
        return (x / np.sqrt(square + self.epsilon) * like(self.scale, x),)


@KNOWN.register(RMSNorm)
def _known(op: RMSNorm, x: Array) -> tuple[Array, ...]:
    return (np.where((op.scale == 0.0) | (x == 0.0), 0.0, np.nan),)


@MACS.register(RMSNorm)
def _macs(_: RMSNorm, __: Sequence[Spec]) -> int:
    return 0


@TORCH.register(RMSNorm)
def _torch(op: RMSNorm, constants: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    if op.count == x.shape[-1]:
        return (functional.rms_norm(x, x.shape[-1:], constants["scale"], op.epsilon),)
    square = (x * x).sum(dim=-1, keepdim=True) / op.count
    return (x / (square + op.epsilon).sqrt() * constants["scale"],)


@ONNX.register(RMSNorm)
def _onnx(op: RMSNorm, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    squares = writer.add("ReduceSumSquare", [x], axes=[-1], keepdims=1)
    mean = writer.add("Div", [squares, writer.constant(float(op.count))])
    root = writer.add("Sqrt", [writer.add("Add", [mean, writer.constant(op.epsilon)])])
    return (writer.add("Mul", [writer.add("Div", [x, root]), writer.constant(op.scale)]),)


@from_module(nn.RMSNorm)
def _module(module: nn.RMSNorm, x: Traced) -> Lifted | None:
    if len(module.normalized_shape) != 1:
        return None
    width = module.normalized_shape[0]
    scale = np.ones(width, np.float32) if module.weight is None else array_of(module.weight)
    epsilon = float(np.finfo(scale.dtype).eps) if module.eps is None else module.eps
    return Lifted(op=RMSNorm(scale=scale, epsilon=epsilon, count=width), inputs=(x,), attributes={"scale": "weight"})


@final
class CountedRMSNorm(nn.Module):
    """An ``nn.RMSNorm`` of ``count`` values, of which those that ``weight`` [n] lacks are zero."""

    def __init__(self, weight: nn.Parameter, epsilon: float, count: int) -> None:
        super().__init__()
        self.eps, self.count = epsilon, count
        self.weight = weight

    def extra_repr(self) -> str:
        """Say what is printed of it."""
        return f"{len(self.weight)}, count={self.count}, eps={self.eps:g}"

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., n] for [..., n]."""
        square = (x * x).sum(dim=-1, keepdim=True) / self.count
        return x / (square + self.eps).sqrt() * self.weight


@from_module(CountedRMSNorm)
def _counted(module: CountedRMSNorm, x: Traced) -> Lifted:
    op = RMSNorm(scale=array_of(module.weight), epsilon=module.eps, count=module.count)
    return Lifted(op=op, inputs=(x,), attributes={"scale": "weight"})


@resized(nn.RMSNorm, replaces=True)
def _resized(module: nn.RMSNorm) -> CountedRMSNorm:
    epsilon = torch.finfo(module.weight.dtype).eps if module.eps is None else module.eps
    return CountedRMSNorm(module.weight, epsilon, module.normalized_shape[0]).train(module.training)


@resized(CountedRMSNorm)
def _resized_again(module: CountedRMSNorm) -> CountedRMSNorm:
    return module
