"""Fine-tuning on rewards: what it improves, and what it leaves alone."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import points
import pytest
import torch

from prunekit.compression.alone import search_branch
from prunekit.compression.branch import RoundSettings
from prunekit.compression.candidates import Baseline, Candidate
from prunekit.compression.playing import deployed
from prunekit.compression.settings import SearchSettings
from prunekit.compression.student import ImitationDataset, Scale, Student
from prunekit.compression.task import Task, Worker
from prunekit.compression.teacher import Teacher
from prunekit.compression.tuning import tuner_of
from prunekit.errors import FailedEpisodeError
from prunekit.rollouts import EpisodeRunner, episode_return
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions
from prunekit.stats.clipping import range_of

SEEDS = range(500, 530)
STEERS = {points.CONTINUOUS: points.steer, points.DISCRETE: points.push}


@pytest.fixture(params=list(STEERS))
def runner(request: pytest.FixtureRequest) -> Iterator[EpisodeRunner]:
    runner = EpisodeRunner(request.param)
    yield runner
    runner.close()


def teacher_in(runner: EpisodeRunner) -> Teacher:
    respond = STEERS[points.DISCRETE if isinstance(runner.spaces.actions, DiscreteActions) else points.CONTINUOUS]
    return Teacher(name="the controller", spaces=runner.spaces, respond=respond)


def beginner(runner: EpisodeRunner) -> Student:
    """Return a student that has learned next to nothing of its teacher."""
    lessons = ImitationDataset(teacher_in(runner))
    lessons.add(np.random.default_rng(0).uniform(-1.0, 1.0, (500, 2)).astype(np.float32))
    student = Student((4,), Scale.of(lessons, runner.spaces), runner.spaces, 0)
    student.fit(lessons, 5 if isinstance(runner.spaces.actions, DiscreteActions) else 60)
    return student


def mean_return(runner: EpisodeRunner, student: Student) -> float:
    act = deployed(student.actor, runner.spaces)
    return float(np.mean([runner.play(act, seed).total for seed in SEEDS]))


def weights(student: Student) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(student.network.parameters()).detach().clone()


def test_rewards_teach_a_beginner(runner: EpisodeRunner) -> None:
    student = beginner(runner)
    before = mean_return(runner, student)
    tuner = tuner_of(student.scale, runner, 0, warmup=2_048)
    tuner.take(student.network)
    assert 18_432 <= tuner.tune(16_384, lambda: False) < 19_000
    tuner.close()
    assert mean_return(runner, student) > before + 3.0


def test_the_critic_learns_alone_at_first_and_once(runner: EpisodeRunner) -> None:
    student = beginner(runner)
    before = weights(student)
    tuner = tuner_of(student.scale, runner, 0, warmup=4096)
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


def test_it_ends_when_there_is_no_time(runner: EpisodeRunner) -> None:
    student = beginner(runner)
    tuner = tuner_of(student.scale, runner, 0, warmup=0)
    tuner.take(student.network)
    assert tuner.tune(1_000_000, lambda: True) < 100
    tuner.close()


def test_the_next_student_is_trained_and_the_last_one_is_not(runner: EpisodeRunner) -> None:
    first = beginner(runner)
    second = first.copied()
    tuner = tuner_of(first.scale, runner, 0, warmup=0)
    tuner.take(first.network)
    tuner.tune(2048, lambda: False)
    kept = weights(first)
    tuner.take(second.network)
    tuner.tune(2048, lambda: False)
    tuner.close()
    assert torch.equal(weights(first), kept)
    assert not torch.equal(weights(second), weights(beginner(runner)))


def test_generators_of_others_go_on_as_if_nothing_had_been(runner: EpisodeRunner) -> None:
    def drawn() -> tuple[Any, ...]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    def seeded() -> None:
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)

    seeded()
    expected = drawn()
    seeded()
    student = beginner(runner)
    tuner = tuner_of(student.scale, runner, 2**40, warmup=0)
    tuner.take(student.network)
    tuner.tune(2048, lambda: False)
    tuner.close()
    assert drawn() == expected


@pytest.mark.filterwarnings("ignore:.*The reward is a NaN value")
def test_a_reward_that_is_not_finite() -> None:
    broken = EpisodeRunner(points.CONTINUOUS, {"reward": float("nan")})
    student = beginner(broken)
    tuner = tuner_of(student.scale, broken, 0, warmup=0)
    tuner.take(student.network)
    with pytest.raises(FailedEpisodeError, match="a reward in the fine-tuning is not finite"):
        tuner.tune(2048, lambda: False)
    tuner.close()
    broken.close()


class Lost(points.Point):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return np.full(2, np.nan, np.float32), super().reset(seed=seed, options=options)[1]


@pytest.mark.filterwarnings("ignore:.*obs")
def test_an_observation_that_is_not_finite() -> None:
    gym.register("Lost-v0", Lost)
    student = beginner(EpisodeRunner(points.CONTINUOUS))
    broken = EpisodeRunner("Lost-v0")
    tuner = tuner_of(student.scale, broken, 0, warmup=0)
    tuner.take(student.network)
    with pytest.raises(FailedEpisodeError, match="an observation in the fine-tuning is not finite"):
        tuner.tune(2048, lambda: False)
    tuner.close()
    broken.close()


def test_a_tuner_goes_on_elsewhere_as_it_would_have_here(runner: EpisodeRunner) -> None:
    """The critic, its optimizer, the rollouts kept and the average included."""

    def tuned(*, moved: bool) -> Any:
        student = beginner(runner)
        tuner = tuner_of(student.scale, runner, 0, warmup=2_048)
        tuner.take(student.network)
        for number in range(3):
            if moved and number:
                saved = tuner.saved()
                tuner.close()
                student = pickle.loads(pickle.dumps(student))
                tuner = tuner_of(student.scale, runner, 5, warmup=7)
                tuner.take(beginner(runner).network)
                tuner.tune(2_048, lambda: False)
                tuner.resume(student.network, saved)
            tuner.tune(2_048, lambda: False)
        latest = torch.cat([value.flatten() for value in tuner.latest.parameters()])
        tuner.close()
        return weights(student).tolist(), latest.tolist()

    assert tuned(moved=True) == tuned(moved=False)


def branch(runner: EpisodeRunner, *, tuning: bool, first_steps: int = 60) -> list[Candidate]:
    """Search with students that hardly learn, so that imitation alone does not reach what is to be kept."""
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
    )
    continuous = isinstance(runner.spaces.actions, BoxActions)
    worker = Worker(
        Task(env_id=points.CONTINUOUS if continuous else points.DISCRETE, teacher_of=lambda _: teacher_in(runner))
    )
    seeds = settings.selection_seeds
    dense = np.array([episode_return(runner.environment, worker.teacher.act, seed) for seed in seeds])
    baseline = Baseline(teacher=dense, random=np.array([runner.random(seed) for seed in seeds]))
    given = RoundSettings(search=settings, baseline=baseline, clip_range=range_of(baseline.teacher, baseline.random))
    found = search_branch(worker, given)
    worker.close()
    assert found.steps > 0
    return found.candidates


def test_tuning_reaches_what_imitation_did_not_and_says_so() -> None:
    runner = EpisodeRunner(points.CONTINUOUS)
    imitated, tuned = (branch(runner, tuning=tuning) for tuning in (False, True))
    assert not any(point.good or point.tuned for point in imitated)
    assert any(point.good for point in tuned)
    assert all(point.tuned for point in tuned if point.good)
    assert [point.retention for point in tuned[: len(imitated)]] == [point.retention for point in imitated]
    runner.close()
