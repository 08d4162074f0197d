"""Values scaled to length one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.functions import root, root_c, sum_in_order
from prunekit.graph.c.literals import LARGEST, Float32, c_float
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import KNOWN, MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.lifting import Lifted, Traced, from_function, is_last
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, register_op, require_floats, unitwise
from prunekit.lazy import functional

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class L2Norm:
    """x / max(|x|, epsilon), where |x| is the Euclidean length over the last axis."""

    epsilon: float
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec of the input."""
        if not self.epsilon > 0.0:
            raise InputError(f"its epsilon must be positive, not {self.epsilon:g}")
        require_floats(given)
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple units across: all enter the length, and zeros do not change it."""
        return unitwise(given[0], ("x", "y"), across=True)

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        (x,) = values
        return (x / np.maximum(np.sqrt((x * x).sum(axis=-1, keepdims=True)), self.epsilon),)


@KNOWN.register(L2Norm)
def _known(_: L2Norm, x: Array) -> tuple[Array, ...]:
    return (np.where(x == 0.0, 0.0, np.nan),)


@MACS.register(L2Norm)
def _macs(_: L2Norm, __: Sequence[Spec]) -> int:
    return 0


@TORCH.register(L2Norm)
def _torch(op: L2Norm, _: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (functional.normalize(x, dim=-1, eps=op.epsilon),)


@ONNX.register(L2Norm)
def _onnx(op: L2Norm, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    length = writer.add("ReduceL2", [x], axes=[-1], keepdims=1)
    return (writer.add("Div", [x, writer.add("Max", [length, writer.constant(op.epsilon)])]),)


@C.register(L2Norm)
def _c(op: L2Norm, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    writer.functions.append(root_c(writer.name))
    writer.loops.append(
        f"static void {writer.name}_l2_norm(const float *x, float *y, float least, int count)\n{{\n"
        "    float sum = 0.0f, length;\n    int i;\n    for (i = 0; i < count; ++i)\n        sum += x[i] * x[i];\n"
        f"    length = {writer.name}_root(sum);\n    length = length > least ? length : least;\n"
        "    for (i = 0; i < count; ++i)\n        y[i] = x[i] / length;\n}\n"
    )
    y = writer.over(x)
    writer.per_row(f"{writer.name}_l2_norm({{0}}, {{1}}, {c_float(_minimum(op))}, {x.width})", x, y)
    return (y,)


@TWIN.register(L2Norm)
def _twin(op: L2Norm, x: Float32) -> tuple[Float32, ...]:
    length, minimum = root(sum_in_order(x * x)), np.float32(_minimum(op))
    return (np.asarray(x / np.where(length > minimum, length, minimum), np.float32),)


def _minimum(op: L2Norm) -> float:
    """Return epsilon for the C, where it must not be zero, to avoid a division by zero."""
    return min(max(op.epsilon, float(np.finfo(np.float32).tiny)), LARGEST)


@from_function(lambda: (functional.normalize,))
def _function(x: Traced, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Lifted | None:
    if p != 2.0 or not is_last(dim, x):
        return None
    return Lifted(op=L2Norm(epsilon=eps), inputs=(x,))
