"""Elementary functions that no activation is: what foreign files are made of where nothing better is recognised."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from prunekit.errors import InputError
from prunekit.graph.forms import MACS, ONNX, TORCH
from prunekit.graph.lifting import Lifted, Traced, from_function
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, register_op, require_floats, unitwise

_erf = np.frompyfunc(math.erf, 1, 1)
_POLE = {"log", "reciprocal"}  # not finite at zero


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class Elementary:
    """The function ``kind``, element by element; ``exponent`` is that of "pow" alone.

    NaN and infinite where the function is. Where it is not finite at zero, its units are not pruned.
    """

    kind: str
    exponent: float = 1.0
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def __post_init__(self) -> None:
        if self.kind not in _FUNCTIONS:
            raise InputError(f"'{self.kind}' is no known function; there are {', '.join(_FUNCTIONS)}")

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec that comes in."""
        require_floats(given)
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Each unit by itself, where zero makes a number."""
        pole = self.kind in _POLE or (self.kind == "pow" and self.exponent < 0.0)
        return () if pole else unitwise(given[0], ("x", "y"))

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        (x,) = values
        with np.errstate(all="ignore"):
            y = np.power(x, self.exponent) if self.kind == "pow" else _FUNCTIONS[self.kind](x)
        return (np.asarray(y, x.dtype),)


_FUNCTIONS: dict[str, Callable[[Array], Any]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "square": np.square,
    "reciprocal": np.reciprocal,
    "abs": np.abs,
    "sin": np.sin,
    "cos": np.cos,
    "erf": _erf,
    "pow": np.positive,
}


@MACS.register(Elementary)
def _macs(_: Elementary, __: Sequence[Spec]) -> int:
    return 0


@TORCH.register(Elementary)
def _torch(op: Elementary, _: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    if op.kind == "pow":
        return (x**op.exponent,)
    function: Callable[[Tensor], Tensor] = getattr(torch, op.kind)
    return (function(x),)


@ONNX.register(Elementary)
def _onnx(op: Elementary, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    if op.kind == "square":
        return (writer.add("Mul", [x, x]),)
    if op.kind == "pow":
        return (writer.add("Pow", [x, writer.constant(op.exponent)]),)
    return (writer.add(op.kind.capitalize(), [x]),)


def _function(kind: str) -> None:
    @from_function(getattr(torch, kind), kind)
    def _(x: Traced) -> Lifted:
        return Lifted(op=Elementary(kind=kind), inputs=(x,))


for _kind in _FUNCTIONS.keys() - {"pow"}:
    _function(_kind)
