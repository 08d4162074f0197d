"""Forms of operators over axes: sums, means, norms, softmax, maxima."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from prunekit.errors import InputError
from prunekit.graph.op import Op
from prunekit.ops.elementary import Elementary
from prunekit.ops.log_softmax import LogSoftmax
from prunekit.ops.softmax import Softmax
from prunekit.readers.lowering import arithmetic as lowered
from prunekit.readers.lowering import layers
from prunekit.readers.torchscript.arithmetic import computed, pointwise, require_floats
from prunekit.readers.torchscript.symbols import Missing, Symbol
from prunekit.readers.torchscript.tracer import Call, form_of

Axes = Sequence[int] | int | None


def _axes(x: Symbol, axes: Axes) -> tuple[int, ...]:
    wanted = [axes] if isinstance(axes, int) else axes or None
    return layers.normal_axes(wanted, x.at.dim())


def _reduced(call: Call, x: Any, axes: Axes, keep: bool, kind: str) -> Symbol | None:
    if not isinstance(x, Symbol):
        return None
    found = _axes(x, axes)
    return computed(call, lambda build, data: layers.reduced(build, data, found, kind, keep=keep), x)


def spread(call: Call, x: Symbol, axes: Axes, op_of: Callable[[int], Op]) -> Symbol:
    """Apply an op over ``axes``, joined into one; ``op_of`` takes the number of values along it."""
    found = _axes(x, axes)
    return computed(call, lambda build, data: layers.over_axes(build, data, found, op_of), x)


@form_of("sum")
def _sum(call: Call, x: Any, axes: Axes = None, keep: bool = False, dtype: Any = None) -> Symbol | None:  # noqa: ARG001
    return _reduced(call, x, axes, keep, "sum")


@form_of("mean")
def _mean(call: Call, x: Any, axes: Axes = None, keep: bool = False, dtype: Any = None) -> Symbol | None:  # noqa: ARG001
    return _reduced(call, x, axes, keep, "mean")


@form_of("amax")
def _amax(call: Call, x: Any, axes: Axes = None, keep: bool = False) -> Symbol | None:
    return _reduced(call, x, axes, keep, "max")


@form_of("amin")
def _amin(call: Call, x: Any, axes: Axes = None, keep: bool = False) -> Symbol | None:
    made = _reduced(call, computed(call, lowered.multiplied, x, -1.0), axes, keep, "max")
    return None if made is None else computed(call, lowered.multiplied, made, -1.0)


@form_of("max", "min")
def _max(call: Call, x: Any, other: Any = None, keep: bool = False) -> Any:
    largest = call.building.doing == "max"
    if other is None:
        return (_amax if largest else _amin)(call, x)
    if isinstance(other, Symbol | Tensor):
        return computed(call, lowered.largest if largest else lowered.smallest, x, other)
    try:
        index: Any = _argmax(call, x, other, keep) if largest else Missing("uses the index of the smallest value")
    except InputError as error:
        index = Missing(str(error))
    return (_amax if largest else _amin)(call, x, other, keep), index


@form_of("norm", "linalg_vector_norm", "linalg_norm", "frobenius_norm")
def _norm(call: Call, x: Any, *rest: Any, **options: Any) -> Symbol | None:
    """Form of the Euclidean norm; the arguments are [order,] axes, keepdim, dtype."""
    values = list(rest) if call.building.doing != "frobenius_norm" else [2, *rest]
    defaults: list[Any] = [2, None, False]
    order, axes, keep = [*values[:3], *defaults[len(values[:3]) :]]
    order, axes, keep = options.get("ord", order), options.get("dim", axes), options.get("keepdim", keep)
    if order not in (None, 1, 2, "fro") or not isinstance(x, Symbol):
        return None
    if order == 1:
        return _reduced(call, pointwise(call, x, Elementary(kind="abs")), axes, keep, "sum")
    square = pointwise(call, x, Elementary(kind="square"))
    return pointwise(call, _reduced(call, square, axes, keep, "sum"), Elementary(kind="sqrt"))


@form_of("var", "std")
def _var(call: Call, x: Symbol, *rest: Any, correction: Any = None, keepdim: bool = False, **_: Any) -> Symbol | None:
    unbiased, keep = True, keepdim
    axes: Axes = None
    match rest:
        case [bool(unbiased)]:
            pass
        case [axes, unbiased, keep]:
            pass
        case [axes, unbiased]:
            pass
        case [axes]:
            pass
        case []:
            pass
        case _:
            return None
    count = math.prod(x.shape[axis] for axis in _axes(x, axes))
    free = count - (int(unbiased) if correction is None else correction)
    if free <= 0:
        return None
    mean = _reduced(call, x, axes, True, "mean")
    square = pointwise(call, computed(call, lowered.subtracted, x, mean), Elementary(kind="square"))
    if free == count:
        made = _reduced(call, square, axes, keep, "mean")
    else:
        made = computed(call, lowered.multiplied, _reduced(call, square, axes, keep, "sum"), 1.0 / free)
    return pointwise(call, made, Elementary(kind="sqrt")) if call.building.doing == "std" else made


@form_of("softmax")
def _softmax(call: Call, x: Symbol, axis: int, dtype: Any = None) -> Symbol:  # noqa: ARG001
    return spread(call, x, axis, lambda _: Softmax())


@form_of("log_softmax")
def _log_softmax(call: Call, x: Symbol, axis: int, dtype: Any = None) -> Symbol:  # noqa: ARG001
    return spread(call, x, axis, lambda _: LogSoftmax())


@form_of("logsumexp")
def _logsumexp(call: Call, x: Symbol, axes: Axes, keep: bool = False) -> Symbol | None:
    largest = _reduced(call, x, axes, True, "max")
    powers = pointwise(call, computed(call, lowered.subtracted, x, largest), Elementary(kind="exp"))
    total = pointwise(call, _reduced(call, powers, axes, keep, "sum"), Elementary(kind="log"))
    return computed(call, lowered.added, total, _reduced(call, x, axes, keep, "max"))


@form_of("argmax")
def _argmax(call: Call, x: Symbol, axis: int | None = None, keep: bool = False) -> Symbol | None:
    require_floats(call, x)
    axes = _axes(x, axis)
    others = [size for at, size in enumerate(x.shape) if at not in axes]
    if math.prod(others) != 1:
        raise call.refused(" of several rows, which a graph cannot express; only one action can be chosen")
    shape = [1 if at in axes else size for at, size in enumerate(x.shape) if keep or at not in axes]
    return call.building.index(call.building.data(x), 0, tuple(shape))
