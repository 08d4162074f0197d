"""A lower bound of retention that holds whenever one stops looking: testing by betting.

Retention is at most rho exactly where d = small - rho * dense - (1 - rho) * random, of one episode with the same seed
for all three, has a mean of at most 0. Somebody who bets on d > 0, a share of the capital on every episode and never
more than can be lost, then gains nothing on average: the capital reaches 1 / alpha with a probability of at most alpha,
whatever the distribution of returns and however long the game (Ville 1939). A capital that gets there refutes rho.

This asks for one thing, that no episode loses more than ``span``. A bootstrap asks for nothing and promises too much
where failures are rare: it cannot know of one that it has not seen, while a bettor has to survive it.
Source: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from prunekit.bench.stats import Array

# Bets are chosen among these shares of the largest one that can be paid.
_SHARES = np.linspace(0.0, 0.99, 100)
_CAUTION = 0.3
_MARGIN = 0.1
_RESOLUTION = 1e-3


@final
@dataclass(frozen=True)
class Paired:
    """Returns of the small policy, the dense one and the random one for the same episode seeds, [n] each."""

    small: Array
    dense: Array
    random: Array

    def __len__(self) -> int:
        return len(self.small)

    def differences(self, rho: float) -> Array:
        """Return small - rho * dense - (1 - rho) * random, [n]."""
        return np.asarray(self.small - rho * self.dense - (1.0 - rho) * self.random)

    @property
    def retention(self) -> float | None:
        """(mean small - mean random) / (mean dense - mean random); None where the dense policy is no better."""
        if len(self) == 0:
            return None
        gain = float((self.dense - self.random).mean())
        return float((self.small - self.random).mean()) / gain if gain > 0.0 else None


def span_of(returns: Sequence[Array], margin: float = _MARGIN) -> float:
    """Return the width of the interval in which returns are taken to lie: that of ``returns``, a margin on both sides.

    Give everything that was seen before the episodes that are tested, bad policies too.
    """
    seen = np.concatenate([np.asarray(values, np.float64) for values in returns])
    return float((1.0 + 2.0 * margin) * (seen.max() - seen.min()))


@final
class Bettor:
    """Bets against a retention of at most ``rho``, with a capital of 1 to begin with.

    A bet is the one that would have earned most on ``before`` (other seeds), the episodes played so far, and a part of
    one on which all is lost. It never depends on what is still to come. An episode that loses more than ``span`` ends
    the game with nothing, whatever the capital was before: ``ruined``.
    """

    def __init__(self, rho: float, span: float, before: Paired) -> None:
        self._span = span
        self._earned = _CAUTION * np.log1p(-_SHARES) + _growth(before.differences(rho), span).sum(axis=0)
        self.log_capital = 0.0
        self.log_largest = 0.0
        self.ruined = False

    def play(self, difference: float) -> None:
        """Take in the difference of one episode."""
        earned = _growth(np.array([difference]), self._span)[0]
        self.ruined = self.ruined or difference < -self._span
        self.log_capital += -math.inf if self.ruined else float(earned[self._earned.argmax()])
        self.log_largest = max(self.log_largest, self.log_capital)
        self._earned += earned

    def refutes(self, alpha: float) -> bool:
        """Return whether the capital has ever been 1 / ``alpha``: retention is above rho, at that level."""
        return not self.ruined and self.log_largest >= -math.log(alpha)


def growth(played: Paired, rho: float, span: float) -> float:
    """Return how much the best bet against ``rho`` would have earned per episode: the logarithm of its capital."""
    return float(_growth(played.differences(rho), span).mean(axis=0).max())


def lower_bound(episodes: Paired, span: float, before: Paired, alpha: float = 0.05) -> float | None:
    """Return the largest retention that is refuted, to 0.001 and at most 1; None where not even 0 is.

    Found by halving, as a smaller retention is easier to refute wherever the dense policy beats the random one.
    """

    def refuted(rho: float) -> bool:
        bettor = Bettor(rho, span, before)
        for difference in episodes.differences(rho):
            bettor.play(float(difference))
        return bettor.refutes(alpha)

    if not refuted(0.0):
        return None
    low, high = 0, round(1.0 / _RESOLUTION)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if refuted(middle * _RESOLUTION) else (low, middle - 1)
    return round(low * _RESOLUTION, 3)


def _growth(differences: Array, span: float) -> Array:
    """Return the logarithm of what each bet multiplies the capital with, [n, shares]."""
    gains = differences[:, None] / span * _SHARES
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gains > -1.0, np.log1p(gains), -np.inf)
