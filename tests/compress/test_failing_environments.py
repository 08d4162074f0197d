"""Environments that fail, never end, or reuse their memory: what is found stays, and the line names the culprit."""

from __future__ import annotations

import os
import pickle
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import failing
import gymnasium as gym
import numpy as np
import points
import pytest

from prunekit.compression.budget import budget_of
from prunekit.compression.candidates import Baseline
from prunekit.compression.planning import Pace, Plan
from prunekit.compression.result import Compressed
from prunekit.compression.run import compress, fitting, write
from prunekit.compression.settings import FIRST_SEED, CompressSettings, SearchSettings
from prunekit.compression.task import Task
from prunekit.compression.teacher import Size, Teacher
from prunekit.compression.trial import Players, TrialSettings, claim_of, trial
from prunekit.compression.workers import WorkerPool, _portable
from prunekit.environments import Spaces
from prunekit.errors import CheckError, FailedEpisodeError, InputError, UnusableEnvironmentError
from prunekit.rollouts import EpisodeRunner, episode_return
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions
from prunekit.stats.certificate import Verdict

SEARCH = SearchSettings(
    starts=((), (8,)), first_steps=600, steps=300, lesson_steps=300, teacher_episodes=20, selection_episodes=15
)
SETTINGS = CompressSettings(search=SEARCH, episodes=300)
OWN_LESSONS = {"first": FIRST_SEED + 21, "last": FIRST_SEED + 80_000}


def teacher_of(spaces: Spaces, size: Size | None = None) -> Teacher:
    return Teacher(name="the controller", spaces=spaces, respond=points.steer, size=size)


