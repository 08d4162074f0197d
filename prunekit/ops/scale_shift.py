"""A scale and a shift per value."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.integers import INTEGERS, Scaled, Step
from prunekit.graph.lifting import Lifted, Traced, constant_of, from_function
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, like, register_op, require_floats, require_vectors, unitwise
from prunekit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


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
        """Return the spec of the input."""
        require_floats(given, last=require_vectors(scale=self.scale, shift=self.shift))
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple each value of y with the same value of x and its constants."""
        return unitwise(given[0], ("x", "y"), ("scale", "shift"))

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        (x,) = values
        return (x * like(self.scale, x) + like(self.shift, x),)


@MACS.register(ScaleShift)
def _macs(_: ScaleShift, __: Sequence[Spec]) -> int:
    return 0


@INTEGERS.register(ScaleShift)
def _integers(op: ScaleShift) -> tuple[Step, ...]:
    return (Scaled(scale=op.scale, shift=op.shift),)


@TORCH.register(ScaleShift)
def _torch(_: ScaleShift, constants: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (x * constants["scale"] + constants["shift"],)


@ONNX.register(ScaleShift)
def _onnx(op: ScaleShift, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    if (op.scale != 1.0).any():
        x = writer.add("Mul", [x, writer.constant(op.scale)])
    return (writer.add("Add", [x, writer.constant(op.shift)]) if op.shift.any() else x,)


@C.register(ScaleShift)
def _c(op: ScaleShift, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    scale, shift = (
        writer.load(writer.constant(called, value), x.unit)
        for called, value in (("scale", op.scale), ("shift", op.shift))
    )
    y = writer.over(x)
    writer.each(y, f"{x.text}[i] * {scale} + {shift}")
    return (y,)


@TWIN.register(ScaleShift)
def _twin(op: ScaleShift, x: Float32) -> tuple[Float32, ...]:
    return (x * op.scale + op.shift,)


def scaled(x: object, scale: object, shift: object) -> Lifted | None:
    """Return x * scale + shift as read from torch; None unless scale and shift are constants per value."""
    if not isinstance(x, Traced) or not x.spec.shape:
        return None
    factor, offset = (constant_of(value, x.spec.shape[-1]) for value in (scale, shift))
    return None if factor is None or offset is None else Lifted(op=ScaleShift(scale=factor, shift=offset), inputs=(x,))


@from_function(lambda: (operator.neg, torch.neg, "neg"))
def _neg(x: object) -> Lifted | None:
    return scaled(x, -1.0, 0.0)
