"""Layer normalization."""

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
from prunekit.graph.lifting import Lifted, Traced, array_of, from_function, from_module, resized
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, like, register_op, require_floats, require_vectors, unitwise
from prunekit.lazy import functional, nn, torch

if TYPE_CHECKING:
    from torch import Tensor

    from prunekit.graph.counted_norms import CountedLayerNorm


@register_op
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LayerNorm:
    """(x - mean) / sqrt(variance + epsilon) * scale + shift over the last axis; scale and shift [n].

    Mean and variance are over ``count`` values. If only n are left, the others count as zeros, so the result does not
    change when zero units are removed.
    """

    scale: Array
    shift: Array
    epsilon: float
    count: int
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec of the input."""
        width = require_vectors(scale=self.scale, shift=self.shift)
        require_floats(given, last=width)
        if self.count < width:
            raise InputError(f"its statistics are over {self.count} values, but it reads {width}")
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple units across: all enter the statistics, and zeros do not change them."""
        return unitwise(given[0], ("x", "y"), ("scale", "shift"), across=True)

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        (x,) = values
        mean = x.sum(axis=-1, keepdims=True) / self.count
        squares = ((x - mean) ** 2).sum(axis=-1, keepdims=True) + (self.count - x.shape[-1]) * mean**2
        return ((x - mean) / np.sqrt(squares / self.count + self.epsilon) * like(self.scale, x) + like(self.shift, x),)


@KNOWN.register(LayerNorm)
def _known(op: LayerNorm, x: Array) -> tuple[Array, ...]:
    return (np.where(op.scale == 0.0, op.shift.astype(np.float64), np.full(x.shape, np.nan)),)


@MACS.register(LayerNorm)
def _macs(_: LayerNorm, __: Sequence[Spec]) -> int:
    return 0


@INTEGERS.register(LayerNorm)
def _integers(op: LayerNorm) -> tuple[Step, ...]:
    return Normed(centred=True, epsilon=op.epsilon, count=op.count), Scaled(scale=op.scale, shift=op.shift)


