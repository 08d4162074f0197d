"""The second look: good by luck on the selection's episodes is not good enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from prunekit.bench.betting import Paired
from prunekit.compress.confirm import confirmed
from prunekit.compress.points import Point
from prunekit.policy.actor import Actor
from prunekit.policy.heads import ClipHead

SEEDS = range(40)
NOISE = np.random.default_rng(0).normal(scale=3.0, size=len(SEEDS))


def point(parameters: int, retention: float, good: bool = True) -> Point:
    played = Paired(np.full(5, 100.0 * retention), np.full(5, 100.0), np.zeros(5))
    with torch.random.fork_rng(devices=[]):
        actor = Actor(nn.Sequential(nn.Linear(1, 1)), ClipHead((-1.0,), (1.0,)))
    return Point(actor, (parameters,), parameters, played, retention, good, False, 0, 0)


def looked(
    points: Sequence[Point], truths: dict[int, float], over: Callable[[], bool] = lambda: False
) -> tuple[list[Point], dict[int, int]]:
    """Return (what is to be certified, episodes of the second look by size), with true retentions as given."""
    episodes: dict[int, int] = {}

    def progress(found: Point, count: int) -> None:
        episodes[found.parameters] = count

    found = confirmed(
        points,
        lambda one: lambda seed: 100.0 * truths[one.parameters] + NOISE[seed],
        lambda _: 100.0,
        lambda _: 0.0,
        SEEDS,
        0.95,
        0.01,
        over,
        progress,
    )
    return found, episodes


def test_the_smallest_that_is_good_again_is_chosen_and_the_best_larger_one_beside_it() -> None:
    points = [point(10, 0.97), point(20, 0.97), point(30, 0.99), point(50, 1.0), point(80, 0.98), point(15, 0.5, False)]
    found, episodes = looked(points, {10: 0.8, 20: 0.99, 30: 1.0})
    assert [one.parameters for one in found] == [20, 50]
    assert found[0].retention == pytest.approx(0.99 + NOISE.mean() / 100.0)
    assert len(found[0].played) == len(SEEDS)
    assert episodes == {10: 10, 20: len(SEEDS)}


def test_a_margin_is_wanted_of_all_episodes() -> None:
    truth = 0.955 - NOISE.mean() / 100.0
    found, episodes = looked([point(10, 0.97), point(30, 0.97)], {10: truth, 30: 1.0})
    assert [one.parameters for one in found] == [30]
    assert episodes[10] == len(SEEDS)


def test_where_none_is_good_again_there_is_none() -> None:
    assert looked([point(10, 0.97), point(30, 0.5, False)], {10: 0.5}) == ([], {10: 10})
    assert looked([], {}) == ([], {})


def test_without_time_the_smallest_is_taken_as_it_is() -> None:
    points = [point(30, 0.99), point(10, 0.97)]
    found, episodes = looked(points, {}, lambda: True)
    assert [one.parameters for one in found] == [10, 30]
    assert found[0] is points[1]
    assert episodes == {}


@pytest.mark.parametrize(("truth", "expected"), [(0.99, [10, 30]), (0.5, [30])])
def test_when_time_runs_out_what_was_seen_so_far_counts(truth: float, expected: list[int]) -> None:
    left = iter([False] * 4)
    found, _ = looked([point(10, 0.97), point(30, 0.97)], {10: truth, 30: 1.0}, lambda: next(left, True))
    assert [one.parameters for one in found] == expected
