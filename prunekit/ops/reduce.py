"""All values of the last axis as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, assert_never, final

from torch import Tensor

from prunekit.graph.forms import MACS, ONNX, TORCH
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, register_op, require_floats, unitwise


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class Reduce:
    """Sum, mean or largest of the last axis, which stays with a size of one; what it reads there is not pruned."""

    kind: Literal["sum", "mean", "max"]
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return [..., 1] for [..., n]."""
        require_floats(given)
        return (Spec((*given[0].shape[:-1], 1)),)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """All axes but the last."""
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
