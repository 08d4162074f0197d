"""A second look: what the search selected plays again, on episodes that nothing was selected on.

A search tries many networks on the same few episodes, so that the ones it calls good are good there partly by chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from prunekit.bench.betting import Paired
from prunekit.bench.stats import Array
from prunekit.compress.certify import Returns
from prunekit.compress.points import CLEARLY, Point

_LEAST_PLAYED = 10
# Of the networks at least so many times larger than the smallest, the best stands for the certificate too.
_LARGER = 1.2

Progress = Callable[[Point, int], None]
"""Called with a network and how many episodes it has played."""


def confirmed(
    points: Sequence[Point],
    returns_of: Callable[[Point], Returns],
    dense: Returns,
    random: Returns,
    seeds: Sequence[int],
    keep: float,
    margin: float,
    over: Callable[[], bool],
    progress: Progress = lambda *_: None,
) -> list[Point]:
    """Return the networks to certify: the smallest that keeps ``keep`` and ``margin``, and a larger, safe one.

    The good ones of ``points`` play ``seeds`` again, the smallest first, until one is good there too. When there is no
    time left, the smallest that was not found wanting stands for it. Empty where there is none.
    """
    good = sorted((point for point in points if point.good), key=lambda point: (point.parameters, -point.retention))
    for point in good:
        chosen = point
        if not over():
            seen = _second_look(point, returns_of(point), dense, random, seeds, keep, over, progress)
            wanted = keep + margin if len(seen) == len(seeds) else keep
            if seen.retention is None or seen.retention < wanted:
                continue
            chosen = replace(point, played=seen, retention=seen.retention)
        larger = [other for other in good if other.parameters >= _LARGER * point.parameters]
        safe = [max(larger, key=lambda other: other.retention)] if larger else []
        return [chosen, *safe]
    return []


def _second_look(
    point: Point,
    play: Returns,
    dense: Returns,
    random: Returns,
    seeds: Sequence[int],
    keep: float,
    over: Callable[[], bool],
    progress: Progress,
) -> Paired:
    """Return what ``point`` earned on ``seeds``, on the first of them where it clearly falls short, or time is over."""
    own: list[tuple[float, float, float]] = []
    for seed in seeds:
        own.append((play(seed), dense(seed), random(seed)))
        progress(point, len(own))
        if over() or (len(own) >= _LEAST_PLAYED and _short(_paired(own).differences(keep))):
            break
    return _paired(own)


def _short(differences: Array) -> bool:
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return float(differences.mean()) + CLEARLY * error < 0.0


def _paired(own: Sequence[tuple[float, float, float]]) -> Paired:
    return Paired(*np.asarray(own, np.float64).T)
