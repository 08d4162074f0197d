"""Plans: how much of the budget certificates should take. Searches set that aside, and trials choose by it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from prunekit.compression.budget import Budget
from prunekit.compression.candidates import Candidate, episodes_wanted
from prunekit.stats.betting import Paired
from prunekit.stats.clipping import ReturnRange
from prunekit.stats.frequency import faultless_episodes

# A certificate is planned with this multiple of the episodes that it should take, and with at least so many.
_MORE_EPISODES, _MIN_EPISODES = 1.6, 60
# The share of the largest reserve that caution alone may take.
_CAUTIOUS = 2.0 / 3.0
# The levels of the smallest network, and of a larger one if that fails; their sum is ALPHA at most.
ALPHAS = (0.03, 0.02)


@final
@dataclass(frozen=True, kw_only=True)
class Played:
    """So many ``episodes``, their environment ``steps``, and what they ``spent`` of the budget, in seconds or steps."""

    episodes: int
    steps: int
    spent: float


@final
@dataclass(frozen=True, kw_only=True)
class Pace:
    """What one episode of the ``teacher``, the ``random`` policy and a ``small`` network takes, in seconds or steps."""

    teacher: float
    random: float
    small: float

    @property
    def episode(self) -> float:
        """What one episode of each of the three policies takes together."""
        return self.teacher + self.random + self.small

    def slowed(self, factor: float) -> Pace:
        """Return the pace of a machine that is slower by this factor."""
        return Pace(teacher=self.teacher * factor, random=self.random * factor, small=self.small * factor)


def pace_of(teacher: Played, random: Played) -> Pace:
    """Return the pace, given what the ``teacher`` and the ``random`` policy played.

    A network that is worth a certificate should take as many steps as its teacher. Its answers take about as long as
    those of the random policy, so one of its steps takes as long as one of theirs, but no longer than the teacher's.
    """
    small = teacher.spent
    if random.steps:
        small = min(small, teacher.steps * random.spent / random.steps)
    count = teacher.episodes
    return Pace(teacher=teacher.spent / count, random=random.spent / random.episodes, small=small / count)


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """Plans certificates for ``keep``, with returns clipped to ``clip_range`` and at most ``episodes`` each.

    With ``max_failures`` a certificate has to show that too. A confirmation is planned with ``confirming`` episodes.
    """

    budget: Budget
    pace: Pace
    keep: float
    clip_range: ReturnRange
    episodes: int
    confirming: int
    max_failures: float | None = None

    @property
    def allows_two(self) -> bool:
        """Whether the episodes allowed are enough at each of the two levels."""
        return self._min_episodes(min(ALPHAS)) <= self.episodes

    def first(self, played: Paired, alpha: float = ALPHAS[0], *, cautious: bool = False) -> float:
        """Return what a first certificate should take; teacher and random policy have to play its episodes too.

        It is infinity if the certificate should need more episodes than are allowed. With ``cautious``, a network that
        has ``played`` few episodes is planned with more of them.
        """
        return self._needed(self.pace.episode, played, alpha, cautious=cautious)

    def second(self, played: Paired, alpha: float = ALPHAS[1]) -> float:
        """Return what a second certificate should take; teacher and random policy have played its episodes already."""
        return self._needed(self.pace.small, played, alpha)

    def fallback(self, larger: Iterable[Candidate]) -> float:
        """Return what confirming and certifying one of the ``larger`` networks should take, if the first one fails.

        The network is the one that should take the least; infinity if there is none.
        """
        min_needed = min((self.second(one.played) for one in larger), default=math.inf)
        return min_needed + self.pace.small * self.confirming

    def reserve(self, good: list[Candidate], maximum: float) -> float:
        """Return what confirmations and certificates of the ``good`` networks should take, at most ``maximum``.

        This counts the smallest network whose certificate fits, and a larger one in case the smallest fails. The
        plan is cautious, because the search can use what is left over, but a certificate that is cut short is worth
        nothing. Caution alone reserves at most two thirds of ``maximum``.
        """
        plain, cautious = (self._reserve(good, maximum, cautious=one) for one in (False, True))
        return max(plain, min(cautious, _CAUTIOUS * maximum))

    def _reserve(self, good: list[Candidate], maximum: float, *, cautious: bool) -> float:
        confirming = self.pace.episode * self.confirming
        for one in sorted(good, key=lambda one: (one.parameters, -one.retention)):
            needed = confirming + self.first(one.played, cautious=cautious)
            if needed <= maximum:
                fallback = self.fallback(larger_than(one, good))
                return min(needed + (fallback if math.isfinite(fallback) else 0.0), maximum)
        return maximum

    def _needed(self, episode: float, played: Paired, alpha: float, *, cautious: bool = False) -> float:
        wanted = max(
            episodes_wanted(played, self.keep, self.clip_range, alpha, cautious=cautious), self._min_episodes(alpha)
        )
        if wanted > self.episodes:
            return math.inf
        return episode * min(max(_MORE_EPISODES * wanted, _MIN_EPISODES), self.episodes)

    def _min_episodes(self, alpha: float) -> int:
        return 0 if self.max_failures is None else faultless_episodes(self.max_failures, alpha)


def best_of_sizes(points: Iterable[Candidate], of_one_size: int = 1) -> list[Candidate]:
    """Return the best ``of_one_size`` of the good ``points`` of each size, the smallest first."""
    found: list[Candidate] = []
    good = (point for point in points if point.good and not point.failure)
    for point in sorted(good, key=lambda point: (point.parameters, -point.retention)):
        if sum(point.hidden == other.hidden for other in found) < of_one_size:
            found.append(point)
    return found


def larger_than(smaller: Candidate, points: Iterable[Candidate]) -> list[Candidate]:
    """Return the best of each size among the good ``points`` that have more parameters than ``smaller``."""
    return [point for point in best_of_sizes(points) if point.parameters > smaller.parameters]
