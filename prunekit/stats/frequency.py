"""An anytime-valid upper bound of the probability of an event.

The hypothesis is that the event has a probability of p or more, and the bet is on a smaller probability s p. An episode
without the event multiplies the capital by (1 - s p) / (1 - p), one with it by s. If the hypothesis is true, the
capital gains nothing on average, so it ever reaches 1 / alpha with a probability of at most alpha (Ville 1939). A
capital that is split over several values of s at the start is a valid bet too. All p that it refutes are ruled out.
Source: Robbins 1970, "Statistical methods related to the law of the iterated logarithm", for mixtures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import final

import numpy as np

from prunekit.errors import InputError
from prunekit.stats.level import log_of_refuting
from prunekit.stats.mixtures import largest_log_capital, largest_refuted

# Most of the capital is on "never", so n episodes without an event rule out about 3 / n, as with a fixed number.
_SHARES = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
_CAPITAL = np.array([0.9, *[0.1 / 9] * 9])
_HALVINGS = 40


@final
class Frequency:
    """Counts the episodes ``played`` and the events that ``happened``, and bounds the probability of the event from
    above.

    Raises InputError for an ``alpha`` outside (0, 1).
    """

    def __init__(self, alpha: float) -> None:
        self._wanted = log_of_refuting(alpha)
        self._minimum = 1.0
        self._fell = False
        self.played = 0
        self.happened = 0

    def play(self, happened: bool) -> None:
        """Count one episode."""
        if happened and self._fell:  # the bound falls only without the event, so it is lowest here
            self._minimum = self.upper
        self._fell = not happened
        self.played += 1
        self.happened += happened

    @property
    def upper(self) -> float:
        """The upper bound. The probability that it is ever below the true probability is at most ``alpha``."""
        return min(self._minimum, _upper(self.played, self.happened, self._wanted))


def frequency(events: Iterable[bool], alpha: float) -> Frequency:
    """Return the ``Frequency`` after ``events``, one per episode, in order."""
    seen = Frequency(alpha)
    for event in events:
        seen.play(event)
    return seen


def share_upper_bound(events: Iterable[bool], alpha: float = 0.05) -> float:
    """Return an upper bound of the probability of an event, from ``events``, one per episode, in order.

    The probability that it is below the true value is at most ``alpha``, for every rule of when to stop.

    >>> share_upper_bound([False] * 100) < 0.0303
    True
    """
    return frequency(events, alpha).upper


def share_lower_bound(events: Iterable[bool], alpha: float = 0.05) -> float:
    """Return a lower bound of the probability of an event, from ``events``, one per episode, in order.

    It is the lower bound of the mean of numbers that are 1 with the event and 0 without it (``means.py``).
    """
    happened = np.asarray(list(events), np.float64)
    return largest_refuted(lambda share: happened / share - 1.0, 0.0, 1.0, alpha)


def is_exceeded(events: Iterable[bool], share: float, alpha: float = 0.05) -> bool:
    """Return whether the hypothesis "the event has a probability of at most ``share``" is refuted."""
    happened = np.asarray(list(events), np.float64)
    return largest_log_capital(happened / share - 1.0) >= log_of_refuting(alpha)


def faultless_episodes(share: float, alpha: float) -> int:
    """Return how many episodes without an event show that its share is at most ``share``.

    Raises InputError for a ``share`` or an ``alpha`` that is not between 0 and 1.
    """
    wanted = log_of_refuting(alpha)
    if not 0.0 < share < 1.0:
        raise InputError(f"the share of the episodes must lie between 0 and 1, got {share:g}")
    low, high = 0, math.ceil(math.log(alpha * float(_CAPITAL[0])) / math.log1p(-share))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _log_capital(share, middle, 0) >= wanted else (middle, high)
    return high


def _upper(played: int, happened: int, wanted: float) -> float:
    """Return the smallest probability that is ruled out after ``happened`` events in ``played`` episodes; 1 if none
    is.
    """
    low, high = 0.0, 1.0  # the capital grows with the share
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if _log_capital(middle, played, happened) >= wanted else (middle, high)
    return high


def _log_capital(share: float, played: int, happened: int) -> float:
    with np.errstate(divide="ignore"):
        each = happened * np.log(_SHARES) if happened else np.zeros(len(_SHARES))
    each = each + (played - happened) * (np.log1p(-_SHARES * share) - math.log1p(-share)) + np.log(_CAPITAL)
    maximum = float(each.max())
    return maximum + math.log(float(np.exp(each - maximum).sum()))
