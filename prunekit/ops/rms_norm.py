"""Normalization by the root of the mean square."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.functions import root, root_c, sum_in_order
from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import KNOWN, MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.integers import INTEGERS, Normed, Scaled, Step
from prunekit.graph.lifting import Lifted, Traced, array_of, from_module, resized
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, like, register_op, require_floats, require_vectors, unitwise
from prunekit.lazy import functional, nn, torch

if TYPE_CHECKING:
    from torch import Tensor

    from prunekit.graph.counted_norms import CountedRMSNorm


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
        """Return the spec of the input."""
        width = require_vectors(scale=self.scale)
        require_floats(given, last=width)
        if self.count < width:
            raise InputError(f"its mean is over {self.count} values, but it reads {width}")
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple units across: all enter the mean, and zeros do not change it."""
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


@INTEGERS.register(RMSNorm)
def _integers(op: RMSNorm) -> tuple[Step, ...]:
    return Normed(centred=False, epsilon=op.epsilon, count=op.count), Scaled(scale=op.scale)


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


@C.register(RMSNorm)
def _c(op: RMSNorm, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    writer.functions.append(root_c(writer.name))
    writer.loops.append(
        f"static void {writer.name}_rms_norm(\n"
        "    const float *x, float *y, const float *scale, float epsilon, float total, int count)\n{\n"
        "    float squares = 0.0f, factor;\n    int i;\n"
        "    for (i = 0; i < count; ++i)\n        squares += x[i] * x[i];\n"
        f"    factor = 1.0f / {writer.name}_root(squares / total + epsilon);\n"
        "    for (i = 0; i < count; ++i)\n"
        f"        y[i] = x[i] * factor * {writer.name.upper()}_FLOAT(&scale[i]);\n}}\n"
    )
    y, scale = writer.over(x), writer.constant("scale", op.scale)
    numbers = [writer.number(value, "its epsilon or count") for value in (op.epsilon, op.count)]
    writer.per_row(f"{writer.name}_rms_norm({{0}}, {{1}}, {scale}, {', '.join(numbers)}, {x.width})", x, y)
    return (y,)


@TWIN.register(RMSNorm)
def _twin(op: RMSNorm, x: Float32) -> tuple[Float32, ...]:
    factor = np.float32(1.0) / root(sum_in_order(x * x) / np.float32(op.count) + np.float32(op.epsilon))
    return (x * factor * op.scale,)


@from_module(lambda: (nn.RMSNorm,))
def _module(module: nn.RMSNorm, x: Traced) -> Lifted | None:
    if len(module.normalized_shape) != 1:
        return None
    width = module.normalized_shape[0]
    scale = np.ones(width, np.float32) if module.weight is None else array_of(module.weight)
    epsilon = float(np.finfo(scale.dtype).eps) if module.eps is None else module.eps
    return Lifted(op=RMSNorm(scale=scale, epsilon=epsilon, count=width), inputs=(x,), attributes={"scale": "weight"})


def _counted_kinds() -> tuple[type[nn.Module], ...]:
    from prunekit.graph.counted_norms import CountedRMSNorm

    return (CountedRMSNorm,)


@from_module(_counted_kinds)
def _counted(module: CountedRMSNorm, x: Traced) -> Lifted:
    op = RMSNorm(scale=array_of(module.weight), epsilon=module.eps, count=module.count)
    return Lifted(op=op, inputs=(x,), attributes={"scale": "weight"})


@resized(lambda: (nn.RMSNorm,), replaces=True)
def _resized(module: nn.RMSNorm) -> CountedRMSNorm:
    from prunekit.graph.counted_norms import CountedRMSNorm

    epsilon = torch.finfo(module.weight.dtype).eps if module.eps is None else module.eps
    return CountedRMSNorm(module.weight, epsilon, module.normalized_shape[0]).train(module.training)


@resized(_counted_kinds)
def _resized_again(module: CountedRMSNorm) -> CountedRMSNorm:
    return module
