"""The head of continuous actions that are clipped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.literals import Float32, finite
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, register_op, require_floats, unitwise
from prunekit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class ClipToBounds:
    """Each value of the last axis clipped to its own [low, high]; bounds may be infinite."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec of the input."""
        require_bounds(self.low, self.high, math.inf)
        require_floats(given, last=len(self.low))
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple all axes except the last, whose bounds are not pruned."""
        return unitwise(given[0], ("x", "y"))[:-1]

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return the actions."""
        return (np.clip(values[0], np.asarray(self.low, values[0].dtype), np.asarray(self.high, values[0].dtype)),)


def require_bounds(low: Sequence[float], high: Sequence[float], largest: float) -> None:
    """Raise InputError unless there are as many lower as upper bounds, with low <= high and absolute values up to
    ``largest``.
    """
    if (
        not low
        or len(low) != len(high)
        or not all(-largest <= a <= b <= largest for a, b in zip(low, high, strict=True))
    ):
        raise InputError(f"action bounds must be low <= high and no larger than {largest:g}, got {low} and {high}")


@MACS.register(ClipToBounds)
def _macs(_: ClipToBounds, __: Sequence[Spec]) -> int:
    return 0


@TORCH.register(ClipToBounds)
def _torch(op: ClipToBounds, _: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (torch.minimum(torch.maximum(x, x.new_tensor(op.low)), x.new_tensor(op.high)),)


@ONNX.register(ClipToBounds)
def _onnx(op: ClipToBounds, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    return (write_bounds(writer, x, op.low, op.high),)


@C.register(ClipToBounds)
def _c(op: ClipToBounds, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    y = writer.over(x)
    hold_in_bounds(writer, y, f"{x.text}[i]", *bounds_in_c(op.low, op.high, writer, x))
    return (y,)


@TWIN.register(ClipToBounds)
def _twin(op: ClipToBounds, x: Float32) -> tuple[Float32, ...]:
    return (held_in_bounds(x, op.low, op.high),)


def bounds_in_c(low: Sequence[float], high: Sequence[float], writer: CWriter, x: CValue) -> tuple[str, str]:
    """Return the bounds of ``x`` as C expressions."""
    return writer.vector("low", finite(low), x.unit), writer.vector("high", finite(high), x.unit)


def hold_in_bounds(writer: CWriter, y: CValue, value: str, low: str, high: str) -> None:
    """Add a loop that fills ``y`` with ``value`` clipped to the bounds; NaN gives the lower one."""
    writer.add(f"    for (i = 0; i < {y.count}; ++i) {{", f"        const float v = {value};")
    writer.add(f"        const float low = {low}, high = {high};")
    writer.add(f"        {y.text}[i] = v > high ? high : (v >= low ? v : low);", "    }")


def held_in_bounds(x: Float32, low: Sequence[float], high: Sequence[float]) -> Float32:
    """Return ``x`` clipped to the bounds, with the same bits as ``hold_in_bounds``."""
    minimum, maximum = finite(low), finite(high)
    return np.where(x > maximum, maximum, np.where(x >= minimum, x, minimum)).astype(np.float32)


def write_bounds(writer: OnnxWriter, x: str, low: Sequence[float], high: Sequence[float]) -> str:
    """Clip ``x`` in ONNX: by Clip if all components have the same bounds, otherwise by Max and Min."""
    if len(set(low)) == 1 and len(set(high)) == 1:
        if math.isinf(low[0]) and math.isinf(high[0]):
            return x
        return writer.add("Clip", [x, writer.constant(low[0]), writer.constant(high[0])])
    above = writer.add("Max", [x, writer.constant(np.asarray(low))])
    return writer.add("Min", [above, writer.constant(np.asarray(high))])
