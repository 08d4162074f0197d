"""The trial of what a search found: confirmations, and the certificates of at most two networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, final

from prunekit.compression.candidates import MIN_PLAYED, Baseline, Candidate, CandidateSummary
from prunekit.compression.confirm import ConfirmationRun, dependable, most_promising, promising, smallest
from prunekit.compression.planning import ALPHAS, Plan, best_of_sizes, larger_than
from prunekit.compression.settings import CompressSettings
from prunekit.console import size_name
from prunekit.errors import FailedEpisodeError
from prunekit.stats.betting import Paired
from prunekit.stats.certificate import Certificate
from prunekit.stats.certify import Candidate as TestedPolicy
from prunekit.stats.certify import Returns, certify
from prunekit.stats.claim import ALPHA, Claim
from prunekit.stats.clipping import range_of


@final
@dataclass(frozen=True, kw_only=True)
class TrialShares:
    """How a trial shares its time and its level between the smallest network and a larger one in case that it fails."""

    # Of what is left after the search, what a confirmation may take.
    confirmation: float = 0.4
    # The levels of the smallest and of the larger one, together no more than ALPHA.
    alphas: tuple[float, float] = ALPHAS


@final
@dataclass(frozen=True, kw_only=True)
class Players:
    """The returns of a network of the search, of the teacher and of the random policy, by an episode's seed."""

    returns_of: Callable[[Candidate], Returns]
    teacher: Returns
    random: Returns


class CompressDisplay(Protocol):
    """Shows a compression to somebody."""

    def started(self, dense: float, random: float) -> None:
        """Show the teacher's mean return and the random policy's."""

    def judged(self, points: Sequence[CandidateSummary]) -> None:
        """Show the networks judged so far."""

    def confirming(self, name: str, episodes: int) -> None:
        """Show that a size has played so many episodes of its confirmation."""

    def certifying(self, name: str, episodes: int) -> None:
        """Show that a size has played so many episodes of its certificate."""


@final
@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """What trials of one compression have in common. ``noted`` is told of networks that were skipped, and why."""

    baseline: Baseline
    players: Players
    settings: CompressSettings
    plan: Plan
    displays: Sequence[CompressDisplay] = ()
    noted: Callable[[str], object] = lambda _: None
    shares: TrialShares = TrialShares()


def trial(
    points: Sequence[Candidate], given: TrialSettings, *, another_follows: bool = False
) -> list[tuple[Candidate, Certificate]]:
    """Return the networks that were tested, with their certificates; a certified one is the last.

    - The smallest confirmed network is tested first. If it fails, a larger one that promises enough is tested.
    - If the budget is not enough for two, one network is tested: the smallest that promises about as much as any.
    - If none is confirmed, the most promising of the rejected ones is tested; if none was good, the best of all.
    - A network that is good alone is tested without a confirmation.
    - A network under which the environment fails is not tested. If it fails under all, the best one gets a certificate
      that says so.

    If ``another_follows``, a level is left for ``trial_of_smaller``, unless a second network was tested, or there was
    not enough for one.
    """
    run = _Trial(points, given)
    return run.of(run.first(given.shares.alphas[0] if another_follows else ALPHA), given.settings.first_seed)


def trial_of_smaller(
    than: Candidate, points: Sequence[Candidate], given: TrialSettings
) -> list[tuple[Candidate, Certificate]]:
    """Test the smallest confirmed one of ``points`` that is smaller ``than`` a certified network; [] if there is none.

    It is tested at the level that a trial of one network leaves, on episodes that the first trial did not use.
    """
    run = _Trial([point for point in points if point.parameters < than.parameters], given)
    return run.of(run.smaller(), given.settings.first_seed + given.settings.episodes)


