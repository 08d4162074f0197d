"""Each value scaled and shifted by constants of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from prunekit.graph.forms import MACS, ONNX, TORCH
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, like, register_op, require_floats, require_vectors, unitwise


@register_op
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ScaleShift:
    """x * scale + shift; scale and shift [n], over the last axis."""

    scale: Array
    shift: Array
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec that comes in."""
        require_floats(given, last=require_vectors(scale=self.scale, shift=self.shift))
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Each value by itself, with its constants."""
        return unitwise(given[0], ("x", "y"), ("scale", "shift"))

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        (x,) = values
        return (x * like(self.scale, x) + like(self.shift, x),)


@MACS.register(ScaleShift)
def _macs(_: ScaleShift, __: Sequence[Spec]) -> int:
    return 0


@TORCH.register(ScaleShift)
def _torch(_: ScaleShift, constants: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (x * constants["scale"] + constants["shift"],)


@ONNX.register(ScaleShift)
def _onnx(op: ScaleShift, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    if (op.scale != 1.0).any():
        x = writer.add("Mul", [x, writer.constant(op.scale)])
    return (writer.add("Add", [x, writer.constant(op.shift)]) if op.shift.any() else x,)
