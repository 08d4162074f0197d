"""The larger of two values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.lifting import Lifted, Traced, from_function
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, of_one_shape, register_op, unitwise
from prunekit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class Maximum:
    """max(a, b), of one shape."""

    inputs: ClassVar[tuple[str, ...]] = ("a", "b")
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec of the inputs."""
        return of_one_shape(given)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple a, b and y unit by unit."""
        return unitwise(given[0], ("a", "b", "y"))

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        return (np.maximum(values[0], values[1]),)


@MACS.register(Maximum)
def _macs(_: Maximum, __: Sequence[Spec]) -> int:
    return 0


@TORCH.register(Maximum)
def _torch(_: Maximum, __: Mapping[str, Tensor], a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    return (torch.maximum(a, b),)


@ONNX.register(Maximum)
def _onnx(_: Maximum, writer: OnnxWriter, a: str, b: str) -> tuple[str, ...]:
    return (writer.add("Max", [a, b]),)


@C.register(Maximum)
def _c(_: Maximum, writer: CWriter, a: CValue, b: CValue) -> tuple[CValue, ...]:
    y = writer.over(a, b)
    writer.each(y, f"{a.text}[i] >= {b.text}[i] ? {a.text}[i] : {b.text}[i]")
    return (y,)


@TWIN.register(Maximum)
def _twin(_: Maximum, a: Float32, b: Float32) -> tuple[Float32, ...]:
    return (np.where(a >= b, a, b),)


@from_function(lambda: (torch.maximum, "maximum"))
def _function(a: object, b: object) -> Lifted | None:
    if not (isinstance(a, Traced) and isinstance(b, Traced)):
        return None
    return Lifted(op=Maximum(), inputs=(a, b))
