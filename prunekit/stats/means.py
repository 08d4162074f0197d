"""Bounds of a mean return that hold for every distribution of returns and whenever one stops looking.

Against "the mean of returns in [low, high] is m at most" one bets on (x - m) / (m - low), which is never below -1 and
has a mean of at most 0 where that is true. The upper bound is the same of returns seen from the other end.
Source: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prunekit.stats.bootstrap import Array
from prunekit.stats.clipping import ReturnRange
from prunekit.stats.mixtures import largest_refuted


def mean_lower_bound(returns: Sequence[float] | Array, clip_range: ReturnRange, alpha: float = 0.05) -> float:
    """Return a one-sided lower bound of the mean of returns that are clipped to ``clip_range``.

    ``returns`` [n] are in the order of the episodes. The bound is the best of all moments; it is above the true mean
    with a probability of at most ``alpha``, however n was chosen.

    >>> mean_lower_bound([1.0] * 100, ReturnRange(low=0.0, high=1.0)) > 0.96
    True
    """
    low = clip_range.low
    values = clip_range.clip(np.asarray(returns, np.float64)) - low
    return low + largest_refuted(lambda mean: values / mean - 1.0, 0.0, clip_range.width, alpha)


def mean_upper_bound(returns: Sequence[float] | Array, clip_range: ReturnRange, alpha: float = 0.05) -> float:
    """Return a one-sided upper bound of the mean of returns [n] that are clipped to ``clip_range``."""
    mirrored = ReturnRange(low=-clip_range.high, high=-clip_range.low)
    return -mean_lower_bound(-np.asarray(returns, np.float64), mirrored, alpha)
