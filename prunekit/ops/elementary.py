"""Elementary functions that are not activations; foreign files use them where no pattern is recognised."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.functions import ERF, cos, cos_c, erf_c, exp, exp_c, log, log_c, root, root_c, sin, sin_c
from prunekit.graph.c.literals import Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.lifting import Lifted, Traced, from_function
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, register_op, require_floats, unitwise
from prunekit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

_erf = np.frompyfunc(math.erf, 1, 1)
_POLE = {"log", "reciprocal"}  # not finite at zero


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class Elementary:
    """The function ``kind`` of every element; ``exponent`` applies only to "pow".

    The result is NaN or infinite where the function is. If it is not finite at zero, its units are not pruned.
    """

    kind: str
    exponent: float = 1.0
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def __post_init__(self) -> None:
        if self.kind not in _FUNCTIONS:
            raise InputError(f"'{self.kind}' is not a known function; choose one of {', '.join(_FUNCTIONS)}")

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec of the input."""
        require_floats(given)
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple each unit of y with the same unit of x, if the function is finite at zero."""
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


@C.register(Elementary)
def _c(op: Elementary, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    y, value, name = writer.over(x), f"{x.text}[i]", writer.name
    if op.kind == "pow" and _is_product(op.exponent):
        writer.each(y, " * ".join([value] * int(abs(op.exponent))))
        if op.exponent < 0.0:
            writer.each(y, f"1.0f / {y.text}[i]")
    elif op.kind == "pow":
        writer.functions += [log_c(name), exp_c(name)]
        writer.each(y, f"{name}_exp({writer.number(op.exponent, 'its exponent')} * {name}_log({value}))")
    elif op.kind in _CALLED:
        own, needed, _ = _CALLED[op.kind]
        writer.functions.append(needed(name))
        writer.each(y, f"{name}_{own}({value})")
    else:
        writer.each(y, _EXPRESSIONS[op.kind][0].replace("x", value))
    return (y,)


@TWIN.register(Elementary)
def _twin(op: Elementary, x: Float32) -> tuple[Float32, ...]:
    if op.kind != "pow":
        return ((_CALLED[op.kind][2] if op.kind in _CALLED else _EXPRESSIONS[op.kind][1])(x),)
    if not _is_product(op.exponent):
        return (exp(np.float32(op.exponent) * log(x)),)
    y = x
    for _ in range(1, int(abs(op.exponent))):
        y = y * x
    return (np.float32(1.0) / y if op.exponent < 0.0 else y,)


def _is_product(exponent: float) -> bool:
    return abs(exponent) in range(1, 9)


_CALLED: dict[str, tuple[str, Callable[[str], str], Callable[[Float32], Float32]]] = {
    "exp": ("exp", exp_c, exp),
    "log": ("log", log_c, log),
    "sqrt": ("root", root_c, root),
    "erf": ("erf", erf_c, ERF),
    "sin": ("sin", sin_c, sin),
    "cos": ("cos", cos_c, cos),
}
_EXPRESSIONS: dict[str, tuple[str, Callable[[Float32], Float32]]] = {
    "square": ("x * x", lambda x: x * x),
    "reciprocal": ("1.0f / x", lambda x: np.float32(1.0) / x),
    "abs": ("x < 0.0f ? -x : x", lambda x: np.where(x < 0.0, -x, x)),
}


def _function(kind: str) -> None:
    @from_function(lambda: (getattr(torch, kind), kind))
    def _(x: Traced) -> Lifted:
        return Lifted(op=Elementary(kind=kind), inputs=(x,))


for _kind in _FUNCTIONS.keys() - {"pow"}:
    _function(_kind)


@from_function(lambda: (operator.pow, torch.pow, "pow"))
def _pow(x: Traced, exponent: object) -> Lifted | None:
    if not isinstance(x, Traced) or not isinstance(exponent, int | float):
        return None
    op = Elementary(kind="square") if exponent == 2 else Elementary(kind="pow", exponent=float(exponent))
    return Lifted(op=op, inputs=(x,))
