"""The head of switches that are on or off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, MARGIN, ONNX, TORCH, TWIN, C
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, register_op, require_floats, unitwise

if TYPE_CHECKING:
    from torch import Tensor

_INT64 = 7  # ONNX's number of the type


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class Threshold:
    """1 where a value is above 0, otherwise 0; int64."""

    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the shape of the input."""
        require_floats(given)
        return (Spec(given[0].shape, "int64"),)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple all axes except the last, whose switches are not pruned."""
        return unitwise(given[0], ("x", "y"))[:-1]

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return zeros and ones."""
        return ((values[0] > 0.0).astype(np.int64),)


@MACS.register(Threshold)
def _macs(_: Threshold, __: Sequence[Spec]) -> int:
    return 0


@MARGIN.register(Threshold)
def _margin(_: Threshold, x: Array) -> Array:
    return 2.0 * np.abs(x)  # as if each were a choice between x and -x


@TORCH.register(Threshold)
def _torch(_: Threshold, __: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return ((x > 0.0).long(),)


@ONNX.register(Threshold)
def _onnx(_: Threshold, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    return (writer.add("Cast", [writer.add("Greater", [x, writer.constant(0.0)])], to=_INT64),)


@C.register(Threshold)
def _c(_: Threshold, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    y = writer.numbers(1)
    writer.each(y, f"{x.text}[i] > 0.0f ? 1.0f : 0.0f")
    return (y,)


@TWIN.register(Threshold)
def _twin(_: Threshold, x: Float32) -> tuple[Float32, ...]:
    return ((x > 0.0).astype(np.float32),)
