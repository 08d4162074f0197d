"""One step of a GRU cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.functions import TANH, sigmoid, sigmoid_c, tanh_c
from prunekit.graph.c.layers import layer_in_float32
from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import FOLD, KNOWN, MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.lifting import Lifted, Traced, array_of, from_module, resized
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Axis, Coupling, Spec, like, register_op, require_floats
from prunekit.lazy import nn, torch

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class GRU:
    """after = (1 - z) * n + z * before, with r, z = sigmoid(...) and n = tanh(n_x + r * n_h).

    w_x [3 h, in], w_h [3 h, h], b_x and b_h [3 h], with the gates in torch's order r, z, n.
    """

    w_x: Array
    w_h: Array
    b_x: Array
    b_h: Array
    inputs: ClassVar[tuple[str, ...]] = ("x", "before")
    outputs: ClassVar[tuple[str, ...]] = ("after",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec of the state."""
        rows = len(self.w_h)
        fits = self.w_x.ndim == 2 and self.w_h.shape == (rows, rows // 3) and rows % 3 == 0
        if not fits or {len(self.w_x), *self.b_x.shape, *self.b_h.shape} != {rows}:
            raise InputError("its weights must be [3 h, in] and [3 h, h], its biases [3 h]")
        x, before = given
        require_floats([x], last=self.w_x.shape[1])
        require_floats([before], last=rows // 3)
        if x.shape[:-1] or before.shape[:-1]:
            raise InputError(
                "the GRU reads one vector per step, but gets a batch or a sequence; call it once for each step"
            )
        return (before,)

    def couplings(self, _: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple the three gates, which are three blocks of the same units, with the state that they also read."""
        rows = (Axis(name, 0, blocks=3) for name in ("w_x", "w_h", "b_x", "b_h"))
        units = Coupling((*rows, Axis("w_h", 1), Axis("before"), Axis("after")), across=True)
        return (Coupling((Axis("x"), Axis("w_x", 1))), units)

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return the next state."""
        x, before = values
        r_x, z_x, n_x = np.split(x @ like(self.w_x, x).T + like(self.b_x, x), 3, axis=-1)
        r_h, z_h, n_h = np.split(before @ like(self.w_h, x).T + like(self.b_h, x), 3, axis=-1)
        r, z = _sigmoid(r_x + r_h), _sigmoid(z_x + z_h)
        return ((1.0 - z) * np.tanh(n_x + r * n_h) + z * before,)


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x), x.dtype)


@KNOWN.register(GRU)
def _known(op: GRU, x: Array, before: Array) -> tuple[Array, ...]:
    vary_x, vary_h = np.isnan(x), np.isnan(before)
    (after,) = op.reference([np.where(vary_x, 0.0, x), np.where(vary_h, 0.0, before)])
    gates = vary_x @ (op.w_x != 0.0).T | vary_h @ (op.w_h != 0.0).T
    return (np.where(vary_h | np.logical_or.reduce(np.split(gates, 3, axis=-1)), np.nan, after),)


@FOLD.register(GRU)
def _fold(op: GRU, _: str, constants: Array) -> GRU:
    """Fold a constant input ``x`` only; a unit of the state is not constant unless it is zero."""
    bias = op.b_x.astype(np.float64) + op.w_x.astype(np.float64) @ constants
    return replace(op, b_x=bias.astype(op.b_x.dtype))


@MACS.register(GRU)
def _macs(op: GRU, _: Sequence[Spec]) -> int:
    return op.w_x.size + op.w_h.size


@TORCH.register(GRU)
def _torch(_: GRU, constants: Mapping[str, Tensor], x: Tensor, before: Tensor) -> tuple[Tensor, ...]:
    return (torch.gru_cell(x, before, *(constants[name] for name in ("w_x", "w_h", "b_x", "b_h"))),)


@ONNX.register(GRU)
def _onnx(op: GRU, writer: OnnxWriter, x: str, before: str) -> tuple[str, ...]:
    def gates(value: str, weight: Array, bias: Array) -> tuple[str, ...]:
        total = writer.add("Gemm", [value, writer.constant(weight), writer.constant(bias)], transB=1)
        return writer.add_several("Split", [total], 3, axis=-1)

    (r_x, z_x, n_x), (r_h, z_h, n_h) = gates(x, op.w_x, op.b_x), gates(before, op.w_h, op.b_h)
    r, z = (writer.add("Sigmoid", [writer.add("Add", pair)]) for pair in ((r_x, r_h), (z_x, z_h)))
    n = writer.add("Tanh", [writer.add("Add", [n_x, writer.add("Mul", [r, n_h])])])
    new = writer.add("Mul", [writer.add("Sub", [writer.constant(1.0), z]), n])
    return (writer.add("Add", [new, writer.add("Mul", [z, before])]),)


@C.register(GRU)
def _c(op: GRU, writer: CWriter, x: CValue, before: CValue) -> tuple[CValue, ...]:
    writer.functions += [tanh_c(writer.name), sigmoid_c(writer.name)]
    size, gates = before.size, Spec((3 * before.size,))
    read, held = writer.scratch(gates), writer.scratch(gates)
    writer.layer(x, read, op.w_x, op.b_x)
    writer.layer(before, held, op.w_h, op.b_h)
    y = writer.over(before)
    gate = "const float {} = {}_sigmoid({}[i + {}] + {}[i + {}]);"
    writer.add(f"    for (i = 0; i < {size}; ++i) {{")
    for called, start in (("r", 0), ("z", size)):
        writer.add(f"        {gate.format(called, writer.name, read.text, start, held.text, start)}")
    new = f"{writer.name}_tanh({read.text}[i + {2 * size}] + r * {held.text}[i + {2 * size}])"
    writer.add(f"        {y.text}[i] = (1.0f - z) * {new} + z * {before.text}[i];", "    }")
    return (y,)


@TWIN.register(GRU)
def _twin(op: GRU, x: Float32, before: Float32) -> tuple[Float32, ...]:
    r_x, z_x, n_x = np.split(layer_in_float32(x, op.w_x, op.b_x), 3, axis=-1)
    r_h, z_h, n_h = np.split(layer_in_float32(before, op.w_h, op.b_h), 3, axis=-1)
    r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
    return ((np.float32(1.0) - z) * TANH(n_x + r * n_h) + z * before,)


@from_module(lambda: (nn.GRUCell,))
def _module(module: nn.GRUCell, x: Traced, before: Traced) -> Lifted:
    w_x, w_h = array_of(module.weight_ih), array_of(module.weight_hh)
    zeros = np.zeros(len(w_h), w_h.dtype)
    b_x = array_of(module.bias_ih) if module.bias else zeros
    b_h = array_of(module.bias_hh) if module.bias else zeros
    attributes = {"w_x": "weight_ih", "w_h": "weight_hh", "b_x": "bias_ih", "b_h": "bias_hh"}
    return Lifted(op=GRU(w_x=w_x, w_h=w_h, b_x=b_x, b_h=b_h), inputs=(x, before), attributes=attributes)


@resized(lambda: (nn.GRUCell,))
def _resized(module: nn.GRUCell) -> nn.GRUCell:
    module.input_size, module.hidden_size = module.weight_ih.shape[1], module.weight_hh.shape[1]
    return module
