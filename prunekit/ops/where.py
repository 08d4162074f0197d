"""One of two values, by the sign of a third."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.literals import Float32
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
class Where:
    """a where x > 0 (``strict``) or x >= 0, otherwise b; all of one shape."""

    strict: bool
    inputs: ClassVar[tuple[str, ...]] = ("x", "a", "b")
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec of the inputs."""
        require_floats(given)
        if len(set(given)) > 1:
            raise InputError(f"it takes values of one shape, not {', '.join(str(list(spec.shape)) for spec in given)}")
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple all inputs and y unit by unit."""
        return unitwise(given[0], ("x", "a", "b", "y"))

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        x, a, b = values
        chosen = np.where(x > 0 if self.strict else x >= 0, a, b)
        return (np.where(np.isnan(x), x, chosen),)


@MACS.register(Where)
def _macs(_: Where, __: Sequence[Spec]) -> int:
    return 0


@TORCH.register(Where)
def _torch(op: Where, _: Mapping[str, Tensor], x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    return (torch.where(x > 0 if op.strict else x >= 0, a, b),)


@ONNX.register(Where)
def _onnx(op: Where, writer: OnnxWriter, x: str, a: str, b: str) -> tuple[str, ...]:
    chosen = writer.add("Greater" if op.strict else "GreaterOrEqual", [x, writer.constant(0.0)])
    return (writer.add("Where", [chosen, a, b]),)


@C.register(Where)
def _c(op: Where, writer: CWriter, x: CValue, a: CValue, b: CValue) -> tuple[CValue, ...]:
    """Write the C form; b where x is NaN."""
    y = writer.over(x, a, b)
    sign = ">" if op.strict else ">="
    writer.each(y, f"{x.text}[i] {sign} 0.0f ? {a.text}[i] : {b.text}[i]")
    return (y,)


@TWIN.register(Where)
def _twin(op: Where, x: Float32, a: Float32, b: Float32) -> tuple[Float32, ...]:
    return (np.where(x > 0.0 if op.strict else x >= 0.0, a, b),)
