"""A rectifier with a slope per unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.integers import INTEGERS, Bent, Step
from prunekit.graph.lifting import Lifted, Traced, array_of, from_module, resized
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, like, register_op, require_floats, require_vectors, unitwise
from prunekit.lazy import nn, torch

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PReLU:
    """x for x >= 0, otherwise slope * x; slope [n]."""

    slope: Array
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec of the input."""
        require_floats(given, last=require_vectors(slope=self.slope))
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple each unit of y with the same unit of x and its slope."""
        return unitwise(given[0], ("x", "y"), ("slope",))

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        (x,) = values
        return (np.where(x >= 0, x, like(self.slope, x) * x),)


@MACS.register(PReLU)
def _macs(_: PReLU, __: Sequence[Spec]) -> int:
    return 0


@INTEGERS.register(PReLU)
def _integers(op: PReLU) -> tuple[Step, ...]:
    return (Bent(slope=op.slope),)


@TORCH.register(PReLU)
def _torch(_: PReLU, constants: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (torch.where(x >= 0, x, constants["slope"] * x),)


@ONNX.register(PReLU)
def _onnx(op: PReLU, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    return (writer.add("PRelu", [x, writer.constant(op.slope)]),)


@C.register(PReLU)
def _c(op: PReLU, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    slope = writer.load(writer.constant("slope", op.slope), x.unit)
    y = writer.over(x)
    writer.each(y, f"{x.text}[i] >= 0.0f ? {x.text}[i] : {slope} * {x.text}[i]")
    return (y,)


@TWIN.register(PReLU)
def _twin(op: PReLU, x: Float32) -> tuple[Float32, ...]:
    return (np.where(x >= np.float32(0.0), x, op.slope * x),)


@from_module(lambda: (nn.PReLU,))
def _module(module: nn.PReLU, x: Traced) -> Lifted | None:
    slope, shape = array_of(module.weight), x.spec.shape
    if len(slope) == 1 and shape:
        attributes = {"slope": "weight"} if shape[-1] == 1 else {}  # one slope of all units is no slope per unit
        return Lifted(op=PReLU(slope=np.repeat(slope, shape[-1])), inputs=(x,), attributes=attributes)
    if len(shape) != 1:  # torch's slopes are per channel, which is the first axis
        return None
    return Lifted(op=PReLU(slope=slope), inputs=(x,), attributes={"slope": "weight"})


@resized(lambda: (nn.PReLU,))
def _resized(module: nn.PReLU) -> nn.PReLU:
    module.num_parameters = len(module.weight)
    return module
