"""Reductions of the last axis to one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, assert_never, final

import numpy as np

from prunekit.graph.c.functions import sum_in_order
from prunekit.graph.c.literals import Float32, c_float
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, register_op, require_floats, unitwise

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class Reduce:
    """Sum, mean or maximum over the last axis, which is kept with size one; its units are not pruned."""

    kind: Literal["sum", "mean", "max"]
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return [..., 1] for [..., n]."""
        require_floats(given)
        return (Spec((*given[0].shape[:-1], 1)),)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple all axes except the last."""
        return unitwise(given[0], ("x", "y"))[:-1]

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        (x,) = values
        match self.kind:
            case "sum":
                return (x.sum(axis=-1, keepdims=True),)
            case "mean":
                return (x.mean(axis=-1, keepdims=True),)
            case "max":
                return (x.max(axis=-1, keepdims=True),)
            case _:
                assert_never(self.kind)


@MACS.register(Reduce)
def _macs(_: Reduce, __: Sequence[Spec]) -> int:
    return 0


@TORCH.register(Reduce)
def _torch(op: Reduce, _: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    match op.kind:
        case "sum":
            return (x.sum(dim=-1, keepdim=True),)
        case "mean":
            return (x.mean(dim=-1, keepdim=True),)
        case "max":
            return (x.amax(dim=-1, keepdim=True),)
        case _:
            assert_never(op.kind)


@ONNX.register(Reduce)
def _onnx(op: Reduce, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    if op.kind == "sum":
        return (writer.add("ReduceSum", [x, writer.constant([-1])], keepdims=1),)
    return (writer.add("ReduceMean" if op.kind == "mean" else "ReduceMax", [x], axes=[-1], keepdims=1),)


@C.register(Reduce)
def _c(op: Reduce, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    """Write the C form; the maximum ignores NaN, unless it comes first."""
    begin, step = {"max": ("x[0]", "x[i] > y ? x[i] : y")}.get(op.kind, ("0.0f", "y + x[i]"))
    end = f"y / {c_float(x.width)}" if op.kind == "mean" else "y"
    own = writer.own_name(f"reduce_{op.kind}", (Reduce, op.kind, x.width if op.kind == "mean" else 0))
    writer.loops.append(
        f"static float {writer.name}_{own}(const float *x, int count)\n{{\n    float y = {begin};\n    int i;\n"
        f"    for (i = 0; i < count; ++i)\n        y = {step};\n    return {end};\n}}\n"
    )
    y = writer.make()
    at = "0" if x.rows == 1 else "i"
    writer.per_row(f"{y.text}[{at}] = {writer.name}_{own}({{0}}, {x.width})", x)
    return (y,)


@TWIN.register(Reduce)
def _twin(op: Reduce, x: Float32) -> tuple[Float32, ...]:
    if op.kind == "max":
        largest = x[..., :1]
        for index in range(x.shape[-1]):
            largest = np.where(x[..., index : index + 1] > largest, x[..., index : index + 1], largest)
        return (largest,)
    total = sum_in_order(x)
    return (total / np.float32(x.shape[-1]) if op.kind == "mean" else total,)
