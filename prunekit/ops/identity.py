"""A value under another name: the action of a policy without a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.integers import INTEGERS, Step
from prunekit.graph.lifting import Traced, from_function, from_module
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, register_op, unitwise
from prunekit.lazy import functional, nn

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class Identity:
    """y = x."""

    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec of the input."""
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple each unit of y with the same unit of x."""
        return unitwise(given[0], ("x", "y"))

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        return (values[0].copy(),)


@MACS.register(Identity)
def _macs(_: Identity, __: Sequence[Spec]) -> int:
    return 0


@INTEGERS.register(Identity)
def _integers(_: Identity) -> tuple[Step, ...]:
    return ()


@TORCH.register(Identity)
def _torch(_: Identity, __: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (x,)


@ONNX.register(Identity)
def _onnx(_: Identity, __: OnnxWriter, x: str) -> tuple[str, ...]:
    return (x,)


@C.register(Identity)
def _c(_: Identity, __: CWriter, x: CValue) -> tuple[CValue, ...]:
    return (x,)


@TWIN.register(Identity)
def _twin(_: Identity, x: Array) -> tuple[Array, ...]:
    return (x,)


@from_module(lambda: (nn.Identity, nn.Dropout))
def _module(_: nn.Module, x: Traced) -> Traced:
    return x


@from_function(lambda: (functional.dropout,))
def _function(x: Traced, p: float = 0.5, training: bool = True) -> Traced | None:  # noqa: ARG001
    return None if training else x
