"""The mean of the worst episodes (CVaR), and an anytime-valid lower bound of it.

CVaR at a share q is the mean of the worst share q of all returns. It is the maximum over c of c - E[max(c - x, 0)] / q
(Rockafellar and Uryasev 2000). The hypothesis that it is at most v therefore means E[q (c - v) - max(c - x, 0)] <= 0
for every c, which may even be chosen anew before every episode. The bet is on this value, divided by the largest loss
of an episode. The c that earns most is the quantile at q, which is estimated from the episodes so far. Sources:
Rockafellar and Uryasev 2000, "Optimization of conditional value-at-risk", for the formula; Waudby-Smith and Ramdas 2024
for the bets.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from prunekit.errors import InputError
from prunekit.stats.bootstrap import Array
from prunekit.stats.clipping import ReturnRange
from prunekit.stats.mixtures import largest_refuted

WORST = 0.1
"""The share of the episodes that are the worst ones."""
# The minimum number of episodes for the estimate of a quantile; before that nothing is staked.
_MIN_SEEN = 10


@final
@dataclass(frozen=True, kw_only=True)
class Tail:
    """The mean return of the worst ``share`` of episodes: its value in the episodes played (None without any), and a
    bound.
    """

    share: float
    estimate: float | None
    lower_bound: float


def cvar(returns: Sequence[float] | Array, share: float = WORST) -> float:
    """Return the mean of the worst ``share`` of ``returns`` [n]; the last of these episodes may count partially.

    Raises InputError for no returns, for NaN, and for a ``share`` outside (0, 1).

    >>> cvar([1.0, 2.0, 3.0, 4.0], 0.375)
    1.3333333333333333
    """
    values, count = np.sort(np.asarray(returns, np.float64)), _checked(share) * len(returns)
    if not len(values):
        raise InputError("there are no returns; at least one episode is needed")
    if np.isnan(values).any():
        raise InputError("a return is not a number (NaN), so it is not known which are the worst")
    whole = min(int(count), len(values) - 1)
    return float((values[:whole].sum() + (count - whole) * values[whole]) / count)


def cvar_lower_bound(
    returns: Sequence[float] | Array,
    clip_range: ReturnRange,
    share: float = WORST,
    alpha: float = 0.05,
    before: Sequence[float] | Array = (),
) -> float:
    """Return a lower bound of the mean of the worst ``share`` of returns that are clipped to ``clip_range``.

    ``returns`` [n] are in the order of the episodes. ``before`` are returns of other episodes, from which the first
    quantiles are estimated; without any, the first ten episodes are used only for that. The probability that the bound
    is above the true value is at most ``alpha``, for every rule of when to stop. Raises InputError for a ``share``
    outside (0, 1).
    """
    _checked(share)
    low = clip_range.low
    values = clip_range.clip(np.asarray(returns, np.float64)) - low
    ends = _quantiles(values, clip_range.clip(np.asarray(before, np.float64)) - low, share)
    values, ends = values[ends > 0.0], ends[ends > 0.0]

    def gains(value: float) -> Array:
        promised = share * (ends - value)
        return np.asarray((promised - np.maximum(ends - values, 0.0)) / (ends - promised))

    return low + largest_refuted(gains, 0.0, clip_range.width, alpha)


def tail_of(returns: Array, clip_range: ReturnRange, alpha: float = 0.05, before: Sequence[float] | Array = ()) -> Tail:
    """Return the ``Tail`` of the worst tenth of ``returns`` [n], clipped to ``clip_range``."""
    estimate = cvar(clip_range.clip(returns)) if len(returns) else None
    return Tail(share=WORST, estimate=estimate, lower_bound=cvar_lower_bound(returns, clip_range, WORST, alpha, before))


def _quantiles(values: Array, before: Array, share: float) -> Array:
    """Return, for each of ``values``, the quantile of the values before it; 0 if these are too few."""
    seen = sorted(before.tolist())
    found = []
    for value in values.tolist():
        found.append(seen[math.floor(share * len(seen))] if len(seen) >= _MIN_SEEN else 0.0)
        insort(seen, value)
    return np.asarray(found, np.float64)


def _checked(share: float) -> float:
    if not 0.0 < share < 1.0:
        raise InputError(f"the share of the worst episodes must lie between 0 and 1, got {share:g}")
    return share
