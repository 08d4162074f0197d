"""Confirmation: good by luck on the selection's episodes is not good enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from prunekit.compression.candidates import Candidate
from prunekit.compression.confirm import ConfirmationRun, dependable, smallest
from prunekit.compression.planning import larger_than
from prunekit.errors import FailedEpisodeError
from prunekit.policy.actor import Actor
from prunekit.policy.heads import ClipHead
from prunekit.stats.betting import Paired
from prunekit.stats.clipping import ReturnRange

SEEDS = range(40)
RANGE = ReturnRange(low=-10.0, high=110.0)
NOISE = np.random.default_rng(0).normal(scale=3.0, size=len(SEEDS))


def point(parameters: int, retention: float, good: bool = True) -> Candidate:
    played = Paired(small=np.full(5, 100.0 * retention), teacher=np.full(5, 100.0), random=np.zeros(5))
    with torch.random.fork_rng(devices=[]):
        actor = Actor(nn.Sequential(nn.Linear(1, 1)), ClipHead(low=(-1.0,), high=(1.0,)))
    return Candidate(
        actor=actor, hidden=(parameters,), parameters=parameters, played=played, retention=retention, good=good
    )


def look(truths: dict[int, float], over: Callable[[], bool] = lambda: False) -> tuple[ConfirmationRun, dict[int, int]]:
    """Return (a confirmation with true retentions as given, the episodes that it took by size)."""
    episodes: dict[int, int] = {}

    def progress(found: Candidate, count: int) -> None:
        episodes[found.parameters] = count

    returns = lambda one: lambda seed: 100.0 * truths[one.parameters] + NOISE[seed]  # noqa: E731
    run = ConfirmationRun(
        returns_of=returns,
        teacher=lambda _: 100.0,
        random=lambda _: 0.0,
        seeds=SEEDS,
        keep=0.95,
        enough=0.96,
        clip_range=RANGE,
        over=over,
        progress=progress,
    )
    return run, episodes


def test_the_smallest_that_is_good_again_is_chosen() -> None:
    points = [point(10, 0.97), point(20, 0.97), point(30, 0.99), point(50, 1.0), point(80, 0.98), point(15, 0.5, False)]
    again, episodes = look({10: 0.8, 20: 0.99, 30: 1.0})
    found, wanting = smallest(points, again)
    assert found is not None
    assert [one.parameters for one in wanting] == [10]
    assert len(wanting[0].played) == 5 + 10
    assert found.parameters == 20
    assert found.retention == pytest.approx((5 * 0.97 + 40 * (0.99 + NOISE.mean() / 100.0)) / 45)
    assert len(found.played) == 5 + len(SEEDS)
    assert episodes == {10: 10, 20: len(SEEDS)}


def test_a_margin_is_wanted_of_all_episodes() -> None:
    again, episodes = look({10: 0.955 - NOISE.mean() / 100.0, 30: 1.0})
    found, _ = smallest([point(10, 0.97), point(30, 0.97)], again)
    assert found is not None
    assert found.parameters == 30
    assert episodes[10] == len(SEEDS)


def test_whether_a_certificate_fits_is_judged_by_all_episodes() -> None:
    counts: list[int] = []

    def needed(played: Paired) -> float:
        counts.append(len(played))
        return 0.0 if len(played) != len(SEEDS) else 1.0

    again, _ = look({20: 0.99, 30: 1.0})
    again = replace(again, needed=needed, left=lambda: 0.5)
    found, _ = smallest([point(20, 0.97), point(30, 0.97)], again)
    assert found is not None
    assert (found.parameters, counts) == (20, [5, 5 + len(SEEDS)])


def test_where_none_is_good_again_there_is_none() -> None:
    again, episodes = look({10: 0.5})
    found, wanting = smallest([point(10, 0.97), point(30, 0.5, False)], again)
    assert (found, [one.parameters for one in wanting]) == (None, [10])
    assert episodes == {10: 10}
    assert smallest([], again) == (None, [])


def test_the_two_best_of_a_size_have_a_second_look() -> None:
    points = [point(10, retention) for retention in (0.97, 0.99, 0.96, 0.98)]
    found, wanting = smallest([*points, point(30, 0.97)], look({10: 0.8, 30: 1.0})[0])
    assert found is not None
    assert found.parameters == 30
    assert [one.played.small[0] for one in wanting] == [99.0, 98.0]


def test_without_time_no_size_is_taken_that_was_found_wanting() -> None:
    left = iter([False] * 11)
    again, _ = look({10: 0.8}, lambda: next(left, True))
    points = [point(10, 0.99), point(10, 0.98), point(30, 0.97)]
    assert smallest(points, again)[0] is points[2]
    left = iter([False] * 11)
    assert smallest(points[:2], again)[0] is None


def test_a_confirmation_without_seeds_is_none() -> None:
    points = [point(30, 0.99), point(10, 0.97)]
    again, episodes = look({10: 0.5, 30: 0.5})
    again = replace(again, seeds=())
    assert smallest(points, again) == (points[1], [])
    best = dependable(points, again)
    assert best is not None
    assert (best.parameters, len(best.played), episodes) == (30, 5, {})


def test_without_time_the_smallest_is_taken_as_it_is() -> None:
    points = [point(30, 0.99), point(10, 0.97)]
    again, episodes = look({}, lambda: True)
    assert smallest(points, again) == (points[1], [])
    assert dependable(points, again) is points[0]
    assert episodes == {}


@pytest.mark.parametrize(("truth", "expected"), [(0.99, 10), (0.5, 30)])
def test_when_time_runs_out_what_was_seen_so_far_counts(truth: float, expected: int) -> None:
    left = iter([False] * 4)
    again, _ = look({10: truth, 30: 1.0}, lambda: next(left, True))
    found, _ = smallest([point(10, 0.97), point(30, 0.97)], again)
    assert found is not None
    assert found.parameters == expected


def test_one_under_which_the_environment_fails_is_left_out() -> None:
    again, _ = look({10: 1.0, 30: 1.0})

    def failing(one: Candidate) -> Callable[[int], float]:
        def returns(seed: int) -> float:
            if one.parameters == 10 and seed == 5:
                raise FailedEpisodeError("environment 'X' failed")
            return 100.0

        return returns

    points = [point(10, 0.99), point(30, 0.97)]
    found, wanting = smallest(points, replace(again, returns_of=failing))
    assert found is not None
    assert (found.parameters, wanting) == (30, [])
    assert dependable(points, replace(again, returns_of=failing)).parameters == 30
    told: list[Candidate] = []
    again = replace(again, returns_of=failing, failing=lambda one, _: told.append(one))
    assert smallest(points[:1], again) == (None, [])
    assert dependable(points[:1], again) is None
    assert told == [points[0], points[0]]


def test_seeds_on_which_the_teacher_fails_are_left_out() -> None:
    def dense(seed: int) -> float:
        if seed % 2:
            raise FailedEpisodeError("environment 'X' failed")
        return 100.0

    told: list[Candidate] = []
    again = replace(look({10: 1.0})[0], teacher=dense, failing=lambda one, _: told.append(one))
    found, wanting = smallest([point(10, 0.99)], again)
    assert found is not None
    assert (len(found.played), wanting, told) == (5 + len(SEEDS) // 2, [], [])


def test_larger_ones_are_good_and_larger() -> None:
    points = [point(80, 0.98), point(10, 0.99), point(11, 1.0), point(12, 0.97), point(50, 0.5, False), point(80, 0.99)]
    assert larger_than(points[1], points) == [points[2], points[3], points[5]]


def test_the_smallest_of_those_that_promise_about_as_much_in_both_looks_is_taken() -> None:
    points = [point(size, 0.98) for size in (20, 30, 40, 50)]
    again, episodes = look({20: 0.95, 30: 0.98, 40: 1.0, 50: 1.0})
    found = dependable(points, again)
    assert found.parameters == 30
    assert len(found.played) == 5 + len(SEEDS)
    assert found.retention == pytest.approx(0.98 + 40 / 45 * NOISE.mean() / 100.0)
    assert set(episodes) == {20, 30, 40, 50}


def test_a_small_one_that_promises_less_than_half_is_not_taken() -> None:
    again, _ = look({20: 0.96, 30: 1.0})
    assert dependable([point(20, 1.0), point(30, 1.0)], again).parameters == 30


def test_the_second_look_is_for_the_most_promising_the_largest_and_the_smallest_beside_them() -> None:
    again, episodes = look({20: 0.98, 30: 0.98, 40: 0.98, 60: 0.98, 70: 0.98})
    points = [point(size, 0.958 + size / 3_000) for size in (10, 20, 30, 40, 50, 60)]
    dependable(points, again)
    assert list(episodes) == [60, 20, 30, 40]
    episodes.clear()
    dependable([*points, point(70, 0.97)], again)
    assert list(episodes) == [60, 70, 20, 30]


@pytest.mark.parametrize(("spread", "expected"), [(0.0, 20), (30.0, 40)])
def test_where_episodes_say_little_the_largest_is_tested_last(spread: float, expected: int) -> None:
    """Small networks that were chosen among many look best by luck, and the largest is most like its teacher."""
    swings = spread * np.where(np.arange(len(SEEDS)) % 2, 1.0, -1.0)
    truths = {20: 1.0, 30: 1.0, 40: 0.98, 50: 0.94}
    returns = lambda one: lambda seed: 100.0 * truths[one.parameters] + swings[seed]  # noqa: E731
    again = replace(look({})[0], returns_of=returns)
    found = dependable([point(size, 0.98) for size in truths], again)
    assert found is not None
    assert found.parameters == expected
    lucky = replace(
        point(20, 1.0), played=Paired(small=np.full(80, 120.0), teacher=np.full(80, 100.0), random=np.zeros(80))
    )
    found = dependable([lucky, *(point(size, 0.98) for size in truths if size > 20)], again)
    assert found is not None
    assert found.parameters == expected


@pytest.mark.parametrize(("left", "expected"), [(250.0, 20), (150.0, 30), (90.0, 30)])
def test_a_second_network_is_taken_only_if_twice_what_it_needs_is_left(left: float, expected: int) -> None:
    """Nothing is tested after it, and what looked best so far may have been lucky."""

    def needed(played: Paired) -> float:
        return 50.0 if played.small.mean() > 99.4 else 100.0

    again, _ = look({20: 0.985, 30: 1.0})
    points = [point(20, 0.985), point(30, 1.0)]
    found = dependable(points, replace(again, needed=needed, left=lambda: left))
    assert found is not None
    assert found.parameters == expected


def test_with_little_time_the_most_promising_is_taken() -> None:
    left = iter([False] * 12)
    again, episodes = look({60: 0.98}, lambda: next(left, True))
    assert dependable([point(size, 0.98 + size / 5_000) for size in (20, 40, 60)], again).parameters == 60
    assert list(episodes) == [60]


def test_where_nothing_promises_anything_any_more_the_best_is_taken() -> None:
    again, _ = look({20: 0.7, 30: 0.8})
    assert dependable([point(20, 0.98), point(30, 0.98)], again).parameters == 30


def test_what_fails_now_and_then_promises_less_than_what_keeps_a_little_less() -> None:
    steady, falling = point(30, 0.975), point(20, 0.98)
    small = np.array([110.0] * 4 + [50.0])
    falling = replace(falling, played=replace(falling.played, small=small))
    assert small.mean() > steady.played.small.mean()
    assert dependable([falling, steady], look({}, lambda: True)[0]) is steady
