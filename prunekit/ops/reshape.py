"""Values in another shape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, final

from prunekit.errors import InputError
from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.integers import INTEGERS, Step
from prunekit.graph.lifting import Lifted, Traced, from_function
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, register_op, require_floats
from prunekit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class Reshape:
    """Reshapes [batch, ...] to [batch, *shape], in row-major order. Units are not traced through it, so they are not
    pruned.
    """

    shape: tuple[int, ...]
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return ``shape``; raises InputError if it has another number of values."""
        require_floats(given)
        if math.prod(self.shape) != math.prod(given[0].shape) or any(size < 1 for size in self.shape):
            raise InputError(f"{list(given[0].shape)} cannot be read as {list(self.shape)}")
        return (Spec(self.shape),)

    def couplings(self, _: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Return no couplings."""
        return ()

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        return (values[0].reshape(len(values[0]), *self.shape),)


@MACS.register(Reshape)
def _macs(_: Reshape, __: Sequence[Spec]) -> int:
    return 0


@INTEGERS.register(Reshape)
def _integers(_: Reshape) -> tuple[Step, ...]:
    return ()


@TORCH.register(Reshape)
def _torch(op: Reshape, _: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (x.reshape(len(x), *op.shape),)


@ONNX.register(Reshape)
def _onnx(op: Reshape, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    return (writer.add("Reshape", [x, writer.constant([-1, *op.shape])]),)


@C.register(Reshape)
def _c(_: Reshape, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    return (replace(x, spec=writer.made[0]),)


@TWIN.register(Reshape)
def _twin(op: Reshape, x: Float32) -> tuple[Float32, ...]:
    return (x.reshape(len(x), *op.shape),)


@from_function(lambda: (torch.reshape, "reshape", "view"))
def _function(x: Traced, *shape: object) -> Lifted | None:
    """Read shapes whose first size is -1 (the batch) and whose other sizes are numbers."""
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    batch, *others = sizes
    found = tuple(size for size in others if isinstance(size, int) and size > 0)
    if batch != -1 or len(found) != len(others) or not found:
        return None
    return Lifted(op=Reshape(shape=found), inputs=(x,))
