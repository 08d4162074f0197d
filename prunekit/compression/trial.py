"""The trial of what a search found: a confirmation at the smallest, and certificates, of a larger one if need be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, final

from prunekit.compression.budget import Budget
from prunekit.compression.candidates import MIN_PLAYED, Baseline, Candidate, CandidateSummary
from prunekit.compression.confirm import ConfirmationRun, dependable, larger_than, most_promising, smallest
from prunekit.compression.settings import CompressSettings
from prunekit.console import size_name
from prunekit.errors import FailedEpisodeError
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
    # Of the time for certificates, what the smallest leaves the larger one.
    reserved: float = 0.3
    # The levels of the smallest and of the larger one, together no more than ALPHA.
    alphas: tuple[float, float] = (0.03, 0.02)


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


def trial(
    points: Sequence[Candidate],
    baseline: Baseline,
    players: Players,
    settings: CompressSettings,
    budget: Budget,
    displays: Sequence[CompressDisplay],
    noted: Callable[[str], object] = lambda _: None,
    shares: TrialShares = TrialShares(),
) -> list[tuple[Candidate, Certificate]]:
    """Return the networks that were tested, with their certificates, the one that was certified last.

    The smallest that is good again in its confirmation is tested first. If it fails, the smallest of the larger ones
    that promise enough follows. Where none is good twice, the most promising of those that were once is tested, and
    where none was, the best of all. A single good one is tested as it is. A network under which the environment fails
    is not tested; where that is all of them, the best gets a certificate that says so. ``noted`` is told of those.
    """
    search, claim = settings.search, claim_of(settings, baseline)
    tested: list[Candidate] = []
    ends: list[Callable[[], bool]] = []
    failed = {id(point): point.failure for point in points if point.failure}

    def failing(point: Candidate, failure: str) -> None:
        failed[id(point)] = failure
        noted(f"hidden {size_name(point.hidden)} was skipped: {failure}")

    def sound() -> list[Candidate]:
        return [point for point in points if id(point) not in failed]

    def looking(point: Candidate, episodes: int) -> None:
        for display in displays:
            display.confirming(size_name(point.hidden), episodes)

    def progress(name: str, episodes: int) -> None:
        for display in displays:
            display.certifying(name, episodes)

    def look() -> ConfirmationRun:
        over = budget.after(shares.confirmation)
        seeds = search.confirmation_seeds
        return ConfirmationRun(
            returns_of=players.returns_of,
            teacher=players.teacher,
            random=players.random,
            seeds=seeds,
            keep=search.keep,
            enough=search.enough,
            clip_range=claim.clip_range,
            over=over,
            progress=looking,
            failing=failing,
        )

    def candidate(point: Candidate, share: float, time_left: float = 1.0) -> TestedPolicy:
        tested.append(point)
        ends.append(budget.after(time_left))
        failure = failed.get(id(point))
        play = players.returns_of(point) if failure is None else _fails(failure)
        return TestedPolicy(name=size_name(point.hidden), play=play, before=point.played, alpha=share)

    def candidates() -> Iterator[TestedPolicy]:
        good = [point for point in sound() if point.good]
        if len(good) == 1:  # whatever a confirmation says, there is no other
            yield candidate(good[0], ALPHA)
            return
        first, wanting = smallest(points, look())
        larger = larger_than(first, sound()) if first is not None else []
        if first is None:
            best = (
                most_promising(wanting, search.keep, claim.clip_range)
                if wanting
                else best_of(sound() or points, baseline)
            )
            yield candidate(best, ALPHA)
        elif not larger:
            yield candidate(first, ALPHA)
        else:
            yield candidate(first, shares.alphas[0], 1.0 - shares.reserved)
            second = dependable(larger, look())
            if second is not None:
                yield candidate(second, shares.alphas[1])

    found = certify(
        candidates(),
        players.teacher,
        players.random,
        claim,
        range(settings.first_seed, settings.first_seed + settings.episodes),
        progress,
        lambda index: ends[index](),
    )
    return list(zip(tested, found, strict=True))


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
