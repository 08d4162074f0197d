"""Anytime-valid bounds of retention, by betting.

Retention is at most rho exactly if d = small - rho * teacher - (1 - rho) * random, for one episode with the same seed
for all three, has a mean of at most 0. A bettor stakes a share of the capital on d > 0 before every episode, and never
more than can be lost. If the hypothesis is true, the capital gains nothing on average. The probability that it ever
reaches 1 / alpha is then at most alpha, for every distribution of returns (Ville 1939). A capital that reaches it
refutes rho.

The largest loss is known, because returns are first clipped to a range (``clipping.py``): no episode loses more than
the width of the range. A bootstrap clips nothing and is too optimistic if failures are rare, because it cannot know of
a failure that it has not seen. A bettor must survive it. Source: Waudby-Smith and Ramdas 2024, "Estimating means of
bounded random variables by betting".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from prunekit.errors import InputError
from prunekit.stats.bootstrap import Array
from prunekit.stats.clipping import ReturnRange
from prunekit.stats.level import log_of_refuting

# Stakes are chosen among these shares of the largest possible stake.
_SHARES = np.linspace(0.0, 0.99, 100)
_CAUTION = 0.3
_RESOLUTION = 1e-3
_ROUNDING = 1e-9


@final
@dataclass(frozen=True, kw_only=True)
class Paired:
    """Returns of the small policy, the teacher and the random policy on the same episode seeds, [n] each.

    Raises InputError if their numbers differ.
    """

    small: Array
    teacher: Array
    random: Array

    def __post_init__(self) -> None:
        if not len(self.small) == len(self.teacher) == len(self.random):
            raise InputError(
                f"every policy needs one return per episode, but there are {len(self.small)} of the "
                f"small one, {len(self.teacher)} of the teacher and {len(self.random)} of the random one"
            )

    def __len__(self) -> int:
        return len(self.small)

    def with_others(self, others: Paired) -> Paired:
        """Return these episodes and ``others``."""
        small, teacher, random = (
            np.concatenate(pair)
            for pair in ((self.small, others.small), (self.teacher, others.teacher), (self.random, others.random))
        )
        return Paired(small=small, teacher=teacher, random=random)

    def differences(self, rho: float) -> Array:
        """Return small - rho * teacher - (1 - rho) * random, [n]."""
        return np.asarray(self.small - rho * self.teacher - (1.0 - rho) * self.random)

    def clipped(self, clip_range: ReturnRange) -> Paired:
        """Return the same episodes with all returns clipped to ``clip_range``."""
        return Paired(
            small=clip_range.clip(self.small),
            teacher=clip_range.clip(self.teacher),
            random=clip_range.clip(self.random),
        )

    @property
    def retention(self) -> float | None:
        """(mean small - mean random) / (mean teacher - mean random); None if the teacher's mean is not above
        random's.
        """
        if len(self) == 0:
            return None
        gain = float((self.teacher - self.random).mean())
        return float((self.small - self.random).mean()) / gain if gain > 0.0 else None


NOTHING = Paired(small=np.zeros(0), teacher=np.zeros(0), random=np.zeros(0))
"""No episode at all."""


@final
class Bettor:
    """Bets against a retention of at most ``rho``, starting with a capital of 1.

    An episode loses at most ``width``, the width of the range to which returns are clipped. Each stake is the one that
    would have earned most on ``before`` (clipped, from other seeds), on the episodes so far, and on a fraction of an
    episode that loses everything. It never depends on later episodes.
    """

    def __init__(self, rho: float, width: float, before: Paired) -> None:
        self._width = width
        self._earned = _CAUTION * np.log1p(-_SHARES) + _growth(before.differences(rho), width).sum(axis=0)
        self.log_capital = 0.0
        self.log_largest = 0.0

    def play(self, difference: float) -> None:
        """Bet on the difference of one episode; raises ValueError if it loses more than ``width``."""
        if not difference >= -self._width * (1.0 + _ROUNDING):
            raise ValueError(f"an episode lost {-difference:g} of at most {self._width:g}; clip the returns first")
        earned = np.log1p(difference / self._width * _SHARES)
        self.log_capital += float(earned[self._earned.argmax()])
        self.log_largest = max(self.log_largest, self.log_capital)
        self._earned += earned

    def refutes(self, alpha: float) -> bool:
        """Return whether the capital has ever reached 1 / ``alpha``: then retention is above ``rho``, at that level."""
        return self.log_largest >= log_of_refuting(alpha)


def growth(played: Paired, rho: float, clip_range: ReturnRange) -> float:
    """Return the logarithm of the capital that the best stake against ``rho`` would have earned, per episode.

    Returns are clipped to ``clip_range`` first.
    """
    return float(_growth(played.clipped(clip_range).differences(rho), clip_range.width).mean(axis=0).max())


def cautious_growth(played: Paired, rho: float, clip_range: ReturnRange) -> float:
    """Return the same for the stake that a bettor would choose next, which counts a fraction of a lost episode."""
    if len(played) == 0:
        return 0.0
    earned = _growth(played.clipped(clip_range).differences(rho), clip_range.width).sum(axis=0)
    return float((earned + _CAUTION * np.log1p(-_SHARES)).max()) / len(played)


def lower_bound(episodes: Paired, clip_range: ReturnRange, before: Paired, alpha: float = 0.05) -> float | None:
    """Return the largest retention (at most 1, to 0.001) that the episodes refute as an upper limit; None if not even
    0.

    All returns are clipped to ``clip_range`` first. The bound is found by bisection, because a smaller retention is
    easier to refute if the teacher beats the random policy.
    """
    own, known = episodes.clipped(clip_range), before.clipped(clip_range)

    def refuted(rho: float) -> bool:
        bettor = Bettor(rho, clip_range.width, known)
        for difference in own.differences(rho):
            bettor.play(float(difference))
        return bettor.refutes(alpha)

    if not refuted(0.0):
        return None
    low, high = 0, round(1.0 / _RESOLUTION)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if refuted(middle * _RESOLUTION) else (low, middle - 1)
    return round(low * _RESOLUTION, 3)


def upper_bound(episodes: Paired, clip_range: ReturnRange, before: Paired, alpha: float = 0.05) -> float | None:
    """Return the smallest retention (to 0.001) that the episodes refute as a lower limit; None if 1 is not refuted.

    It is found as in ``lower_bound``, with bets that the policy keeps less.
    """
    own, known = episodes.clipped(clip_range), before.clipped(clip_range)
    if not _missed(own, known, clip_range.width, 1.0, alpha):
        return None
    low, high = 0, round(1.0 / _RESOLUTION)
    while low < high:
        middle = (low + high) // 2
        if _missed(own, known, clip_range.width, middle * _RESOLUTION, alpha):
            high = middle
        else:
            low = middle + 1
    return round(high * _RESOLUTION, 3)


def is_missed(episodes: Paired, clip_range: ReturnRange, before: Paired, rho: float, alpha: float = 0.05) -> bool:
    """Return whether the hypothesis "retention is ``rho`` or more" is refuted at the level ``alpha``."""
    return _missed(episodes.clipped(clip_range), before.clipped(clip_range), clip_range.width, rho, alpha)


def _missed(own: Paired, known: Paired, width: float, rho: float, alpha: float) -> bool:
    bettor = Bettor(rho, width, Paired(small=-known.small, teacher=-known.teacher, random=-known.random))
    for difference in own.differences(rho):
        bettor.play(-float(difference))
    return bettor.refutes(alpha)


def _growth(differences: Array, width: float) -> Array:
    """Return the logarithm of the factor by which each stake multiplies the capital, [n, shares]."""
    return np.log1p(differences[:, None] / width * _SHARES)
