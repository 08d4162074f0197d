"""Values of the last axis in any order."""

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

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class Take:
    """The values at ``indices`` of the last axis, in any order and with repetitions; its units are not pruned.

    Use ``Slice`` for values that stay in order.
    """

    indices: tuple[int, ...]
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the shape with the number of taken values."""
        require_floats(given)
        size = given[0].shape[-1]
        if not self.indices or not all(type(index) is int and 0 <= index < size for index in self.indices):
            raise InputError(f"its indices must be from 0 to {size - 1}, at least one of them")
        return (Spec((*given[0].shape[:-1], len(self.indices))),)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple all axes except the last."""
        return unitwise(given[0], ("x", "y"))[:-1]

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        return (values[0][..., list(self.indices)],)


@MACS.register(Take)
def _macs(_: Take, __: Sequence[Spec]) -> int:
    return 0


@TORCH.register(Take)
def _torch(op: Take, _: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (x[..., list(op.indices)],)


@ONNX.register(Take)
def _onnx(op: Take, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    return (writer.add("Gather", [x, writer.constant(np.asarray(op.indices))], axis=-1),)


@C.register(Take)
def _c(op: Take, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    y, size = writer.make(), len(op.indices)
    for row in range(x.rows):
        for to, at in enumerate(op.indices):
            writer.add(f"    {y.text}[{row * size + to}] = {x.text}[{row * x.width + at}];")
    return (y,)


@TWIN.register(Take)
def _twin(op: Take, x: Float32) -> tuple[Float32, ...]:
    return (x[..., list(op.indices)],)
