"""Bets with a capital that is split over several fixed stakes, and the bounds that they give.

If a hypothesis is true, every gain has a mean of at most 0 given the past, and no gain is below -1. A capital that
starts at 1 then ever reaches 1 / alpha with a probability of at most alpha (Ville 1939). Each part of the capital
stakes a fixed share of itself on every episode. A hypothesis that is easier to refute therefore always has at least as
much capital, and all refuted hypotheses are on one side of the bound. Source: Waudby-Smith and Ramdas 2024, "Estimating
means of bounded random variables by betting", for mixtures of bets.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from prunekit.stats.bootstrap import Array
from prunekit.stats.level import log_of_refuting

# Half of the capital assumes that nothing is ever lost; the rest covers returns of every spread.
_SHARES = np.array([1.0, 0.9, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05, 0.025])
_CAPITAL = np.array([0.5, *[0.5 / 9] * 9])
_HALVINGS = 40


def largest_log_capital(gains: Array) -> float:
    """Return the logarithm of the largest capital at any time from the first of ``gains`` [n] on, each at least -1."""
    if not len(gains):
        return 0.0
    with np.errstate(divide="ignore"):  # a part staked entirely on an episode that loses everything is gone
        each = np.log(_CAPITAL) + np.cumsum(np.log1p(np.maximum(gains, -1.0)[:, None] * _SHARES), axis=0)
    maximum = each.max(axis=1)
    return float((maximum + np.log(np.exp(each - maximum[:, None]).sum(axis=1))).max())


def largest_refuted(gains_against: Callable[[float], Array], low: float, high: float, alpha: float) -> float:
    """Return the largest value in [``low``, ``high``] that is refuted at the level ``alpha``; ``low`` if none is.

    ``gains_against`` gives the gains [n] of bets against "it is at most this value"; no gain may increase with the
    value. Raises InputError for an ``alpha`` outside (0, 1).
    """
    wanted = log_of_refuting(alpha)

    def refuted(value: float) -> bool:
        return largest_log_capital(gains_against(value)) >= wanted

    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
