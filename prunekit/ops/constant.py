"""A value that is always the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import KNOWN, MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, like, register_op, require_floats

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Constant:
    """``value`` for any x, from which only the batch size is taken."""

    value: Array
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the shape of ``value``."""
        require_floats(given)
        if not self.value.ndim:
            raise InputError("the constant must be a vector, not a single number")
        return (Spec(self.value.shape),)

    def couplings(self, _: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Return no couplings."""
        return ()

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        return (np.repeat(like(self.value, values[0])[None], len(values[0]), axis=0),)


@KNOWN.register(Constant)
def _known(op: Constant, _: Array) -> tuple[Array, ...]:
    return (op.value[None].astype(np.float64),)


@MACS.register(Constant)
def _macs(_: Constant, __: Sequence[Spec]) -> int:
    return 0


@TORCH.register(Constant)
def _torch(_: Constant, constants: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    value = constants["value"]
    return (value.expand(len(x), *value.shape),)


@ONNX.register(Constant)
def _onnx(op: Constant, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    limits = [writer.constant([value]) for value in (0, 1)]
    batch = writer.add("Slice", [writer.add("Shape", [x]), *limits])
    sizes = writer.add("Concat", [batch, writer.constant(list(op.value.shape))], axis=0)
    return (writer.add("Expand", [writer.constant(op.value), sizes]),)


@C.register(Constant)
def _c(op: Constant, writer: CWriter, _: CValue) -> tuple[CValue, ...]:
    y, value = writer.make(), writer.constant("value", op.value)
    writer.each(y, writer.load(value))
    return (y,)


@TWIN.register(Constant)
def _twin(op: Constant, x: Float32) -> tuple[Float32, ...]:
    return (np.repeat(op.value[None], len(x), axis=0),)
