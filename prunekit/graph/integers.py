"""What integers can do, as the few steps that every op's integer form is made of.

Whatever makes a value (a layer, a sum, a product, a norm) scales it once, to 16 bits, and passes it through at most one
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
    """(x - mean) * scale + shift, numbers or arrays over the last axis; it goes into the weights beside it."""

    mean: Array | float = 0.0
    scale: Array | float = 1.0
    shift: Array | float = 0.0


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Bent:
    """x, or slope * x where it is negative, held in [low, high]; the slope is a number or one per unit."""

    slope: Array | float = 1.0
    low: float = -math.inf
    high: float = math.inf


@final
@dataclass(frozen=True, kw_only=True)
class Squashed:
    """Tanh or the logistic function, off one table."""

    kind: Literal["tanh", "sigmoid"]


@final
@dataclass(frozen=True, kw_only=True)
class Quotient:
    """x / (1 + |x|)."""


@final
@dataclass(frozen=True, kw_only=True)
class Curve:
    """Any other function, whose difference from max(x, 0) settles on either side: that goes into a table.

    Curves of one ``name`` and ``numbers`` are one function and share their table.
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
    """All values that come in, side by side along the last axis."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Picked:
    """The values at ``selected`` (bool [n]) of the last axis, in order."""

    selected: Bools


@final
@dataclass(frozen=True, kw_only=True)
class Normed:
    """(x - mean) / sqrt(variance + epsilon) over the last axis, the statistics over ``count`` values.

    Without ``centred`` the mean counts as 0. Values beyond those that are there are zero.
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
