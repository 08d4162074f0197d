"""A confirmation: what the search selected plays again, on episodes that nothing was selected on.

A search tries many networks on the same few episodes, so that the ones it calls good are good there partly by chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from prunekit.compression.candidates import CLEARLY, Candidate, episodes_wanted
from prunekit.compression.planning import best_of_sizes
from prunekit.errors import FailedEpisodeError
from prunekit.stats.betting import Paired, growth
from prunekit.stats.bootstrap import Array
from prunekit.stats.certify import Returns
from prunekit.stats.clipping import ReturnRange

_MIN_PLAYED = 10
# A certificate that should take no more episodes than so many is had in any case.
_MAX_WANTED = 200
# Networks of the same widths that have a confirmation, the best in the selection.
_OF_ONE_SIZE = 2
# So many larger networks have a confirmation before one of them stands for the certificate.
_RACING = 4
# Of what the most promising network promises, what a smaller one has to.
_NEARLY = 0.5

Progress = Callable[[Candidate, int], None]
"""Called with a network and how many episodes it has played."""


@final
@dataclass(frozen=True, kw_only=True)
class ConfirmationRun:
    """How to look again: who plays on which seeds, what is to be kept, and when it is ``over``.

    ``needed`` says what of the budget a certificate should take, by what a network played, of what is ``left`` then.
    ``failing`` is told of every network under which the environment fails, and how. After ``min_good`` episodes that
    leave no doubt no more are played.
    """

    returns_of: Callable[[Candidate], Returns]
    teacher: Returns
    random: Returns
    seeds: Sequence[int]
    keep: float
    enough: float
    clip_range: ReturnRange
    over: Callable[[], bool]
    needed: Callable[[Paired], float] = lambda _: 0.0
    left: Callable[[], float] = lambda: math.inf
    progress: Progress = lambda *_: None
    failing: Callable[[Candidate, str], object] = lambda *_: None
    min_good: int = 20

    def fits(self, point: Candidate) -> bool:
        """Return whether a certificate of ``point`` should take no more than is left."""
        return self.needed(point.played) <= self.left()


def smallest(points: Sequence[Candidate], look: ConfirmationRun) -> tuple[Candidate | None, list[Candidate]]:
    """Return (the smallest of the good ``points`` that is good in its confirmation as well, those found wanting there).

    Good is to keep what is ``enough``. When there is no time left, the smallest of a size that was not found wanting
    stands for it; None where there is none. Likewise where a confirmation has no seeds. One whose certificate should
    take more than is left is passed over, for the sake of a larger one; where that is so of all of them, the most
    promising is returned. Those found wanting come with all their episodes. One under which the environment fails is
    neither.
    """
    wanting: list[Candidate] = []
    slow: list[Candidate] = []
    for point in best_of_sizes(points, _OF_ONE_SIZE):
        is_over = look.over() or not look.seeds
        if is_over and any(point.hidden == other.hidden for other in wanting):
            continue
        if not look.fits(point):
            slow.append(point)
            continue
        if is_over:
            return point, wanting
        seen = _again(point, look)
        if seen is None:
            continue
        played, complete = seen
        wanted = look.enough if complete else look.keep
        if played.retention is not None and played.retention >= wanted:
            confirmed = replace(point, played=played, retention=played.retention)
            if look.fits(confirmed):
                return confirmed, wanting
            slow.append(confirmed)
        else:
            wanting.append(_together(point, played))
    return (most_promising(slow, look.keep, look.clip_range) if slow else None), wanting


def dependable(points: Sequence[Candidate], look: ConfirmationRun) -> Candidate | None:
    """Return the smallest of ``points`` that promises at least half as much as the most promising one.

    None where the environment fails under all that have a confirmation.

    What a network promises is what the best bet would have earned per episode (``stats/betting.py``), returns being
    clipped to ``clip_range``: half of it, and a certificate should take twice the episodes. It is reckoned from the
    selection's episodes and, of the most promising one and the smallest beside it, from a confirmation as well. One
    whose certificate should then take more than is left is taken only where that is so of all.
    """
    best = most_promising(points, look.keep, look.clip_range)
    beside = [point for point in promising(points, look.keep, look.clip_range) if point is not best]
    racing = [best, *beside[: _RACING - 1]]
    looked: list[Candidate] = []
    while racing and not look.over():
        point = racing.pop(0)
        seen = _again(point, look)
        if seen is not None:
            looked.append(_together(point, seen[0]))
    if looked:
        fitting = [point for point in looked if look.fits(point)]
        return promising(fitting or looked, look.keep, look.clip_range)[0]
    return racing[0] if racing else None


def most_promising(points: Sequence[Candidate], keep: float, clip_range: ReturnRange) -> Candidate:
    """Return that of ``points`` on which the best bet would have earned most; where none earns, that kept most."""
    return max(points, key=lambda point: (growth(point.played, keep, clip_range), point.retention))


def promising(points: Sequence[Candidate], keep: float, clip_range: ReturnRange) -> list[Candidate]:
    """Return those of ``points`` that promise at least half as much as the most promising, the smallest first."""
    best = most_promising(points, keep, clip_range)
    maximum = growth(best.played, keep, clip_range)
    if maximum <= 0.0:
        return [best]
    found = [point for point in points if growth(point.played, keep, clip_range) >= _NEARLY * maximum]
    return sorted(found, key=lambda point: (point.parameters, -point.retention))


def _together(point: Candidate, seen: Paired) -> Candidate:
    """Return ``point`` with what it played when it was ``seen`` again."""
    pairs = zip(_parts(point.played), _parts(seen), strict=True)
    small, teacher, random = (np.concatenate(pair) for pair in pairs)
    both = Paired(small=small, teacher=teacher, random=random)
    assert both.retention is not None  # the selection's episodes show a teacher that is better than random
    return replace(point, played=both, retention=both.retention)


def _again(point: Candidate, look: ConfirmationRun) -> tuple[Paired, bool] | None:
    """Return (what ``point`` earned on the seeds, whether on all of them).

    It plays on the first of them only where it clearly falls short, or time is over. Seeds on which the environment
    fails under the teacher or the random policy are left out. None where it fails under ``point``.
    """
    play = look.returns_of(point)
    own: list[tuple[float, float, float]] = []
    for seed in look.seeds:
        try:
            large, none = look.teacher(seed), look.random(seed)
        except FailedEpisodeError:
            continue
        try:
            own.append((play(seed), large, none))
        except FailedEpisodeError as error:
            look.failing(point, str(error))
            return None
        look.progress(point, len(own))
        seen = _paired(own)
        if look.over() or (len(own) >= _MIN_PLAYED and _short(seen.differences(look.keep))):
            return seen, len(own) == len(look.seeds)
        if len(own) >= look.min_good and _sure(_together(point, seen).played, seen, look):
            return seen, True
    return _paired(own), True


def _sure(both: Paired, seen: Paired, look: ConfirmationRun) -> bool:
    """Return whether the new episodes alone say that it is good, and all together that a certificate takes few."""
    error = float(seen.differences(look.keep).std(ddof=1)) / math.sqrt(len(seen))
    gain = float((seen.teacher - seen.random).mean())
    good = gain > 0.0 and seen.retention is not None and seen.retention - error / gain >= look.enough
    return good and episodes_wanted(both, look.keep, look.clip_range) <= _MAX_WANTED


def _short(differences: Array) -> bool:
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return float(differences.mean()) + CLEARLY * error < 0.0


def _paired(own: Sequence[tuple[float, float, float]]) -> Paired:
    small, teacher, random = np.asarray(own, np.float64).reshape(-1, 3).T
    return Paired(small=small, teacher=teacher, random=random)


def _parts(played: Paired) -> tuple[Array, Array, Array]:
    return played.small, played.teacher, played.random
