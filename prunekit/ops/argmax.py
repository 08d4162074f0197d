"""The head of discrete actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, MARGIN, ONNX, TORCH, TWIN, C
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, register_op, require_floats, unitwise

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class Argmax:
    """The index of the largest value of the last axis, the first of equals, plus ``start``; int64."""

    start: int = 0
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the shape without its last axis."""
        require_floats(given)
        if type(self.start) is not int or abs(self.start) > 2**31 - 1:
            raise InputError(f"the first action must be a 32-bit integer, not {self.start}")
        return (Spec(given[0].shape[:-1], "int64"),)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple all axes except the last."""
        return unitwise(given[0], ("x",))[:-1] if len(given[0].shape) < 2 else unitwise(given[0], ("x", "y"))[:-1]

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return the indices."""
        return (np.asarray(values[0].argmax(axis=-1) + self.start, np.int64),)


@MACS.register(Argmax)
def _macs(_: Argmax, __: Sequence[Spec]) -> int:
    return 0


@MARGIN.register(Argmax)
def _margin(_: Argmax, x: Array) -> Array:
    return lead(x)


def lead(x: Array) -> Array:
    """Return the difference between the two largest values of the last axis; infinity if there is only one."""
    if x.shape[-1] < 2:
        return np.full(x.shape[:-1], np.inf)
    ranked = np.sort(x, axis=-1)
    return np.asarray(ranked[..., -1] - ranked[..., -2])


@TORCH.register(Argmax)
def _torch(op: Argmax, _: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (x.argmax(dim=-1) + op.start,)


@ONNX.register(Argmax)
def _onnx(op: Argmax, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    index = writer.add("ArgMax", [x], axis=-1, keepdims=0)
    return (writer.add("Add", [index, writer.constant(np.asarray(op.start))]) if op.start else index,)


@C.register(Argmax)
def _c(op: Argmax, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    if op.start > 2**31 - x.width:
        raise InputError(f"actions are numbered from {op.start}, but C returns them as numbers of 32 bits")
    y = writer.make()
    writer.add("    {", "        int best = 0;", f"        for (i = 1; i < {x.count}; ++i)")
    writer.add(f"            if ({x.text}[i] > {x.text}[best])", "                best = i;")
    writer.add(f"        return (int32_t)best{f' + ({op.start})' if op.start else ''};", "    }")
    return (y,)


@TWIN.register(Argmax)
def _twin(op: Argmax, x: Float32) -> tuple[Array, ...]:
    return ((first_largest(x) + op.start).astype(np.int32),)


def first_largest(x: Float32) -> Array:
    """Return the index of the largest value of the last axis as the C finds it, even if some values are NaN."""
    best = np.zeros((*x.shape[:-1], 1), np.int64)
    for index in range(1, x.shape[-1]):
        best = np.where(x[..., index : index + 1] > np.take_along_axis(x, best, axis=-1), index, best)
    return best[..., 0]
