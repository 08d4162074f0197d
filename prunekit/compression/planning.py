"""What a certificate should take of the budget, and whether there is so much: trials and searches plan with it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from prunekit.compression.budget import Budget
from prunekit.compression.candidates import Candidate, episodes_wanted
from prunekit.stats.betting import Paired
from prunekit.stats.clipping import ReturnRange

# A certificate is planned with so many times the episodes that it should take, and with so many at least.
_MORE_EPISODES, _MIN_EPISODES = 1.3, 60
# The levels of the smallest network and of a larger one in case that it fails, together no more than ALPHA.
ALPHAS = (0.03, 0.02)
# A larger network has at least so many times the parameters of the smallest.
_LARGER = 1.2


@final
@dataclass(frozen=True, kw_only=True)
class Pace:
    """What an episode of the ``teacher`` and of the ``random`` policy takes of the budget, in its unit.

    A network that is worth a certificate is taken to play for as long as its teacher.
    """

    teacher: float
    random: float

    @property
    def episode(self) -> float:
        """What an episode of all three policies takes."""
        return 2.0 * self.teacher + self.random

    def slowed(self, factor: float) -> Pace:
        """Return the pace of a machine that is slower by this factor."""
        return Pace(teacher=self.teacher * factor, random=self.random * factor)


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """How certificates are planned: ``keep`` with returns clipped to ``clip_range``, of ``episodes`` at most.

    A confirmation is planned with ``confirming`` episodes.
    """

    budget: Budget
    pace: Pace
    keep: float
    clip_range: ReturnRange
    episodes: int
    confirming: int

    def first(self, played: Paired, alpha: float = ALPHAS[0]) -> float:
        """Return what the first certificate should take, where teacher and random policy play along.

        It is infinity where more episodes should be needed than are allowed.
        """
        return self._needed(self.pace.episode, played, alpha)

    def second(self, played: Paired, alpha: float = ALPHAS[1]) -> float:
        """Return what a second certificate should take: its teacher and the random policy have played already."""
        return self._needed(self.pace.teacher, played, alpha)

    def fallback(self, first: Candidate, others: Iterable[Candidate]) -> float:
        """Return what a confirmation and a certificate of a larger network should take, if ``first`` fails.

        It is that of the one that should take least, infinity where there is none.
        """
        larger = larger_than(first, others)
        least = min((self.second(one.played) for one in larger), default=math.inf)
        return least + self.pace.teacher * self.confirming

    def reserve(self, good: list[Candidate], maximum: float) -> float:
        """Return what confirmations and certificates of the ``good`` networks should take, ``maximum`` at most.

        That is of the smallest for which there is so much, and of a larger one in case that it fails.
        """
        confirming = self.pace.episode * self.confirming
        for one in sorted(good, key=lambda one: (one.parameters, -one.retention)):
            needed = confirming + self.first(one.played)
            if needed <= maximum:
                fallback = self.fallback(one, good)
                return min(needed + (fallback if math.isfinite(fallback) else 0.0), maximum)
        return maximum

    def _needed(self, episode: float, played: Paired, alpha: float) -> float:
        wanted = episodes_wanted(played, self.keep, self.clip_range, alpha, cautious=False)
        if wanted > self.episodes:
            return math.inf
        return episode * min(max(_MORE_EPISODES * wanted, _MIN_EPISODES), self.episodes)


def best_of_sizes(points: Iterable[Candidate], of_one_size: int = 1) -> list[Candidate]:
    """Return the best of the good ``points`` of each size, ``of_one_size`` at most, the smallest first."""
    found: list[Candidate] = []
    good = (point for point in points if point.good and not point.failure)
    for point in sorted(good, key=lambda point: (point.parameters, -point.retention)):
        if sum(point.hidden == other.hidden for other in found) < of_one_size:
            found.append(point)
    return found


def larger_than(smaller: Candidate, points: Iterable[Candidate]) -> list[Candidate]:
    """Return the best of each size among the good ``points`` that is larger than ``smaller`` by more than a unit."""
    return [point for point in best_of_sizes(points) if point.parameters >= _LARGER * smaller.parameters]
