"""Sums, products, bounds and conditional choices of two values, either of which may be a constant."""

from __future__ import annotations

import math

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.op import Array
from prunekit.ops.add import Add
from prunekit.ops.clip import Clip
from prunekit.ops.clip_to_bounds import ClipToBounds
from prunekit.ops.elementary import Elementary
from prunekit.ops.maximum import Maximum
from prunekit.ops.mul import Mul
from prunekit.ops.scale_shift import ScaleShift
from prunekit.ops.where import Where
from prunekit.readers.lowering.builder import Builder, broadcast_dims
from prunekit.readers.lowering.values import Data, Known, Truth

Floats = Known | Data


def scaled(build: Builder, x: Data, scale: Array | float, shift: Array | float = 0.0) -> Data:
    """Return x * scale + shift."""
    arrays = [np.asarray(scale, np.float64), np.asarray(shift, np.float64)]
    return build.per_value(x, arrays, lambda a, b: ScaleShift(scale=a, shift=b))


def added(build: Builder, a: Floats, b: Floats) -> Floats:
    """Return a + b."""
    if isinstance(a, Known) and isinstance(b, Known):
        return Known(array=a.array + b.array)
    if isinstance(a, Known):
        a, b = b, a
    assert isinstance(a, Data)
    return scaled(build, a, 1.0, b.array) if isinstance(b, Known) else build.together(Add(), a, b)


def subtracted(build: Builder, a: Floats, b: Floats) -> Floats:
    """Return a - b."""
    if isinstance(b, Known):
        return added(build, a, Known(array=-b.array))
    if isinstance(a, Known):
        return scaled(build, b, -1.0, a.array)
    return build.together(Add(), a, scaled(build, b, -1.0))


def multiplied(build: Builder, a: Floats, b: Floats) -> Floats:
    """Return a * b."""
    if isinstance(a, Known) and isinstance(b, Known):
        return Known(array=a.array * b.array)
    if isinstance(a, Known):
        a, b = b, a
    assert isinstance(a, Data)
    if isinstance(b, Known):
        return scaled(build, a, b.array)
    return powered(build, a, 2.0) if a == b else build.together(Mul(), a, b)


def divided(build: Builder, a: Floats, b: Floats) -> Floats:
    """Return a / b; raises InputError for a constant zero."""
    if isinstance(b, Known):
        if (b.array == 0).any():
            raise InputError("divides by zero; the policy is broken and cannot be used")
        return multiplied(build, a, Known(array=1.0 / b.array.astype(np.float64)))
    return multiplied(build, a, build.pointwise(Elementary(kind="reciprocal"), b))


def powered(build: Builder, x: Data, exponent: float) -> Data:
    """Return x to the power of ``exponent``."""
    if exponent == 1.0:
        return x
    kind = {2.0: "square", 0.5: "sqrt", -1.0: "reciprocal"}.get(exponent)
    if kind is not None:
        return build.pointwise(Elementary(kind=kind), x)
    if exponent in (-0.5, -2.0):
        return build.pointwise(Elementary(kind="reciprocal"), powered(build, x, -exponent))
    if exponent == 3.0:
        return build.together(Mul(), x, powered(build, x, 2.0))
    return build.pointwise(Elementary(kind="pow", exponent=exponent), x)


def largest(build: Builder, a: Floats, b: Floats) -> Floats:
    """Return max(a, b)."""
    if isinstance(a, Known) and isinstance(b, Known):
        return Known(array=np.maximum(a.array, b.array))
    if isinstance(a, Known):
        a, b = b, a
    assert isinstance(a, Data)
    return held(build, a, b.array, None) if isinstance(b, Known) else build.together(Maximum(), a, b)


def smallest(build: Builder, a: Floats, b: Floats) -> Floats:
    """Return min(a, b)."""
    if isinstance(a, Known) and isinstance(b, Known):
        return Known(array=np.minimum(a.array, b.array))
    if isinstance(a, Known):
        a, b = b, a
    assert isinstance(a, Data)
    if isinstance(b, Known):
        return held(build, a, None, b.array)
    return scaled(build, build.together(Maximum(), scaled(build, a, -1.0), scaled(build, b, -1.0)), -1.0)


def held(build: Builder, x: Data, low: Array | None, high: Array | None) -> Data:
    """Return x clipped to [low, high], each a number or an array. If ``high`` is below ``low``, the result is
    ``high``.
    """
    bounds = [-math.inf if low is None else low, math.inf if high is None else high]
    lower, upper = (np.asarray(bound, np.float64) for bound in bounds)
    if np.isnan(lower).any() or np.isnan(upper).any():
        raise InputError("has a bound that is NaN; the policy is broken and cannot be used")
    lower = np.minimum(lower, upper)
    if lower.size == 1 and upper.size == 1:
        x = build.broadcast(x, broadcast_dims(x.dims, lower.shape, upper.shape))
        return build.pointwise(Clip(low=float(lower.reshape(())), high=float(upper.reshape(()))), x)
    return build.per_value(x, [lower, upper], lambda a, b: ClipToBounds(low=tuple(a.tolist()), high=tuple(b.tolist())))


def chosen(build: Builder, condition: Known | Truth, a: Floats, b: Floats) -> Floats:
    """Return a where ``condition`` is true, and b elsewhere."""
    if isinstance(condition, Truth):
        whole = broadcast_dims(
            condition.of.dims, *(one.array.shape if isinstance(one, Known) else one.dims for one in (a, b))
        )
        first, second = (
            build.constant(np.broadcast_to(one.array, whole)) if isinstance(one, Known) else one for one in (a, b)
        )
        return build.together(Where(strict=condition.strict), condition.of, first, second)
    mask = condition.array.astype(bool)
    if isinstance(a, Known) and isinstance(b, Known):
        return Known(array=np.where(mask, a.array, b.array))
    dims = broadcast_dims(mask.shape, *(one.array.shape if isinstance(one, Known) else one.dims for one in (a, b)))
    if mask.all() or not mask.any():
        only = a if mask.all() else b
        return (
            Known(array=np.broadcast_to(only.array, dims)) if isinstance(only, Known) else build.broadcast(only, dims)
        )
    if isinstance(a, Data) and isinstance(b, Data):
        first, second = build.broadcast(a, dims), build.broadcast(b, dims)
        flat = [Data(name=one.name, dims=(math.prod(dims),)) for one in (first, second)]
        places = np.arange(math.prod(dims), dtype=np.int64).reshape(dims)
        return build.moved(build.concat(flat, 0), np.where(mask, places, places + places.size))
    if isinstance(a, Known):
        assert isinstance(b, Data)
        a, b, mask = b, a, ~mask
    assert isinstance(a, Data)
    assert isinstance(b, Known)
    return scaled(build, a, mask.astype(np.float64), np.where(mask, 0.0, b.array))


def as_number(build: Builder, value: Truth) -> Data:
    """Return 1 where ``value`` is true, and 0 elsewhere."""
    return build.data(chosen(build, value, Known(array=np.ones(1)), Known(array=np.zeros(1))))


def either(build: Builder, a: Truth, b: Truth) -> Truth:
    """Return the logical or of a and b."""
    first, second = (a.of, b.of) if a.strict == b.strict else (as_number(build, a), as_number(build, b))
    strict = a.strict if a.strict == b.strict else True
    return Truth(of=build.together(Maximum(), first, second), strict=strict)


def opposite(build: Builder, a: Truth) -> Truth:
    """Return the logical negation of a."""
    return Truth(of=scaled(build, a.of, -1.0), strict=not a.strict)
