"""The head of several choices in parallel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, MARGIN, ONNX, TORCH, TWIN, C
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, register_op, require_floats, unitwise
from prunekit.lazy import torch
from prunekit.ops.argmax import first_largest, lead

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST = 2**31 - 1


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class ArgmaxPerPart:
    """One argmax per part of the last axis, which consists of parts of ``counts`` values.

    For each part it gives the index of the largest value (the first of equals) plus its entry of ``starts``; int64
    [..., parts].
    """

    counts: tuple[int, ...]
    starts: tuple[int, ...]
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return one number per part."""
        if not self.counts or len(self.counts) != len(self.starts):
            raise InputError(f"it needs a start for each of its parts, not {len(self.starts)} for {len(self.counts)}")
        if not all(type(count) is int and count > 0 for count in self.counts):
            raise InputError(f"its parts must have at least one value each, not {self.counts}")
        if not all(type(start) is int and abs(start) <= _LARGEST for start in self.starts):
            raise InputError(f"the first actions must be 32-bit integers, not {self.starts}")
        require_floats(given, last=sum(self.counts))
        return (Spec((*given[0].shape[:-1], len(self.counts)), "int64"),)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple all axes except the last."""
        return unitwise(given[0], ("x", "y"))[:-1]

    def parts(self, x: Array) -> list[Array]:
        """Return the values of each part."""
        return np.split(x, list(accumulate(self.counts))[:-1], axis=-1)

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return the indices."""
        best = [part.argmax(axis=-1) for part in self.parts(values[0])]
        return (np.stack(best, axis=-1).astype(np.int64) + np.asarray(self.starts, np.int64),)


@MACS.register(ArgmaxPerPart)
def _macs(_: ArgmaxPerPart, __: Sequence[Spec]) -> int:
    return 0


@MARGIN.register(ArgmaxPerPart)
def _margin(op: ArgmaxPerPart, x: Array) -> Array:
    return np.stack([lead(part) for part in op.parts(x)], axis=-1)


@TORCH.register(ArgmaxPerPart)
def _torch(op: ArgmaxPerPart, _: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    best = torch.stack([part.argmax(dim=-1) for part in torch.split(x, list(op.counts), dim=-1)], dim=-1)
    return (best + torch.tensor(op.starts, device=x.device),)


@ONNX.register(ArgmaxPerPart)
def _onnx(op: ArgmaxPerPart, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    sizes = writer.constant(op.counts)
    parts = (x,) if len(op.counts) == 1 else writer.add_several("Split", [x, sizes], len(op.counts), axis=-1)
    best = [writer.add("ArgMax", [part], axis=-1, keepdims=1) for part in parts]
    joined = best[0] if len(best) == 1 else writer.add("Concat", best, axis=-1)
    return (writer.add("Add", [joined, writer.constant(op.starts)]) if any(op.starts) else joined,)


@C.register(ArgmaxPerPart)
def _c(op: ArgmaxPerPart, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    y = writer.numbers(_maximum(op))
    for part, (end, count, start) in enumerate(zip(accumulate(op.counts), op.counts, op.starts, strict=True)):
        first = end - count
        if count == 1:
            writer.add(f"    {y.text}[{part}] = {float(start)}f;")
            continue
        writer.add("    {", f"        int best = {first};", f"        for (i = {first + 1}; i < {end}; ++i)")
        writer.add(f"            if ({x.text}[i] > {x.text}[best])", "                best = i;")
        writer.add(f"        {y.text}[{part}] = (float)(best + ({start - first}));", "    }")
    return (y,)


@TWIN.register(ArgmaxPerPart)
def _twin(op: ArgmaxPerPart, x: Float32) -> tuple[Array, ...]:
    best = [first_largest(part) for part in op.parts(x)]
    return ((np.stack(best, axis=-1) + np.asarray(op.starts)).astype(np.float32),)


def _maximum(op: ArgmaxPerPart) -> int:
    return max(max(abs(start), abs(start + count)) for count, start in zip(op.counts, op.starts, strict=True))
