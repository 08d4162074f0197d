"""The steps that the integer form of every op consists of.

A step that makes a value (a layer, a sum, a product, a norm) rescales it once to 16 bits, and then applies at most one
element-wise function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, final

from prunekit.graph.forms import Forms
from prunekit.graph.op import Array, Bools


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class AffineStep:
    """x @ weight.T + bias over the last axis; weight [out, in], bias [out]."""

    weight: Array
    bias: Array


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Scaled:
    """(x - mean) * scale + shift, each a number or an array over the last axis; it is folded into neighbouring
    weights.
    """

    mean: Array | float = 0.0
    scale: Array | float = 1.0
    shift: Array | float = 0.0


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Bent:
    """x for x >= 0 and slope * x below, clipped to [low, high]; the slope is a number or one per unit."""

    slope: Array | float = 1.0
    low: float = -math.inf
    high: float = math.inf


@final
@dataclass(frozen=True, kw_only=True)
class Squashed:
    """Tanh or the logistic function; both use the same table."""

    kind: Literal["tanh", "sigmoid"]


@final
@dataclass(frozen=True, kw_only=True)
class Quotient:
    """x / (1 + |x|)."""


@final
@dataclass(frozen=True, kw_only=True)
class Curve:
    """Any other function whose difference from max(x, 0) becomes constant on both sides; the difference is tabulated.

    Curves with the same ``name`` and ``numbers`` are the same function and share a table.
    """

    name: str
    numbers: tuple[float, ...] = ()
    function: Callable[[Array], Array] = field(compare=False)


@final
@dataclass(frozen=True, kw_only=True)
class Sum:
    """a + b."""


@final
@dataclass(frozen=True, kw_only=True)
class Product:
    """a * b."""


@final
@dataclass(frozen=True, kw_only=True)
class Joined:
    """All inputs concatenated along the last axis."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Picked:
    """The values at ``selected`` (bool [n]) along the last axis, in order."""

    selected: Bools


@final
@dataclass(frozen=True, kw_only=True)
class Normed:
    """(x - mean) / sqrt(variance + epsilon) over the last axis, with statistics over ``count`` values.

    If ``count`` exceeds the number of values, the missing ones count as zero. Without ``centred`` the mean is taken as
    0.
    """

    centred: bool
    epsilon: float
    count: int


Pointwise = Bent | Squashed | Quotient | Curve
Mixing = Sum | Product | Joined
"""What takes several values."""
Step = AffineStep | Scaled | Picked | Normed | Mixing | Pointwise

INTEGERS: Forms[tuple[Step, ...]] = Forms("integers")
"""(op) -> the steps that it is in integers, one after the other; none where values stay as they are.

An op of several inputs begins with a ``Mixing``, which takes them all.
"""
