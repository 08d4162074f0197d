"""A selection of values along the last axis, in order."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import FOLD, MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.integers import INTEGERS, Picked, Step
from prunekit.graph.lifting import Lifted, Traced, from_function, is_last
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Axis, Bools, Coupling, Spec, register_op, require_floats, require_vectors
from prunekit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """The values at ``selected`` (bool [n]) of the last axis, in order; ``selected`` shrinks with the units."""

    selected: Bools
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the shape with the number of selected values."""
        if self.selected.dtype != bool or not self.selected.any():
            raise InputError("it must select values by bools, at least one of which is true")
        require_floats(given, last=require_vectors(selected=self.selected))
        return (Spec((*given[0].shape[:-1], int(self.selected.sum()))),)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple selected ranges with their ranges of the result. Units that are not selected may be pruned."""
        before = [Coupling((Axis("x", k), Axis("y", k))) for k in range(len(given[0].shape) - 1)]
        made = 0
        edges = [0, *(np.flatnonzero(np.diff(self.selected)) + 1).tolist(), len(self.selected)]
        for start, stop in pairwise(edges):
            axes = [Axis("x", start=start, width=stop - start), Axis("selected", 0, start=start, width=stop - start)]
            if self.selected[start]:
                axes.append(Axis("y", start=made, width=stop - start))
                made += stop - start
            before.append(Coupling(tuple(axes)))
        return tuple(before)

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        return (values[0][..., self.selected],)


@MACS.register(Slice)
def _macs(_: Slice, __: Sequence[Spec]) -> int:
    return 0


@FOLD.register(Slice)
def _fold(op: Slice, _: str, __: Array) -> Slice:
    """Return the op unchanged: a constant unit that is not selected contributes nothing."""
    return op


@INTEGERS.register(Slice)
def _integers(op: Slice) -> tuple[Step, ...]:
    return (Picked(selected=op.selected),)


@TORCH.register(Slice)
def _torch(_: Slice, constants: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (x[..., constants["selected"]],)


@ONNX.register(Slice)
def _onnx(op: Slice, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    at = np.flatnonzero(op.selected)
    if at[-1] - at[0] + 1 != len(at):
        return (writer.add("Gather", [x, writer.constant(at)], axis=-1),)
    limits = [writer.constant([int(value)]) for value in (at[0], at[-1] + 1, -1)]
    return (writer.add("Slice", [x, *limits]),)


@C.register(Slice)
def _c(op: Slice, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    """Write the C form: a contiguous range of one vector is not copied; other values are copied range by range."""
    edges = np.flatnonzero(np.diff(op.selected.astype(np.int8), prepend=0, append=0)).reshape(-1, 2).tolist()
    if len(edges) == 1 and x.rows == 1 and x.buffer is not None:
        return (replace(x, offset=x.offset + edges[0][0], spec=writer.made[0]),)
    y, made = writer.make(), 0
    for start, stop in edges:
        size = stop - start
        writer.add(f"    for (i = 0; i < {size * x.rows}; ++i)")
        if x.rows == 1:
            writer.add(f"        {y.text}[{made} + i] = {x.text}[{start} + i];")
        else:
            to, at = (
                f"[i / {size} * {value.width} + {first} + i % {size}]" for value, first in ((y, made), (x, start))
            )
            writer.add(f"        {y.text}{to} = {x.text}{at};")
        made += size
    return (y,)


@TWIN.register(Slice)
def _twin(op: Slice, x: Float32) -> tuple[Float32, ...]:
    return (x[..., op.selected],)


@from_function(lambda: (operator.getitem,))
def _function(x: Traced, index: object) -> Lifted | None:
    """Read x[:, a:b:c] and x[..., a:b:c], if they index the last axis."""
    if not isinstance(index, tuple) or not isinstance(x, Traced):
        return None
    *before, last = index
    whole = before == [Ellipsis] or (len(before) == len(x.spec.shape) and all(k == slice(None) for k in before))
    if not whole or not isinstance(last, slice):
        return None
    selected = np.zeros(x.spec.shape[-1], bool)
    selected[last] = True
    return Lifted(op=Slice(selected=selected), inputs=(x,))


@from_function(lambda: (torch.chunk, "chunk"))
def _chunk(x: Traced, chunks: int, dim: int = 0) -> tuple[Lifted, ...] | None:
    return _split(x, -(-x.spec.shape[-1] // chunks), dim) if is_last(dim, x) else None


@from_function(lambda: (torch.split, "split"))
def _split(x: Traced, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Lifted, ...] | None:
    if not is_last(dim, x):
        return None
    width, parts = x.spec.shape[-1], split_size_or_sections
    sizes = [parts] * -(-width // parts) if isinstance(parts, int) else list(parts)
    edges = np.minimum(np.cumsum([0, *sizes]), width)
    places = np.arange(width)
    return tuple(
        Lifted(op=Slice(selected=(start <= places) & (places < stop)), inputs=(x,)) for start, stop in pairwise(edges)
    )
