"""A fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.layers import layer_in_float32
from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import FOLD, KNOWN, MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.integers import INTEGERS, AffineStep, Step
from prunekit.graph.lifting import Lifted, Traced, array_of, from_function, from_module, resized
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Axis, Coupling, Spec, like, register_op, require_floats
from prunekit.lazy import functional, nn, torch

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Affine:
    """y = x @ weight.T + bias over the last axis; weight [out, in] (row-major), bias [out]."""

    weight: Array
    bias: Array
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return [..., out] for [..., in]."""
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise InputError(
                f"a weight {list(self.weight.shape)} and a bias {list(self.bias.shape)} do not fit together"
            )
        require_floats(given, last=self.weight.shape[1])
        return (Spec((*given[0].shape[:-1], self.weight.shape[0])),)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple columns of the weight with the input's units, and rows and biases with the output's."""
        before = (Coupling((Axis("x", k), Axis("y", k))) for k in range(len(given[0].shape) - 1))
        read = Coupling((Axis("x"), Axis("weight", 1)))
        return (*before, read, Coupling((Axis("weight", 0), Axis("bias", 0), Axis("y"))))

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        (x,) = values
        return (x @ like(self.weight, x).T + like(self.bias, x),)


@KNOWN.register(Affine)
def _known(op: Affine, x: Array) -> tuple[Array, ...]:
    varies = np.isnan(x)
    y = op.reference([np.where(varies, 0.0, x)])[0]
    return (np.where(varies @ (op.weight != 0.0).T, np.nan, y),)


@FOLD.register(Affine)
def _fold(op: Affine, _: str, constants: Array) -> Affine:
    bias = op.bias.astype(np.float64) + op.weight.astype(np.float64) @ constants
    return replace(op, bias=bias.astype(op.bias.dtype))


@MACS.register(Affine)
def _macs(op: Affine, given: Sequence[Spec]) -> int:
    return op.weight.size * math.prod(given[0].shape[:-1])


@INTEGERS.register(Affine)
def _integers(op: Affine) -> tuple[Step, ...]:
    return (AffineStep(weight=op.weight, bias=op.bias),)


@TORCH.register(Affine)
def _torch(_: Affine, constants: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (functional.linear(x, constants["weight"], constants["bias"]),)


@ONNX.register(Affine)
def _onnx(op: Affine, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    if len(writer.specs[x].shape) == 1:
        return (writer.add("Gemm", [x, writer.constant(op.weight), writer.constant(op.bias)], transB=1),)
    product = writer.add("MatMul", [x, writer.constant(op.weight.T)])
    return (writer.add("Add", [product, writer.constant(op.bias)]),)


@C.register(Affine)
def _c(op: Affine, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    y = writer.make()
    writer.layer(x, y, op.weight, op.bias)
    return (y,)


@TWIN.register(Affine)
def _twin(op: Affine, x: Float32) -> tuple[Float32, ...]:
    return (layer_in_float32(x, op.weight, op.bias),)


@from_module(lambda: (nn.Linear,))
def _linear(module: nn.Linear, x: Traced) -> Lifted:
    weight = array_of(module.weight)
    bias = np.zeros(len(weight), weight.dtype) if module.bias is None else array_of(module.bias)
    op = Affine(weight=weight, bias=bias)
    return Lifted(op=op, inputs=(x,), attributes={"weight": "weight", "bias": "bias"})


@from_function(lambda: (functional.linear,))
def _function(x: Traced, weight: object, bias: object = None) -> Lifted | None:
    if not isinstance(weight, torch.Tensor) or not isinstance(bias, torch.Tensor | None) or weight.dim() != 2:
        return None
    matrix = array_of(weight)
    return Lifted(
        op=Affine(weight=matrix, bias=np.zeros(len(matrix), matrix.dtype) if bias is None else array_of(bias)),
        inputs=(x,),
    )


@resized(lambda: (nn.Linear,))
def _resized(module: nn.Linear) -> nn.Linear:
    module.out_features, module.in_features = module.weight.shape
    return module