def compressed(settings: CompressSettings = SETTINGS, workers: int = 1, **arguments: Any) -> Compressed:
    return compress(
        Task(env_id=f"failing:{failing.FAILING}", teacher_of=teacher_of, kwargs=arguments), settings, workers=workers
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_under_a_student_ends_its_branch_and_no_more(workers: int) -> None:
    search = replace(SEARCH, starts=((8,), ()), first_steps=1, refinements=0)
    result = compressed(replace(SETTINGS, search=search), workers, **OWN_LESSONS)
    assert len(result.points) >= 1
    assert len(result.failures) >= 1
    for failure in result.failures:
        assert "environment 'Failing-v0' failed at step 5 of the episode with seed 100000" in failure
        assert "(TwoWords: joint 3)" in failure
    assert result.to_json()["failures"] == list(result.failures)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_under_the_teacher_ends_everything(workers: int) -> None:
    with pytest.raises(FailedEpisodeError, match=r"environment 'Failing-v0' failed at step 5 .* \(TwoWords: joint 3\)"):
        compressed(workers=workers)


def test_a_failure_in_the_certificate_keeps_what_was_found(tmp_path: Path) -> None:
    first = SETTINGS.first_seed
    result = compressed(first=first + 30, last=first + 1000)
    assert result.certificate.verdict is Verdict.UNDECIDED
    assert len(result.certificate.episodes) == 30
    assert "could not be tested to the end: environment 'Failing-v0' failed" in result.failure
    assert len(write(result, tmp_path)) == 4


def test_a_failure_in_the_first_episode_of_a_certificate(tmp_path: Path) -> None:
    first = SETTINGS.first_seed
    result = compressed(first=first, last=first + 1000)
    assert (len(result.certificate.episodes), result.certificate.retention) == (0, None)
    assert "retention not known" in result.summary
    assert len(write(result, tmp_path)) == 4


def test_an_episode_that_does_not_end() -> None:
    endless = gym.make(failing.ENDLESS)
    words = "environment 'Endless-v0': the episode with seed 3 has not ended after 500 steps; register it with max_"
    with pytest.raises(FailedEpisodeError, match=words):
        episode_return(endless, lambda _: np.zeros(1, np.float32), 3, max_steps=500)


def test_an_environment_of_long_episodes_says_so_itself() -> None:
    steps: list[Any] = []
    environment = gym.make(failing.ENDLESS, max_episode_steps=700)
    episode_return(environment, lambda seen: steps.append(seen) or np.zeros(1, np.float32), 3, max_steps=500)
    assert len(steps) == 700


def test_a_failure_at_a_reset() -> None:
    class Unseeded(points.Point):
        def reset(self) -> Any:  # type: ignore[override]
            return super().reset()

    with pytest.raises(FailedEpisodeError, match=r"'Unseeded' failed at the reset with seed 4 \(TypeError: "):
        episode_return(Unseeded(), lambda _: np.zeros(1, np.float32), 4)


def test_what_the_policy_raises_goes_through() -> None:
    def broken(_: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        episode_return(points.Point(), broken, 0)


def test_an_episode_ends_when_nobody_waits_for_it() -> None:
    runner = EpisodeRunner(failing.ENDLESS)
    steps: list[Any] = []
    runner.stopped = lambda: len(steps) > 1000
    with pytest.raises(CheckError, match="stopped"):
        runner.play(lambda seen: steps.append(seen) or np.zeros(1, np.float32), 0)
    assert len(steps) < 1100
    runner.close()


@pytest.mark.filterwarnings("ignore:.*share an object")
def test_observations_are_what_they_were_when_they_were_seen() -> None:
    runners = [EpisodeRunner(env_id) for env_id in (failing.REUSING, points.CONTINUOUS)]
    act = lambda one: points.steer(one[None])[0].astype(np.float32)  # noqa: E731
    seen = [runner.play(act, 5).observations for runner in runners]
    assert len(np.unique(seen[0], axis=0)) == 30
    assert seen[0].tolist() == seen[1].tolist()


def test_an_observation_that_is_not_finite_is_the_environments_failure() -> None:
    class Lost(points.Point):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            seen, *others = super().step(action)
            return (np.full(2, np.nan, np.float32) if self._steps == 3 else seen, *others)

    teacher = teacher_of(Spaces(observation=2, actions=BoxActions(low=(-1.0,), high=(1.0,))))
    words = "'Lost': the observation is not finite after 3 steps of the episode with seed 4"
    with pytest.raises(FailedEpisodeError, match=words):
        episode_return(Lost(), teacher.act, 4)


def test_a_network_whose_lessons_fail_is_not_certified_however_good_it_looked() -> None:
    search = replace(SEARCH, starts=((8,),), first_steps=1, refinements=0, tuning=False)
    result = compressed(replace(SETTINGS, search=search), **OWN_LESSONS)
    [point] = result.points
    assert "failed at step 5" in point.failure
    assert result.certificate.verdict is Verdict.FAILED
    assert result.certificate.failure == point.failure


def test_a_failure_in_every_second_look_certifies_nothing() -> None:
    seed = SEARCH.confirmation_seeds[3]
    task = Task(env_id=f"failing:{failing.FAILING}", teacher_of=teacher_of)
    found = compressed(first=2**40)
    crew = WorkerPool(replace(task, kwargs={"first": seed, "last": seed}))
    dense, random = crew.returns_of("teacher"), crew.returns_of("random")
    good = list(SEARCH.selection_seeds)
    baseline = Baseline(teacher=np.array([dense(one) for one in good]), random=np.array([random(one) for one in good]))
    players = Players(
        returns_of=lambda point: crew.returns_of(pickle.dumps(point.actor)),
        teacher=lambda _: 25.0,
        random=lambda _: 5.0,
    )
    notes: list[str] = []
    points = [*found.points, *(replace(one) for one in found.points)]  # a single one has no second look
    trying = TrialSettings(
        baseline=baseline,
        players=players,
        settings=SETTINGS,
        plan=Plan(
            budget=budget_of(SETTINGS, lambda: 0),
            pace=Pace(teacher=0.0, random=0.0, small=0.0),
            keep=SEARCH.keep,
            clip_range=claim_of(SETTINGS, baseline).clip_range,
            episodes=SETTINGS.episodes,
            confirming=0,
        ),
        noted=notes.append,
    )
    [(point, certificate)] = trial(points, trying)
    assert certificate.verdict is Verdict.FAILED
    assert (len(certificate.episodes), certificate.seeds) == (0, ())
    assert f"the episode with seed {seed}" in certificate.failure
    assert len(notes) >= 1
    assert all("was skipped" in note for note in notes)
    assert any(point is one for one in points)


def test_errors_of_a_teacher_cross_processes_in_one_piece() -> None:
    with (
        WorkerPool(Task(env_id=points.CONTINUOUS, teacher_of=raising), 1, "processes") as crew,
        pytest.raises(RuntimeError, match="TwoWords: joint 3"),
    ):
        crew.returns_of("teacher")(0)


def raising(spaces: Spaces) -> Teacher:
    def respond(_: Any) -> Any:
        raise failing.TwoWords("joint", 3)

    return Teacher(name="the raising one", spaces=spaces, respond=respond)


def test_errors_that_cannot_be_unpickled_are_told_all_the_same() -> None:
    told = _portable(failing.TwoWords("joint", 3))
    assert isinstance(told, RuntimeError)
    assert str(pickle.loads(pickle.dumps(told))) == "TwoWords: joint 3"
    for error in (InputError("as it is"), KeyError("as it is")):
        assert _portable(error) is error


def test_a_killed_worker_s_episodes_are_played_again() -> None:
    task = Task(env_id=f"failing:{failing.SLOW}", teacher_of=teacher_of)
    with WorkerPool(task, 2) as pool:
        returns = pool.returns_of("teacher")
        assert returns(0) > 0.0
        os.kill(pool._executor._workers[0].process.pid, signal.SIGKILL)  # type: ignore[attr-defined]
        killed = [returns(seed) for seed in range(1, 20)]
    with WorkerPool(task, 1) as pool:
        returns = pool.returns_of("teacher")
        assert [returns(seed) for seed in range(1, 20)] == killed


def test_a_worker_that_dies_is_told() -> None:
    task = Task(env_id=f"failing:{failing.DEADLY}", teacher_of=teacher_of)
    words = "a worker process died: it ran out of memory"
    with WorkerPool(task, 1, "processes") as crew, pytest.raises(CheckError, match=words):
        crew.returns_of("teacher")(0)


def test_what_keeps_a_worker_from_beginning_is_told() -> None:
    gym.register("OnlyHere-v0", points.Point)
    words = "environment 'OnlyHere-v0' is not registered .*write MODULE:OnlyHere-v0"
    with (
        WorkerPool(Task(env_id="OnlyHere-v0", teacher_of=teacher_of), 1, "processes") as crew,
        pytest.raises(UnusableEnvironmentError, match=words),
    ):
        crew.returns_of("teacher")(0)


def test_arguments_that_no_certificate_can_name() -> None:
    with pytest.raises(InputError, match="what the environment is made with is not plain JSON data"):
        compressed(first=np.int64(3))


def test_nothing_starts_larger_than_the_teacher() -> None:
    starts = ((14,), (), (48,), (32, 32))
    spaces = Spaces(observation=4, actions=DiscreteActions(count=3))
    assert fitting(starts, teacher_of(spaces)) == starts
    assert fitting(starts, teacher_of(spaces, Size(hidden=(64, 64), parameters=4675))) == starts
    assert fitting(starts, teacher_of(spaces, Size(hidden=(14,), parameters=115))) == ((14,), ())
    assert fitting(starts, teacher_of(spaces, Size(hidden=(), parameters=15))) == ((),)
    assert fitting(((14,), (48,)), teacher_of(spaces, Size(hidden=(), parameters=15))) == ((14,),)


@pytest.mark.parametrize(
    "size",
    [
        Size(hidden=None, parameters=0),
        Size(hidden=None, parameters=40),
        Size(hidden=(), parameters=521),
        Size(hidden=(), parameters=0),
        Size(hidden=(64, 64), parameters=131),
    ],
)
def test_starts_are_not_judged_by_weights_that_could_not_be_counted(size: Size) -> None:
    """Frozen, quantized or folded files keep weights where no rule finds them."""
    starts = ((14,), (), (48,), (32, 32))
    assert fitting(starts, teacher_of(Spaces(observation=17, actions=DiscreteActions(count=6)), size)) == starts


def test_a_teacher_of_a_few_weights_becomes_no_larger() -> None:
    task = Task(env_id=points.CONTINUOUS, teacher_of=partial(teacher_of, size=Size(hidden=(), parameters=3)))
    result = compress(task, replace(SETTINGS, search=replace(SEARCH, starts=((8,), ()))))
    assert {point.hidden for point in result.points} == {()}
