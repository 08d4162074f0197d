"""The range to which returns are clipped before a claim is made about their mean.

No test can bound the mean of unbounded returns: a crash that has not been seen yet may cost any amount. So a claim is
about returns clipped to a range that was fixed before the claim's episodes. How often returns are outside the range is
bounded separately (``frequency.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from prunekit.errors import InputError
from prunekit.stats.bootstrap import Array

# The margin on both sides, relative to the width of the returns.
_MARGIN = 0.1
# Ends of a range are rounded outward to a step of about the width divided by this.
_STEPS = 100
# Returns count as equal if their width is below this share of their size, or below this number.
_SAME, _NOTHING = 1e-9, 1e-200


@final
@dataclass(frozen=True, kw_only=True)
class ReturnRange:
    """A range to which returns are clipped, [low, high]; raises InputError unless both are finite and low < high."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InputError(
                f"`clip_range` must be two finite numbers, the smaller one first, got {self.low:g},{self.high:g}"
            )
        if not math.isfinite(self.width):
            raise InputError(
                f"`clip_range` {self.low:g},{self.high:g} is too wide for floating-point numbers; give a narrower one"
            )

    @property
    def width(self) -> float:
        """The largest difference between two clipped returns: high - low."""
        return self.high - self.low

    def clip(self, returns: Array) -> Array:
        """Return ``returns`` (any shape) clipped to the range.

        Raises InputError if one is NaN, which cannot be clipped.
        """
        if np.isnan(returns).any():
            raise InputError(
                "a return is not a number (NaN), so no bound can be given; find out why, and leave no episode out"
            )
        return np.clip(returns, self.low, self.high)

    def to_json(self) -> list[float]:
        """Return [low, high]."""
        return [self.low, self.high]

    def __str__(self) -> str:
        return f"[{_short(self.low)}, {_short(self.high)}]"


def range_of(teacher: Sequence[float] | Array, random: Sequence[float] | Array) -> ReturnRange:
    """Return the range of all ``teacher`` and ``random`` returns, extended by a tenth of its width on both sides.

    The claim must not be tested on these returns. The ends are rounded outward to two or three digits of the width. If
    all returns are equal, the margin is a tenth of their size, and at least 0.1. Raises InputError if there are none,
    or if one is not finite.
    """
    seen = np.concatenate([np.asarray(teacher, np.float64), np.asarray(random, np.float64)])
    if not len(seen) or not np.isfinite(seen).all():
        raise InputError("a range needs at least one finite return; give it as `clip_range`")
    minimum, maximum = float(seen.min()), float(seen.max())
    size, width = max(abs(minimum), abs(maximum)), maximum - minimum
    if width <= max(_SAME * size, _NOTHING):
        width = max(1.0, size)
    step = 10.0 ** math.floor(math.log10(width / _STEPS))
    low, high = (
        math.floor((minimum - _MARGIN * width) / step) * step,
        math.ceil((maximum + _MARGIN * width) / step) * step,
    )
    digits = max(0, -math.floor(math.log10(step)))
    return ReturnRange(low=round(low, digits), high=round(high, digits))


def range_given(ends: Sequence[float]) -> ReturnRange:
    """Return the range of two numbers (low, high); raises InputError for anything else."""
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError):
        raise InputError(f"`clip_range` must be two numbers, as in (-100.0, 300.0), got {ends!r:.60}") from None
    return ReturnRange(low=low, high=high)


def parse_range(text: str) -> ReturnRange:
    """Return the range written as ``LOW,HIGH``; raises InputError for anything else."""
    parts = text.split(",")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        raise InputError(f"`clip_range` {text!r} is not a range; write it as in `clip_range`=-100,300") from None
    return ReturnRange(low=low, high=high)


def _short(value: float) -> str:
    return f"{value:.10g}"
