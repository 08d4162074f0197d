"""Values concatenated along the last axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.integers import INTEGERS, Joined, Step
from prunekit.graph.lifting import Lifted, Traced, from_function, is_last
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Axis, Coupling, Spec, register_op, require_floats
from prunekit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

_MAX_PARTS = 2**16


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class Concat:
    """``parts`` values, concatenated along the last axis."""

    parts: int
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def __post_init__(self) -> None:
        if not 1 <= self.parts <= _MAX_PARTS:  # as a name is made for each
            raise InputError(f"it needs from 1 to {_MAX_PARTS:,} parts, not {self.parts:,}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """One local name per part."""
        return tuple(f"x{part}" for part in range(self.parts))

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the common leading shape with the sum of the last axes."""
        require_floats(given)
        if len({spec.shape[:-1] for spec in given}) > 1:
            raise InputError(f"its parts differ before the last axis: {[list(spec.shape) for spec in given]}")
        return (Spec((*given[0].shape[:-1], sum(spec.shape[-1] for spec in given))),)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple the units of each part with its range of the result."""
        before = (
            Coupling((*(Axis(name, k) for name in self.inputs), Axis("y", k))) for k in range(len(given[0].shape) - 1)
        )
        starts = np.cumsum([0, *(spec.shape[-1] for spec in given)]).tolist()
        parts = (
            Coupling((Axis(name), Axis("y", start=start, width=spec.shape[-1])))
            for name, spec, start in zip(self.inputs, given, starts, strict=False)
        )
        return (*before, *parts)

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        return (np.concatenate(values, axis=-1),)


@MACS.register(Concat)
def _macs(_: Concat, __: Sequence[Spec]) -> int:
    return 0


@INTEGERS.register(Concat)
def _integers(_: Concat) -> tuple[Step, ...]:
    return (Joined(),)


@TORCH.register(Concat)
def _torch(_: Concat, __: Mapping[str, Tensor], *values: Tensor) -> tuple[Tensor, ...]:
    return (torch.cat(values, dim=-1),)


@ONNX.register(Concat)
def _onnx(_: Concat, writer: OnnxWriter, *values: str) -> tuple[str, ...]:
    return (writer.add("Concat", values, axis=-1),)


@C.register(Concat)
def _c(_: Concat, writer: CWriter, *values: CValue) -> tuple[CValue, ...]:
    y, start = writer.make(), 0
    for x in values:
        if y.rows == 1:
            part = replace(y, offset=y.offset + start, spec=x.spec)
            writer.each(part, f"{x.text}[i]")
        else:
            writer.add(f"    for (i = 0; i < {x.count}; ++i)")
            writer.add(f"        {y.text}[i / {x.width} * {y.width} + {start} + i % {x.width}] = {x.text}[i];")
        start += x.width
    return (y,)


@TWIN.register(Concat)
def _twin(_: Concat, *values: Float32) -> tuple[Float32, ...]:
    return (np.concatenate(values, axis=-1),)


@from_function(lambda: (torch.cat, torch.concat))
def _function(tensors: Sequence[Traced], dim: int = 0) -> Lifted | None:
    if not tensors or not all(isinstance(value, Traced) and is_last(dim, value) for value in tensors):
        return None
    return Lifted(op=Concat(parts=len(tensors)), inputs=tuple(tensors))
