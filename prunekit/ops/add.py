"""A sum of two values, as in a residual connection."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.integers import INTEGERS, Step, Sum
from prunekit.graph.lifting import Lifted, Traced, from_function
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, of_one_shape, register_op, unitwise
from prunekit.lazy import torch
from prunekit.ops.scale_shift import scaled

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class Add:
    """a + b, of one shape."""

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
        return (values[0] + values[1],)


@MACS.register(Add)
def _macs(_: Add, __: Sequence[Spec]) -> int:
    return 0


@INTEGERS.register(Add)
def _integers(_: Add) -> tuple[Step, ...]:
    return (Sum(),)


@TORCH.register(Add)
def _torch(_: Add, __: Mapping[str, Tensor], a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    return (a + b,)


@ONNX.register(Add)
def _onnx(_: Add, writer: OnnxWriter, a: str, b: str) -> tuple[str, ...]:
    return (writer.add("Add", [a, b]),)


@C.register(Add)
def _c(_: Add, writer: CWriter, a: CValue, b: CValue) -> tuple[CValue, ...]:
    y = writer.over(a, b)
    writer.each(y, f"{a.text}[i] + {b.text}[i]")
    return (y,)


@TWIN.register(Add)
def _twin(_: Add, a: Float32, b: Float32) -> tuple[Float32, ...]:
    return (a + b,)


@from_function(lambda: (operator.add, operator.iadd, torch.add, "add"))
def _function(a: object, b: object) -> Lifted | None:
    if not (isinstance(a, Traced) and isinstance(b, Traced)):
        return scaled(a, 1.0, b) or scaled(b, 1.0, a)
    return Lifted(op=Add(), inputs=(a, b))
