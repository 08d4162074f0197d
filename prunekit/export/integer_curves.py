"""Tables of functions: each stores the difference from max(x, 0), which integers compute exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from prunekit.errors import InputError
from prunekit.export.rounding import Bits, Float64, Integers
from prunekit.graph.integers import Curve

TABLE_SIZE = 256
"""Steps of a table: 16 bits interpolate between 257 values, 8 bits take the one in the middle of each step."""
# Beyond this number every function of a policy has reached its limit.
_FARTHEST = 2.0**20
_POINTS = 4_096


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class CurveTable:
    """The difference f(x) - max(x, 0) for |x| in [0, ``end``), in units of ``unit``.

    ``values`` (int64 [sides, 257 or 256]) has one row if the difference is zero for positive x, or ``even``. Otherwise
    it has a row for negative and one for positive x.
    """

    curve: Curve
    end: float
    unit: float
    even: bool
    values: Integers

    @property
    def sides(self) -> Literal["left", "even", "both"]:
        """The sides on which the difference is tabulated."""
        if len(self.values) == 2:
            return "both"
        return "even" if self.even else "left"


def max_of(bits: Bits) -> int:
    """Return the largest integer activation of ``bits``."""
    return 127 if bits == 8 else 32_767


def bend(curve: Curve, x: Float64) -> Float64:
    """Return ``curve`` of ``x`` minus max(x, 0)."""
    with np.errstate(all="ignore"):
        return np.asarray(curve.function(x) - np.maximum(x, 0.0), np.float64)


def end_of(curve: Curve, bits: Bits) -> float:
    """Return the |x| beyond which the difference stays within half an integer step of its limit, on both sides.

    Raises InputError for a function whose difference has no limit.
    """
    far = 16.0
    while far < _FARTHEST:
        sizes = np.linspace(0.0, far, _POINTS + 1)[1:]
        both = np.stack([bend(curve, -sizes), bend(curve, sizes)])
        off = np.abs(both - both[:, -1:]).max(axis=0)
        settled = off <= sizes / (2.0 * max_of(bits))
        if np.isfinite(both).all() and settled[_POINTS // 2 :].all():
            beyond = np.flatnonzero(~settled)
            return float(sizes[beyond[-1] + 1] if len(beyond) else sizes[0])
        far *= 2.0
    raise InputError(
        f"the activation '{curve.name}' has no integer form: far from 0 it is neither constant nor x plus a constant; "
        "export without `int8`"
    )


def table_of(curve: Curve, end: float, bits: Bits) -> CurveTable:
    """Return the table of ``curve`` up to ``end``, with the resolution of ``bits``."""
    places = np.arange(TABLE_SIZE + 1) if bits == 16 else np.arange(TABLE_SIZE) + 0.5
    sizes = np.asarray(places * (end / TABLE_SIZE), np.float64)
    both = np.stack([bend(curve, -sizes), bend(curve, sizes)])
    largest = float(np.abs(both).max())
    unit = (largest if largest > 0.0 else 1.0) / max_of(bits)
    values = np.floor(both / unit + 0.5).astype(np.int64)
    even = bool(np.abs(values[0] - values[1]).max() <= 1)  # the two are rounded by themselves
    if even or not values[1].any():
        values = values[:1]
    return CurveTable(curve=curve, end=end, unit=unit, even=even, values=values)
