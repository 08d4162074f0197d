"""Fine-tuning on rewards: what it improves, and what it leaves alone."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import points
import pytest
import torch

from prunekit.compression import search, settings
from prunekit.compression.arena import Arena, deployed
from prunekit.compression.points import Baseline, Point
from prunekit.compression.search import search_branch
from prunekit.compression.settings import SearchSettings
from prunekit.compression.student import Lessons, Scale, Student
from prunekit.compression.teacher import Teacher
from prunekit.compression.tuning import tuner_of
from prunekit.errors import FailedEpisodeError
from prunekit.rollouts import episode_return
from prunekit.spaces.discrete import DiscreteActions

SEEDS = range(500, 530)
STEERS = {points.CONTINUOUS: points.steer, points.DISCRETE: points.push}


@pytest.fixture(params=list(STEERS))
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    arena = Arena(request.param)
    yield arena
    arena.close()


def teacher_in(arena: Arena) -> Teacher:
    respond = STEERS[points.DISCRETE if isinstance(arena.spaces.actions, DiscreteActions) else points.CONTINUOUS]
    return Teacher(name="the controller", spaces=arena.spaces, respond=respond)


def beginner(arena: Arena) -> Student:
    """Return a student that has learned next to nothing of its teacher."""
    lessons = Lessons(teacher_in(arena))
    lessons.add(np.random.default_rng(0).uniform(-1.0, 1.0, (500, 2)).astype(np.float32))
    student = Student((4,), Scale.of(lessons, arena.spaces), arena.spaces, 0)
    student.study(lessons, 5 if isinstance(arena.spaces.actions, DiscreteActions) else 60)
    return student


def mean_return(arena: Arena, student: Student) -> float:
    act = deployed(student.actor, arena.spaces)
    return float(np.mean([episode_return(arena.environment, act, seed) for seed in SEEDS]))


def weights(student: Student) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(student.network.parameters()).detach().clone()


def test_rewards_teach_a_beginner(arena: Arena) -> None:
    student = beginner(arena)
    before = mean_return(arena, student)
    tuner = tuner_of(student.scale, arena, 0, warmup=2_048)
    tuner.take(student.network)
    assert 18_432 <= tuner.tune(16_384, lambda: False) < 19_000
    tuner.close()
    assert mean_return(arena, student) > before + 3.0


def test_the_critic_learns_alone_at_first_and_once(arena: Arena) -> None:
    student = beginner(arena)
    before = weights(student)
    tuner = tuner_of(student.scale, arena, 0, warmup=4096)
    tuner.take(student.network)
    policy = tuner._model.policy
    others = {name: value.clone() for name, value in policy.named_parameters() if not name.startswith("action_net")}
    assert tuner.tune(0, lambda: False) == 4096
    assert torch.equal(weights(student), before)
    changed = {name for name, value in policy.named_parameters() if not torch.equal(value, others.get(name, value))}
    assert changed == {name for name in others if name != "log_std"}
    assert tuner.tune(2048, lambda: False) == 2048
    assert not torch.equal(weights(student), before)
    tuner.close()


def test_it_ends_when_there_is_no_time(arena: Arena) -> None:
    student = beginner(arena)
    tuner = tuner_of(student.scale, arena, 0, warmup=0)
    tuner.take(student.network)
    assert tuner.tune(1_000_000, lambda: True) < 100
    tuner.close()


def test_the_next_student_is_trained_and_the_last_one_is_not(arena: Arena) -> None:
    first = beginner(arena)
    second = first.copied()
    tuner = tuner_of(first.scale, arena, 0, warmup=0)
    tuner.take(first.network)
    tuner.tune(2048, lambda: False)
    kept = weights(first)
    tuner.take(second.network)
    tuner.tune(2048, lambda: False)
    tuner.close()
    assert torch.equal(weights(first), kept)
    assert not torch.equal(weights(second), weights(beginner(arena)))


def test_generators_of_others_go_on_as_if_nothing_had_been(arena: Arena) -> None:
    def drawn() -> tuple[Any, ...]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    def seeded() -> None:
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)

    seeded()
    expected = drawn()
    seeded()
    student = beginner(arena)
    tuner = tuner_of(student.scale, arena, 2**40, warmup=0)
    tuner.take(student.network)
    tuner.tune(2048, lambda: False)
    tuner.close()
    assert drawn() == expected


@pytest.mark.filterwarnings("ignore:.*The reward is a NaN value")
def test_a_reward_that_is_not_finite() -> None:
    broken = Arena(points.CONTINUOUS, {"reward": float("nan")})
    student = beginner(broken)
    tuner = tuner_of(student.scale, broken, 0, warmup=0)
    tuner.take(student.network)
    with pytest.raises(FailedEpisodeError, match="the reward is not finite"):
        tuner.tune(2048, lambda: False)
    tuner.close()
    broken.close()


class Lost(points.Point):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return np.full(2, np.nan, np.float32), super().reset(seed=seed, options=options)[1]


@pytest.mark.filterwarnings("ignore:.*obs")
def test_an_observation_that_is_not_finite() -> None:
    gym.register("Lost-v0", Lost)
    student = beginner(Arena(points.CONTINUOUS))
    broken = Arena("Lost-v0")
    tuner = tuner_of(student.scale, broken, 0, warmup=0)
    tuner.take(student.network)
    with pytest.raises(FailedEpisodeError, match="an observation is not finite"):
        tuner.tune(2048, lambda: False)
    tuner.close()
    broken.close()


def branch(arena: Arena, *, tuning: bool, first_steps: int = 60, safety: float = 0.03) -> list[Point]:
    """Search with students that hardly study, so that imitation alone does not reach what is to be kept."""
    settings = SearchSettings(
        starts=((6,),),
        first_steps=first_steps,
        steps=20,
        lesson_steps=20,
        refinements=0,
        teacher_episodes=5,
        lesson_episodes=1,
        recoveries=0,
        tuning=tuning,
        tuning_steps=4096,
        tuning_warmup=2048,
        safety=safety,
    )
    teacher, seeds = teacher_in(arena), settings.selection_seeds
    dense = np.array([episode_return(arena.environment, teacher.act, seed) for seed in seeds])
    baseline = Baseline(teacher=dense, random=np.array([arena.random(seed) for seed in seeds]))
    return search_branch(teacher, arena, settings, 0, baseline).points


def test_tuning_reaches_what_imitation_did_not_and_says_so() -> None:
    arena = Arena(points.CONTINUOUS)
    imitated, tuned = (branch(arena, tuning=tuning) for tuning in (False, True))
    assert not any(point.good or point.tuned for point in imitated)
    assert any(point.good for point in tuned)
    assert all(point.tuned for point in tuned if point.good)
    assert [point.retention for point in tuned[: len(imitated)]] == [point.retention for point in imitated]
    again = branch(arena, tuning=True)
    arena.close()
    assert [(point.hidden, point.retention) for point in again] == [(point.hidden, point.retention) for point in tuned]


def test_what_fine_tuning_did_not_improve_is_not_called_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    bursts: list[float] = []

    def in_vain(student: Student, reached: float, *_: Any) -> tuple[Student, float]:
        bursts.append(reached)
        return student, reached

    monkeypatch.setattr(search, "fine_tuned", in_vain)
    monkeypatch.setattr(settings, "_MAX_SAFETY", math.inf)  # so that nothing is safe
    arena = Arena(points.CONTINUOUS)
    plain, vain = (branch(arena, tuning=tuning, first_steps=1500, safety=1.0) for tuning in (False, True))
    arena.close()
    assert bursts
    assert not any(point.tuned for point in vain)
    assert vain[0].good
    assert [(point.hidden, point.retention) for point in vain] == [(point.hidden, point.retention) for point in plain]


def test_half_of_the_episodes_is_for_those_that_may_be_good_by_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    arena = Arena(points.CONTINUOUS)
    seeds = SearchSettings().selection_seeds
    half, play = len(seeds) // 2, Arena.play

    def worse_later(self: Arena, act: Any, seed: int) -> tuple[float, Any]:
        total, seen = play(self, act, seed)
        return total - 20.0 * (seed in seeds[half:]), seen

    first = branch(arena, tuning=False, first_steps=1500)[0]
    monkeypatch.setattr(Arena, "play", worse_later)
    lucky = branch(arena, tuning=False, first_steps=1500)[0]
    poor = branch(arena, tuning=False)
    arena.close()
    assert (first.good, lucky.good) == (True, False)
    assert len(first.played) == len(seeds)
    assert len(lucky.played) > half
    assert np.array_equal(lucky.played.small[:half], first.played.small[:half])
    assert all(len(point.played) <= half for point in poor)
