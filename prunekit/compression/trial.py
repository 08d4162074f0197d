"""The trial of what a search found: a second look at the smallest, and certificates, of a larger one if need be."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, final

from prunekit.compression.confirm import Look, dependable, larger_than, most_promising, smallest
from prunekit.compression.points import MIN_PLAYED, Baseline, Judged, Point
from prunekit.compression.settings import CompressSettings
from prunekit.console import size_name
from prunekit.errors import FailedEpisodeError
from prunekit.stats.certificate import Certificate
from prunekit.stats.certify import Candidate, Returns, certify
from prunekit.stats.claim import ALPHA, Claim
from prunekit.stats.clipping import range_of

# Of what is left after the search, the share that the second look may take.
_LOOKING = 0.4
# Shares of the level: of the smallest network, and of the larger one in case that it fails.
_SHARES = (0.03, 0.02)
# Of the time for certificates, what the smallest leaves the larger one.
_RESERVED = 0.3


@final
@dataclass(frozen=True, kw_only=True)
class Players:
    """The returns of a network of the search, of the teacher and of the random policy, by an episode's seed."""

    returns_of: Callable[[Point], Returns]
    teacher: Returns
    random: Returns


class CompressDisplay(Protocol):
    """Shows a compression to somebody."""

    def started(self, dense: float, random: float) -> None:
        """Show the teacher's mean return and the random policy's."""

    def judged(self, points: Sequence[Judged]) -> None:
        """Show the networks judged so far."""

    def confirming(self, name: str, episodes: int) -> None:
        """Show that a size has played so many episodes of its second look."""

    def certifying(self, name: str, episodes: int) -> None:
        """Show that a size has played so many episodes of its certificate."""


def trial(
    points: Sequence[Point],
    baseline: Baseline,
    players: Players,
    settings: CompressSettings,
    end: float,
    displays: Sequence[CompressDisplay],
    noted: Callable[[str], object] = lambda _: None,
) -> list[tuple[Point, Certificate]]:
    """Return the networks that were tested, with their certificates, the one that was certified last.

    The smallest that is good again in its second look is tested first. If it fails, the smallest of the larger ones
    that promise enough follows. Where none is good twice, the most promising of those that were once is tested, and
    where none was, the best of all. A network under which the environment fails is not tested; where that is all of
    them, the best gets a certificate that says so. ``noted`` is told of those. ``end`` is in terms of
    ``time.monotonic``.
    """
    search, claim = settings.search, claim_of(settings, baseline)
    tested: list[Point] = []
    deadlines: list[float] = []
    failed = {id(point): point.failure for point in points if point.failure}

    def failing(point: Point, failure: str) -> None:
        failed[id(point)] = failure
        noted(f"hidden {size_name(point.hidden)} was passed over: {failure}")

    def sound() -> list[Point]:
        return [point for point in points if id(point) not in failed]

    def looking(point: Point, episodes: int) -> None:
        for display in displays:
            display.confirming(size_name(point.hidden), episodes)

    def progress(name: str, episodes: int) -> None:
        for display in displays:
            display.certifying(name, episodes)

    def look() -> Look:
        looked = _after(_LOOKING, end)
        over = lambda: time.monotonic() > looked  # noqa: E731
        seeds = search.confirmation_seeds
        return Look(
            returns_of=players.returns_of,
            teacher=players.teacher,
            random=players.random,
            seeds=seeds,
            keep=search.keep,
            over=over,
            progress=looking,
            failing=failing,
        )

    def candidate(point: Point, share: float, deadline: float) -> Candidate:
        tested.append(point)
        deadlines.append(deadline)
        failure = failed.get(id(point))
        play = players.returns_of(point) if failure is None else _fails(failure)
        return Candidate(name=size_name(point.hidden), play=play, before=point.played, alpha=share)

    def candidates() -> Iterator[Candidate]:
        first, wanting = smallest(points, look(), search.enough)
        larger = larger_than(first, sound()) if first is not None else []
        if first is None:
            best = (
                most_promising(wanting, search.keep, claim.clip_range)
                if wanting
                else best_of(sound() or points, baseline)
            )
            yield candidate(best, ALPHA, end)
        elif not larger:
            yield candidate(first, ALPHA, end)
        else:
            yield candidate(first, _SHARES[0], _after(1.0 - _RESERVED, end))
            second = dependable(larger, look(), claim.clip_range)
            if second is not None:
                yield candidate(second, _SHARES[1], end)

    found = certify(
        candidates(),
        players.teacher,
        players.random,
        claim,
        range(settings.first_seed, settings.first_seed + settings.episodes),
        progress,
        lambda index: time.monotonic() > deadlines[index],
    )
    return list(zip(tested, found, strict=True))


def claim_of(settings: CompressSettings, baseline: Baseline) -> Claim:
    """Return what is to be shown: the range is fixed by the settings, or by the selection's episodes."""
    clip_range = settings.clip_range or range_of(baseline.teacher, baseline.random)
    return Claim(keep=settings.search.keep, clip_range=clip_range, max_failures=settings.max_failures)


def best_of(points: Sequence[Point], baseline: Baseline) -> Point:
    """Return the point of the largest retention less a standard error, if possible of those that played enough.

    Of equals it is the smallest.
    """

    def surely(point: Point) -> float:
        kept = baseline.kept(point.played)
        return float(kept.mean() - kept.std() / math.sqrt(len(kept)))

    return max(points, key=lambda point: (len(point.played) >= MIN_PLAYED, surely(point), -point.parameters))


def _fails(failure: str) -> Returns:
    """Return what plays as the environment did under a network that it failed under."""

    def returns(_: int) -> float:
        raise FailedEpisodeError(failure)

    return returns


def _after(share: float, end: float) -> float:
    """Return when so much of the time until ``end`` is over."""
    return time.monotonic() + share * max(end - time.monotonic(), 0.0)