@TORCH.register(LayerNorm)
def _torch(op: LayerNorm, constants: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    width, scale, shift = x.shape[-1], constants["scale"], constants["shift"]
    if op.count == width:
        return (functional.layer_norm(x, (width,), scale, shift, op.epsilon),)
    mean = x.sum(dim=-1, keepdim=True) / op.count
    squares = ((x - mean) ** 2).sum(dim=-1, keepdim=True) + (op.count - width) * mean**2
    return ((x - mean) / (squares / op.count + op.epsilon).sqrt() * scale + shift,)


@ONNX.register(LayerNorm)
def _onnx(op: LayerNorm, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    scale, shift, last = writer.constant(op.scale), writer.constant(op.shift), writer.constant([-1])
    if op.count == len(op.scale):
        return (writer.add("LayerNormalization", [x, scale, shift], axis=-1, epsilon=op.epsilon),)
    count = writer.constant(float(op.count))
    mean = writer.add("Div", [writer.add("ReduceSum", [x, last], keepdims=1), count])
    centred = writer.add("Sub", [x, mean])
    present = writer.add("ReduceSum", [writer.add("Mul", [centred, centred]), last], keepdims=1)
    missing = writer.constant(float(op.count - len(op.scale)))
    absent = writer.add("Mul", [writer.add("Mul", [mean, mean]), missing])
    variance = writer.add("Div", [writer.add("Add", [present, absent]), count])
    deviation = writer.add("Sqrt", [writer.add("Add", [variance, writer.constant(op.epsilon)])])
    scaled = writer.add("Mul", [writer.add("Div", [centred, deviation]), scale])
    return (writer.add("Add", [scaled, shift]),)


@C.register(LayerNorm)
def _c(op: LayerNorm, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    writer.functions.append(root_c(writer.name))
    upper = writer.name.upper()
    writer.loops.append(
        f"static void {writer.name}_layer_norm(const float *x, float *y, const float *scale, const float *shift,\n"
        "    float epsilon, float total, float absent, int count)\n{\n"
        "    float sum = 0.0f, squares = 0.0f, mean, factor;\n    int i;\n"
        "    for (i = 0; i < count; ++i)\n        sum += x[i];\n    mean = sum / total;\n"
        "    for (i = 0; i < count; ++i)\n        squares += (x[i] - mean) * (x[i] - mean);\n"
        "    squares += absent * (mean * mean);\n"
        f"    factor = 1.0f / {writer.name}_root(squares / total + epsilon);\n"
        "    for (i = 0; i < count; ++i)\n"
        f"        y[i] = (x[i] - mean) * factor * {upper}_FLOAT(&scale[i]) + {upper}_FLOAT(&shift[i]);\n}}\n"
    )
    y = writer.over(x)
    arrays = f"{writer.constant('scale', op.scale)}, {writer.constant('shift', op.shift)}"
    numbers = [writer.number(value, "its epsilon or count") for value in (op.epsilon, op.count, op.count - x.width)]
    writer.per_row(f"{writer.name}_layer_norm({{0}}, {{1}}, {arrays}, {', '.join(numbers)}, {x.width})", x, y)
    return (y,)


@TWIN.register(LayerNorm)
def _twin(op: LayerNorm, x: Float32) -> tuple[Float32, ...]:
    epsilon, total, absent = (np.float32(value) for value in (op.epsilon, op.count, op.count - x.shape[-1]))
    mean = sum_in_order(x) / total
    squares = sum_in_order((x - mean) * (x - mean)) + absent * (mean * mean)
    factor = np.float32(1.0) / root(squares / total + epsilon)
    return ((x - mean) * factor * op.scale + op.shift,)


@from_module(lambda: (nn.LayerNorm,))
def _module(module: nn.LayerNorm, x: Traced) -> Lifted | None:
    if len(module.normalized_shape) != 1:
        return None
    width = module.normalized_shape[0]
    scale = np.ones(width, np.float32) if module.weight is None else array_of(module.weight)
    shift = np.zeros(width, np.float32) if module.bias is None else array_of(module.bias)
    op = LayerNorm(scale=scale, shift=shift, epsilon=module.eps, count=width)
    return Lifted(op=op, inputs=(x,), attributes={"scale": "weight", "shift": "bias"})


@from_function(lambda: (functional.layer_norm,))
def _function(
    x: Traced, normalized_shape: Sequence[int], weight: object = None, bias: object = None, eps: float = 1e-5
) -> Lifted | None:
    if len(normalized_shape) != 1 or not all(isinstance(one, torch.Tensor | None) for one in (weight, bias)):
        return None
    width = normalized_shape[0]
    scale = array_of(weight) if isinstance(weight, torch.Tensor) else np.ones(width, np.float32)
    shift = array_of(bias) if isinstance(bias, torch.Tensor) else np.zeros(width, np.float32)
    return Lifted(op=LayerNorm(scale=scale, shift=shift, epsilon=eps, count=width), inputs=(x,))


def _counted_kinds() -> tuple[type[nn.Module], ...]:
    from prunekit.graph.counted_norms import CountedLayerNorm

    return (CountedLayerNorm,)


@from_module(_counted_kinds)
def _counted(module: CountedLayerNorm, x: Traced) -> Lifted:
    scale = array_of(module.get_parameter("weight"))
    shift = np.zeros_like(scale) if module.bias is None else array_of(module.get_parameter("bias"))
    op = LayerNorm(scale=scale, shift=shift, epsilon=module.eps, count=module.count)
    return Lifted(op=op, inputs=(x,), attributes={"scale": "weight", "shift": "bias"})


@resized(lambda: (nn.LayerNorm,), replaces=True)
def _resized(module: nn.LayerNorm) -> CountedLayerNorm:
    from prunekit.graph.counted_norms import CountedLayerNorm

    return CountedLayerNorm(module.weight, module.bias, module.eps, module.normalized_shape[0]).train(module.training)


@resized(_counted_kinds)
def _resized_again(module: CountedLayerNorm) -> CountedLayerNorm:
    return module