@final
class _Trial:
    def __init__(self, points: Sequence[Candidate], given: TrialSettings) -> None:
        self._points, self._given = points, given
        self._search, self._claim = given.settings.search, claim_of(given.settings, given.baseline)
        self._plan, self._budget = given.plan, given.plan.budget
        self._tested: list[Candidate] = []
        self._ends: list[Callable[[], bool]] = []
        self._failed = {id(point): point.failure for point in points if point.failure}

    def of(self, candidates: Iterator[TestedPolicy], first_seed: int) -> list[tuple[Candidate, Certificate]]:
        """Return what comes of testing ``candidates``."""
        players, settings = self._given.players, self._given.settings
        found = certify(
            candidates,
            players.teacher,
            players.random,
            self._claim,
            range(first_seed, first_seed + settings.episodes),
            self._progress,
            lambda index: self._ends[index](),
        )
        return list(zip(self._tested, found, strict=True))

    def first(self, alpha: float) -> Iterator[TestedPolicy]:
        """Yield the first network to test and, if it fails, the second; ``alpha`` is the level of a single one."""
        shares, claim = self._given.shares, self._claim
        good = [point for point in self._sound() if point.good]
        if len(good) == 1:  # whatever a confirmation says, there is no other
            yield self._candidate(good[0], alpha)
            return
        first, wanting = smallest(self._points, self._look_at(good, alpha))
        if first is None:
            best = (
                most_promising(wanting, self._search.keep, claim.clip_range)
                if wanting
                else best_of(self._sound() or self._points, self._given.baseline)
            )
            yield self._candidate(best, alpha)
            return
        larger = larger_than(first, self._sound())
        fallback, left = self._plan.fallback(larger), self._budget.left
        if self._plan.first(first.played, shares.alphas[0]) + fallback > left:  # not enough for two
            found = promising([first, *larger], self._search.keep, claim.clip_range)
            level = ALPHA if larger else alpha  # nor is there enough for another trial
            yield self._candidate(
                next((one for one in found if self._plan.first(one.played, level) <= left), found[0]), level
            )
            return
        yield self._candidate(first, shares.alphas[0], 1.0 - fallback / left if left else 0.0)
        second = dependable(larger, self._look_at_second(larger)) if larger else None
        if second is not None:
            yield self._candidate(second, shares.alphas[1])

    def smaller(self) -> Iterator[TestedPolicy]:
        """Yield the smallest that is good twice, if there is one."""
        alpha = self._given.shares.alphas[1]
        first, _ = smallest(self._points, self._look_at(self._points, alpha))
        if first is not None:
            yield self._candidate(first, alpha)

    def _candidate(self, point: Candidate, alpha: float, time_left: float = 1.0) -> TestedPolicy:
        self._tested.append(point)
        self._ends.append(self._budget.after(time_left))
        failure = self._failed.get(id(point))
        play = self._given.players.returns_of(point) if failure is None else _fails(failure)
        return TestedPolicy(name=size_name(point.hidden), play=play, before=point.played, alpha=alpha)

    def _look_at(self, points: Sequence[Candidate], level: float) -> ConfirmationRun:
        """Return a confirmation of some of ``points`` that leaves the smallest that fits what its certificate needs."""
        needed = (self._plan.first(one.played, level) for one in best_of_sizes(points))
        min_needed = next((one for one in needed if one <= self._budget.left), math.inf)
        share = self._budget.after(self._given.shares.confirmation)
        return self._look(
            lambda: share() or self._budget.left <= min_needed, lambda played: self._plan.first(played, level)
        )

    def _look_at_second(self, points: Sequence[Candidate]) -> ConfirmationRun:
        """Return a confirmation of some of ``points`` for a certificate on episodes that their teacher has played."""
        level = self._given.shares.alphas[1]
        min_needed = min(self._plan.second(one.played, level) for one in points)
        return self._look(lambda: self._budget.left <= min_needed, lambda played: self._plan.second(played, level))

    def _look(self, over: Callable[[], bool], needed: Callable[[Paired], float]) -> ConfirmationRun:
        return ConfirmationRun(
            returns_of=self._given.players.returns_of,
            teacher=self._given.players.teacher,
            random=self._given.players.random,
            seeds=self._search.confirmation_seeds,
            keep=self._search.keep,
            enough=self._search.enough,
            clip_range=self._claim.clip_range,
            over=over,
            needed=needed,
            left=lambda: self._budget.left,
            progress=self._looking,
            failing=self._failing,
        )

    def _sound(self) -> list[Candidate]:
        return [point for point in self._points if id(point) not in self._failed]

    def _failing(self, point: Candidate, failure: str) -> None:
        self._failed[id(point)] = failure
        self._given.noted(f"hidden {size_name(point.hidden)} was skipped: {failure}")

    def _looking(self, point: Candidate, episodes: int) -> None:
        for display in self._given.displays:
            display.confirming(size_name(point.hidden), episodes)

    def _progress(self, name: str, episodes: int) -> None:
        for display in self._given.displays:
            display.certifying(name, episodes)


def claim_of(settings: CompressSettings, baseline: Baseline) -> Claim:
    """Return what is to be shown: the range is fixed by the settings, or by the selection's episodes."""
    clip_range = settings.clip_range or range_of(baseline.teacher, baseline.random)
    return Claim(
        keep=settings.search.keep,
        clip_range=clip_range,
        max_failures=settings.max_failures,
        under=settings.disturbance.condition,
    )


def best_of(points: Sequence[Candidate], baseline: Baseline) -> Candidate:
    """Return the point of the largest retention less a standard error, if possible of those that played enough.

    Of equals it is the smallest.
    """

    def surely(point: Candidate) -> float:
        kept = baseline.kept(point.played)
        return float(kept.mean() - kept.std() / math.sqrt(len(kept)))

    return max(points, key=lambda point: (len(point.played) >= MIN_PLAYED, surely(point), -point.parameters))


def _fails(failure: str) -> Returns:
    """Return what plays as the environment did under a network that it failed under."""

    def returns(_: int) -> float:
        raise FailedEpisodeError(failure)

    return returns
