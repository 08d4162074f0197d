"""All axes joined into one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, final

from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.integers import INTEGERS, Step
from prunekit.graph.lifting import Lifted, Result, Traced, from_function, from_module
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Axis, Coupling, Spec, register_op, require_floats
from prunekit.lazy import nn, torch

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class Flatten:
    """Reshapes [batch, ..., n] to [batch, all], in row-major order."""

    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return one axis."""
        require_floats(given)
        return (Spec((math.prod(given[0].shape),)),)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple units of the last axis with their copies in the result, one per entry of the other axes, which are not
        pruned.
        """
        return (Coupling((Axis("x"), Axis("y", blocks=math.prod(given[0].shape[:-1])))),)

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        return (values[0].reshape(len(values[0]), -1),)


@MACS.register(Flatten)
def _macs(_: Flatten, __: Sequence[Spec]) -> int:
    return 0


@INTEGERS.register(Flatten)
def _integers(_: Flatten) -> tuple[Step, ...]:
    return ()


@TORCH.register(Flatten)
def _torch(_: Flatten, __: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (x.flatten(1),)


@ONNX.register(Flatten)
def _onnx(_: Flatten, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    return (writer.add("Flatten", [x], axis=1),)


@C.register(Flatten)
def _c(_: Flatten, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    return (replace(x, spec=writer.made[0]),)


@TWIN.register(Flatten)
def _twin(_: Flatten, x: Float32) -> tuple[Float32, ...]:
    return (x.reshape(len(x), -1),)


@from_module(lambda: (nn.Flatten,))
def _module(module: nn.Flatten, x: Traced) -> Result:
    return _function(x, module.start_dim, module.end_dim)


@from_function(lambda: (torch.flatten, "flatten"))
def _function(x: Traced, start_dim: int = 0, end_dim: int = -1) -> Result:
    if start_dim != 1 or end_dim not in (-1, len(x.spec.shape)):
        return None
    return x if len(x.spec.shape) == 1 else Lifted(op=Flatten(), inputs=(x,))
