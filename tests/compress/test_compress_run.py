"""What a compression plans by: what an episode of a certificate takes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from prunekit.compression import run
from prunekit.compression.budget import Budget, budget_of
from prunekit.compression.planning import Pace, Played, pace_of
from prunekit.compression.settings import CompressSettings


def slow(seconds: float) -> Any:
    def returns(seed: int) -> float:
        time.sleep(seconds)
        return float(seed)

    return returns


def of_seconds(seconds: float) -> Budget:
    return budget_of(CompressSettings(seconds=seconds), lambda: 0)


def test_a_slow_teacher_plays_fewer_episodes_but_ten() -> None:
    played = [run._played(slow(0.01), slow(0.0), range(80), of_seconds(s), lambda: 0)[0] for s in (3.0, 1e-3)]
    assert 10 < len(played[0].teacher) <= 31
    assert [len(one.random) for one in played] == [len(one.teacher) for one in played]
    assert len(played[1].teacher) == 10


@pytest.mark.parametrize(("spread", "episodes"), [(0.0, 20), (1.0, 20), (30.0, 100), (5.0, 25)])
def test_a_teacher_goes_on_alone_while_its_mean_is_not_known(spread: float, episodes: int) -> None:
    seen: list[int] = []

    def teacher(seed: int) -> float:
        seen.append(seed)
        return 50.0 + (spread if seed % 2 else -spread)

    baseline, _ = run._played(teacher, lambda _: 0.0, range(7, 27), of_seconds(60.0), lambda: 0)
    assert len(baseline.random) == 20
    assert abs(len(baseline.teacher) - episodes) <= 2
    assert seen[1:] == list(range(7, 7 + len(baseline.teacher)))


def test_the_pace_is_that_of_the_teacher_and_of_the_random_policy() -> None:
    baseline, pace = run._played(slow(0.02), slow(0.01), range(5), of_seconds(60.0), lambda: 0)
    assert baseline.teacher.tolist() == baseline.random.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert pace.teacher == pytest.approx(0.02, rel=0.3)
    assert pace.random == pytest.approx(0.01, rel=0.3)
    assert pace.small == pace.teacher
    assert pace.episode == 2.0 * pace.teacher + pace.random


@pytest.mark.parametrize(
    ("spent", "random", "small"),
    [(8.0, Played(episodes=4, steps=50, spent=2.0), 1.0), (3.0, Played(episodes=4, steps=50, spent=2.0), 0.75)],
    ids=["as the random policy", "no slower than the teacher"],
)
def test_a_step_of_a_small_network_takes_as_long_as_a_random_one(spent: float, random: Played, small: float) -> None:
    pace = pace_of(Played(episodes=4, steps=100, spent=spent), random)
    assert pace == Pace(teacher=spent / 4, random=0.5, small=small)
    assert pace.slowed(2.0).episode == 2.0 * (spent / 4 + 0.5 + small)


def test_a_budget_of_steps_knows_no_clock() -> None:
    steps = [0]

    def teacher(seed: int) -> float:
        steps[0] += 30
        return float(seed)

    budget = budget_of(CompressSettings(steps=6_000, seconds=1e-3), lambda: steps[0])
    baseline, pace = run._played(teacher, lambda _: 0.0, range(80), budget, lambda: steps[0])
    assert (len(baseline.random), len(baseline.teacher), pace) == (21, 41, Pace(teacher=30.0, random=0.0, small=30.0))
    assert budget.left == 6_000 - 42 * 30
    half = budget.after(0.5)
    assert not half()
    steps[0] += 2_700
    assert half()
