"""Anytime-valid bounds of a mean return, for every distribution of returns in a range.

The hypothesis is that the mean of returns in [low, high] is at most m. The gain of a bet, (x - m) / (m - low), is never
below -1 and has a mean of at most 0 if the hypothesis is true. The upper bound is the lower bound of mirrored returns.
Source: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prunekit.stats.bootstrap import Array
from prunekit.stats.clipping import ReturnRange
from prunekit.stats.mixtures import largest_refuted


def mean_lower_bound(returns: Sequence[float] | Array, clip_range: ReturnRange, alpha: float = 0.05) -> float:
    """Return a lower bound of the mean of returns that are clipped to ``clip_range``.

    ``returns`` [n] are in the order of the episodes. The bound is the largest of those after each episode. The
    probability that it is above the true mean is at most ``alpha``, for every rule of when to stop.

    >>> mean_lower_bound([1.0] * 100, ReturnRange(low=0.0, high=1.0)) > 0.96
    True
    """
    low = clip_range.low
    values = clip_range.clip(np.asarray(returns, np.float64)) - low
    return low + largest_refuted(lambda mean: values / mean - 1.0, 0.0, clip_range.width, alpha)


def mean_upper_bound(returns: Sequence[float] | Array, clip_range: ReturnRange, alpha: float = 0.05) -> float:
    """Return an upper bound of the mean of returns [n] that are clipped to ``clip_range``."""
    mirrored = ReturnRange(low=-clip_range.high, high=-clip_range.low)
    return -mean_lower_bound(-np.asarray(returns, np.float64), mirrored, alpha)
