"""Logarithms of probabilities from logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.graph.c.functions import decay, decay_c, log, log_c, sum_in_order
from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.lifting import Lifted, Traced, from_function, from_module, is_last
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, register_op, require_floats, unitwise
from prunekit.lazy import functional, nn, torch

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class LogSoftmax:
    """x - log(sum(exp(x))) over the last axis. Its units are not pruned, because zeros would change the sum."""

    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec of the input."""
        require_floats(given)
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple all axes except the last."""
        return unitwise(given[0], ("x", "y"))[:-1]

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        (x,) = values
        lower = x - x.max(axis=-1, keepdims=True)
        return (lower - np.log(np.exp(lower).sum(axis=-1, keepdims=True)),)


@MACS.register(LogSoftmax)
def _macs(_: LogSoftmax, __: Sequence[Spec]) -> int:
    return 0


@TORCH.register(LogSoftmax)
def _torch(_: LogSoftmax, __: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (torch.log_softmax(x, dim=-1),)


@ONNX.register(LogSoftmax)
def _onnx(_: LogSoftmax, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    return (writer.add("LogSoftmax", [x], axis=-1),)


@C.register(LogSoftmax)
def _c(_: LogSoftmax, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    writer.functions += [decay_c(writer.name), log_c(writer.name)]
    writer.loops.append(
        f"static void {writer.name}_log_softmax(const float *x, float *y, int count)\n{{\n"
        "    float sum = 0.0f, largest = x[0];\n    int i;\n"
        "    for (i = 1; i < count; ++i)\n        largest = x[i] > largest ? x[i] : largest;\n"
        f"    for (i = 0; i < count; ++i)\n        sum += {writer.name}_decay(x[i] - largest);\n"
        f"    sum = {writer.name}_log(sum);\n"
        "    for (i = 0; i < count; ++i)\n        y[i] = x[i] - largest - sum;\n}\n"
    )
    y = writer.over(x)
    writer.per_row(f"{writer.name}_log_softmax({{0}}, {{1}}, {x.width})", x, y)
    return (y,)


@TWIN.register(LogSoftmax)
def _twin(_: LogSoftmax, x: Float32) -> tuple[Float32, ...]:
    largest = x[..., :1]
    for index in range(1, x.shape[-1]):
        largest = np.where(x[..., index : index + 1] > largest, x[..., index : index + 1], largest)
    lower = x - largest
    return (lower - log(sum_in_order(decay(lower))),)


@from_module(lambda: (nn.LogSoftmax,))
def _module(module: nn.LogSoftmax, x: Traced) -> Lifted | None:
    return _function(x, module.dim)


@from_function(lambda: (torch.log_softmax, functional.log_softmax, "log_softmax"))
def _function(x: Traced, dim: int | None = None) -> Lifted | None:
    return Lifted(op=LogSoftmax(), inputs=(x,)) if is_last(dim, x) else None
