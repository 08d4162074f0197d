"""The head of continuous actions that are squashed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.graph.c.functions import TANH, tanh_c
from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, register_op, require_floats, unitwise
from prunekit.lazy import torch
from prunekit.ops.clip_to_bounds import bounds_in_c, held_in_bounds, hold_in_bounds, require_bounds, write_bounds

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST = float(np.finfo(np.float32).max)


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class TanhToBounds:
    """low + (tanh(x) + 1) / 2 * (high - low), clipped to [low, high]; finite bounds per value of the last axis."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec of the input."""
        require_bounds(self.low, self.high, _LARGEST)
        require_floats(given, last=len(self.low))
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple all axes except the last, whose bounds are not pruned."""
        return unitwise(given[0], ("x", "y"))[:-1]

    @property
    def affine(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(half range, middle) of the bounds."""
        pairs = list(zip(self.low, self.high, strict=True))
        return tuple((high - low) / 2 for low, high in pairs), tuple((high + low) / 2 for low, high in pairs)

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return the actions."""
        (x,) = values
        half, middle, low, high = (np.asarray(bounds, x.dtype) for bounds in (*self.affine, self.low, self.high))
        return (np.clip(np.tanh(x) * half + middle, low, high),)


@MACS.register(TanhToBounds)
def _macs(_: TanhToBounds, __: Sequence[Spec]) -> int:
    return 0


@TORCH.register(TanhToBounds)
def _torch(op: TanhToBounds, _: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    half, middle, low, high = (x.new_tensor(bounds) for bounds in (*op.affine, op.low, op.high))
    return (torch.minimum(torch.maximum(torch.tanh(x) * half + middle, low), high),)


@ONNX.register(TanhToBounds)
def _onnx(op: TanhToBounds, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    half, middle = (writer.constant(np.asarray(bounds)) for bounds in op.affine)
    scaled = writer.add("Mul", [writer.add("Tanh", [x]), half])
    return (write_bounds(writer, writer.add("Add", [scaled, middle]), op.low, op.high),)


@C.register(TanhToBounds)
def _c(op: TanhToBounds, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    writer.functions.append(tanh_c(writer.name))
    y = writer.over(x)
    bounds = bounds_in_c(op.low, op.high, writer, x)
    half, middle = (
        writer.vector(called, np.asarray(values, np.float32), x.unit)
        for called, values in zip(("half", "middle"), op.affine, strict=True)
    )
    hold_in_bounds(writer, y, f"{writer.name}_tanh({x.text}[i]) * {half} + {middle}", *bounds)
    return (y,)


@TWIN.register(TanhToBounds)
def _twin(op: TanhToBounds, x: Float32) -> tuple[Float32, ...]:
    half, middle = (np.asarray(values, np.float32) for values in op.affine)
    return (held_in_bounds(TANH(x) * half + middle, op.low, op.high),)
