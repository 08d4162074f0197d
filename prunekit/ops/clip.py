"""Values clipped to two numbers, including ReLU6 and hardtanh."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.literals import LARGEST, Float32, c_float, finite
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.integers import INTEGERS, Bent, Step
from prunekit.graph.lifting import Lifted, Traced, from_function, from_module
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, register_op, require_floats, unitwise
from prunekit.lazy import functional, nn, torch

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class Clip:
    """x clipped to [low, high]; either may be infinite."""

    low: float
    high: float
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec of the input."""
        if not self.low <= self.high:
            raise InputError(f"its bounds must be low <= high, not {self.low:g} and {self.high:g}")
        require_floats(given)
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple each unit of y with the same unit of x."""
        return unitwise(given[0], ("x", "y"))

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        return (np.clip(values[0], self.low, self.high),)


@MACS.register(Clip)
def _macs(_: Clip, __: Sequence[Spec]) -> int:
    return 0


@INTEGERS.register(Clip)
def _integers(op: Clip) -> tuple[Step, ...]:
    return (Bent(low=op.low, high=op.high),)


@TORCH.register(Clip)
def _torch(op: Clip, _: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (x.clamp(op.low, op.high),)


@ONNX.register(Clip)
def _onnx(op: Clip, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    return (writer.add("Clip", [x, writer.constant(op.low), writer.constant(op.high)]),)


@C.register(Clip)
def _c(op: Clip, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    """Write the C form; NaN gives the lower bound, if there is one."""
    low, high = _in_float32(op)
    if low is None and high is None:
        return (x,)
    y, value = writer.over(x), f"{x.text}[i]"
    kept = value if low is None else f"({value} >= {c_float(low)} ? {value} : {c_float(low)})"
    writer.each(y, kept if high is None else f"{value} > {c_float(high)} ? {c_float(high)} : {kept}")
    return (y,)


@TWIN.register(Clip)
def _twin(op: Clip, x: Float32) -> tuple[Float32, ...]:
    low, high = _in_float32(op)
    kept = x if low is None else np.where(x >= np.float32(low), x, np.float32(low))
    return (kept if high is None else np.where(x > np.float32(high), np.float32(high), kept),)


def _in_float32(op: Clip) -> tuple[float | None, float | None]:
    """Return the bounds; None for one that float32 cannot hold."""
    low, high = (float(bound) for bound in finite((op.low, op.high)))
    return None if op.low < -LARGEST else low, None if op.high > LARGEST else high


@from_module(lambda: (nn.ReLU6, nn.Hardtanh))
def _module(module: nn.Hardtanh, x: Traced) -> Lifted:
    return Lifted(op=Clip(low=float(module.min_val), high=float(module.max_val)), inputs=(x,))


@from_function(lambda: (functional.relu6,))
def _relu6(x: Traced) -> Lifted:
    return Lifted(op=Clip(low=0.0, high=6.0), inputs=(x,))


@from_function(lambda: (functional.hardtanh,))
def _hardtanh(x: Traced, min_val: float = -1.0, max_val: float = 1.0) -> Lifted:
    return Lifted(op=Clip(low=float(min_val), high=float(max_val)), inputs=(x,))


@from_function(lambda: (torch.clamp, torch.clip, "clamp", "clip"))
def _clamp(x: Traced, min: object = None, max: object = None) -> Lifted | None:
    if not all(bound is None or isinstance(bound, int | float) for bound in (min, max)):
        return None
    low = float(min) if isinstance(min, int | float) else -math.inf
    high = float(max) if isinstance(max, int | float) else math.inf
    return Lifted(op=Clip(low=low, high=high), inputs=(x,))
