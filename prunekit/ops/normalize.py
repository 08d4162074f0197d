"""The observation normalizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.literals import LARGEST, Float32, c_float
from prunekit.graph.c.writer import DEFINED_EVERYWHERE, CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.integers import INTEGERS, Bent, Scaled, Step
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, like, register_op, require_floats, require_vectors, unitwise

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Normalize:
    """clip((x - mean) * scale, -clip, clip); mean and scale [n], clip positive (infinite for none)."""

    mean: Array
    scale: Array
    clip: float
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec of the input."""
        if not self.clip > 0.0:
            raise InputError(f"its clip must be positive, not {self.clip:g}")
        require_floats(given, last=require_vectors(mean=self.mean, scale=self.scale))
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple each value of y with the same value of x, its mean and its scale."""
        return unitwise(given[0], ("x", "y"), ("mean", "scale"))

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        (x,) = values
        return (np.clip((x - like(self.mean, x)) * like(self.scale, x), -self.clip, self.clip),)


@MACS.register(Normalize)
def _macs(_: Normalize, __: Sequence[Spec]) -> int:
    return 0


@INTEGERS.register(Normalize)
def _integers(op: Normalize) -> tuple[Step, ...]:
    return (Scaled(mean=op.mean, scale=op.scale), Bent(low=-op.clip, high=op.clip))


@TORCH.register(Normalize)
def _torch(op: Normalize, constants: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (((x - constants["mean"]) * constants["scale"]).clamp(-op.clip, op.clip),)


@ONNX.register(Normalize)
def _onnx(op: Normalize, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    centred = writer.add("Sub", [x, writer.constant(op.mean)])
    scaled = writer.add("Mul", [centred, writer.constant(op.scale)])
    return (writer.add("Clip", [scaled, writer.constant(-op.clip), writer.constant(op.clip)]),)


DEFINED_EVERYWHERE.add(Normalize)


@C.register(Normalize)
def _c(op: Normalize, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    """Write the C form; NaN counts as the mean, and infinity as the clip, or as the mean without a clip."""
    y = writer.over(x)
    mean, scale = (
        writer.load(writer.constant(called, value), x.unit)
        for called, value in (("mean", op.mean), ("scale", op.scale))
    )
    writer.add(f"    for (i = 0; i < {x.count}; ++i) {{")
    writer.add(f"        const float v = ({x.text}[i] - {mean}) * {scale};")
    if op.clip > LARGEST:
        writer.add(f"        {y.text}[i] = v - v == 0.0f ? v : 0.0f;", "    }")
    else:
        clip = c_float(op.clip)
        kept = f"v > {clip} ? {clip} : (v < -{clip} ? -{clip} : (v == v ? v : 0.0f))"
        writer.add(f"        {y.text}[i] = {kept};", "    }")
    return (y,)


@TWIN.register(Normalize)
def _twin(op: Normalize, x: Float32) -> tuple[Float32, ...]:
    value, zero = (x - op.mean) * op.scale, np.float32(0.0)
    if op.clip > LARGEST:
        return (np.where(value - value == zero, value, zero),)
    clip = np.float32(op.clip)
    small = np.where(np.isnan(value), zero, value)
    return (np.where(value > clip, clip, np.where(value < -clip, -clip, small)),)
