"""Confirmation: networks that the search selected play again, on episodes that selected nothing.

A search tries many networks on the same few episodes, so the ones that look good there are good partly by chance.
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
# A certificate that should take at most so many episodes is cheap enough in any case.
_MAX_WANTED = 200
# Of the networks of the same widths, so many have a confirmation, the best ones in the selection.
_OF_ONE_SIZE = 2
# At most so many larger networks have a confirmation before one of them is chosen.
_RACING = 4
# A smaller network has to promise at least this share of what the most promising one does.
_NEARLY = 0.5

Progress = Callable[[Candidate, int], None]
"""Called with a network and how many episodes it has played."""


@final
@dataclass(frozen=True, kw_only=True)
class ConfirmationRun:
    """How to confirm: who plays on which seeds, what share of the gain to ``keep``, and when time is ``over``.

    ``needed`` returns what a certificate should take of the budget, given the episodes that a network has played;
    ``left`` returns what is left of the budget. ``failing`` is called with every network under which the environment
    fails, and the reason. A network that is clearly good after ``min_good`` episodes plays no more.
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
    """Return (the smallest of the good ``points`` that is confirmed, those that were rejected).

    A network is confirmed if it keeps ``enough`` on the new episodes too. If time is over, or there are no seeds, the
    smallest one of a size that was not rejected is returned without a confirmation, or None if there is none. A network
    is passed over if its certificate should take more than is left; if that is true of all, the most promising one is
    returned. Networks that were confirmed or rejected hold the episodes of both the selection and the confirmation. A
    network under which the environment fails is neither confirmed nor rejected.
    """
    rejected: list[Candidate] = []
    slow: list[Candidate] = []
    for point in best_of_sizes(points, _OF_ONE_SIZE):
        is_over = look.over() or not look.seeds
        if is_over and any(point.hidden == other.hidden for other in rejected):
            continue
        if not look.fits(point):
            slow.append(point)
            continue
        if is_over:
            return point, rejected
        seen = _again(point, look)
        if seen is None:
            continue
        played, complete = seen
        wanted = look.enough if complete else look.keep
        both = _together(point, played)
        if played.retention is None or played.retention < wanted:
            rejected.append(both)
        elif look.fits(both):
            return both, rejected
        else:
            slow.append(both)
    return (most_promising(slow, look.keep, look.clip_range) if slow else None), rejected


def dependable(points: Sequence[Candidate], look: ConfirmationRun, *, spare: float = 2.0) -> Candidate | None:
    """Return the one of ``points`` to test last: the smallest that is clearly good, or the largest if none is.

    The most promising network, the largest, and the smallest ones that promise half as much have a confirmation first,
    four in all; if they are fewer, the next largest do too. What a network promises is what the best bet on it would
    have earned per episode (``stats/betting.py``), with returns clipped to ``clip_range``; at half of that, a
    certificate should take twice as many episodes.

    A network is clearly good if it keeps ``keep`` even with two standard errors less, in its confirmation alone: the
    search chose it for its other episodes. Of these, the smallest that promises half as much as any is returned for
    which ``spare`` times what its certificate should take is left, or the most promising one if there is none. If no
    network is clearly good, episodes say too little, and the largest that kept ``keep`` is returned, which is most like
    its teacher. Returns None if the environment fails under all of them.
    """
    best = most_promising(points, look.keep, look.clip_range)
    others = sorted(points, key=lambda point: (-point.parameters, -point.retention))
    racing = [best]
    for point in (others[0], *promising(points, look.keep, look.clip_range), *others):
        if len(racing) < _RACING and all(point is not other for other in racing):
            racing.append(point)
    looked, clear = list[Candidate](), list[Candidate]()
    while racing and not look.over():
        point = racing.pop(0)
        seen = _again(point, look)
        if seen is None:
            continue
        looked.append(_together(point, seen[0]))
        gains = seen[0].differences(look.keep)
        if len(gains) > 1 and float(gains.mean()) > CLEARLY * float(gains.std(ddof=1)) / math.sqrt(len(gains)):
            clear.append(looked[-1])
    if not looked:
        return racing[0] if racing else None
    fitting = [point for point in clear if spare * look.needed(point.played) <= look.left()]
    if fitting:
        return promising(fitting, look.keep, look.clip_range)[0]
    hopeful = [point for point in looked if point.retention >= look.keep]
    if clear or not hopeful:
        return most_promising(clear or looked, look.keep, look.clip_range)
    return max(hopeful, key=lambda point: (point.parameters, point.retention))


def most_promising(points: Sequence[Candidate], keep: float, clip_range: ReturnRange) -> Candidate:
    """Return the one of ``points`` on which the best bet would have earned most, or that kept most if none earns."""
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
    """Return ``point`` with the episodes ``seen`` in its confirmation added to those of the selection."""
    both = point.played.with_others(seen)
    assert both.retention is not None  # the selection's episodes show a teacher that is better than random
    return replace(point, played=both, retention=both.retention)


def _again(point: Candidate, look: ConfirmationRun) -> tuple[Paired, bool] | None:
    """Return (what ``point`` earned on the seeds, whether that is all that was needed).

    It stops early if ``point`` clearly falls short or time is over. Seeds on which the environment fails under the
    teacher or the random policy are left out. Returns None if the environment fails under ``point``.
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
    """Return whether the new episodes alone show a good network, and all of them a certificate of few episodes."""
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
