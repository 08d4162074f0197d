"""Probabilities from logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.graph.c.functions import decay, decay_c, sum_in_order
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
class Softmax:
    """exp(x) / sum(exp(x)) over the last axis. Its units are not pruned, because zeros would change the sum."""

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
        powers = np.exp(x - x.max(axis=-1, keepdims=True))
        return (powers / powers.sum(axis=-1, keepdims=True),)


@MACS.register(Softmax)
def _macs(_: Softmax, __: Sequence[Spec]) -> int:
    return 0


@TORCH.register(Softmax)
def _torch(_: Softmax, __: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (torch.softmax(x, dim=-1),)


@ONNX.register(Softmax)
def _onnx(_: Softmax, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    return (writer.add("Softmax", [x], axis=-1),)


@C.register(Softmax)
def _c(_: Softmax, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    writer.functions.append(decay_c(writer.name))
    writer.loops.append(
        f"static void {writer.name}_softmax(const float *x, float *y, int count)\n{{\n"
        "    float sum = 0.0f, largest = x[0];\n    int i;\n"
        "    for (i = 1; i < count; ++i)\n        largest = x[i] > largest ? x[i] : largest;\n"
        f"    for (i = 0; i < count; ++i) {{\n        y[i] = {writer.name}_decay(x[i] - largest);\n"
        "        sum += y[i];\n    }\n    for (i = 0; i < count; ++i)\n        y[i] /= sum;\n}\n"
    )
    y = writer.over(x)
    writer.per_row(f"{writer.name}_softmax({{0}}, {{1}}, {x.width})", x, y)
    return (y,)


@TWIN.register(Softmax)
def _twin(_: Softmax, x: Float32) -> tuple[Float32, ...]:
    largest = x[..., :1]
    for index in range(1, x.shape[-1]):
        largest = np.where(x[..., index : index + 1] > largest, x[..., index : index + 1], largest)
    powers = decay(x - largest)
    return (powers / sum_in_order(powers),)


@from_module(lambda: (nn.Softmax,))
def _module(module: nn.Softmax, x: Traced) -> Lifted | None:
    return _function(x, module.dim)


@from_function(lambda: (torch.softmax, functional.softmax, "softmax"))
def _function(x: Traced, dim: int | None = None) -> Lifted | None:
    return Lifted(op=Softmax(), inputs=(x,)) if is_last(dim, x) else None
