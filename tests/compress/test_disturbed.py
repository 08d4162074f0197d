"""A compression under disturbances: all who play meet the same ones, and the claim is about that."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import points
import pytest
from rich.console import Console
from test_compress import SEARCH, teacher_of

import prunekit
from prunekit.compression.progress import TerminalDisplay
from prunekit.compression.run import compress, write
from prunekit.compression.settings import CompressSettings
from prunekit.compression.student import ImitationDataset, Scale
from prunekit.compression.task import Task, Worker
from prunekit.disturbances.deviation import DEVIATION_SEEDS
from prunekit.disturbances.environment import DisturbedEnvironment
from prunekit.disturbances.randomization import Parameter, Randomization
from prunekit.disturbances.record import Disturbance
from prunekit.environments import make_environment
from prunekit.errors import InputError
from prunekit.export.onnx import read_metadata
from prunekit.rollouts import episode_return, random_returns

DRAWN = Randomization(parameters=(Parameter(path="reward", low=0.9, high=1.1),))
DISTURBANCE = Disturbance(observation_noise=0.1, action_noise=0.1, delay_steps=1, drop=0.1, randomization=DRAWN)
WORDS = "observation noise 0.1, action noise 0.1, delay 1, drop 0.1, reward randomized"
TASK = Task(env_id=f"points:{points.CONTINUOUS}", teacher_of=partial(teacher_of, respond=points.steer))


def act(observation: Any) -> Any:
    return points.steer(np.asarray(observation, np.float32)[None])[0].astype(np.float32)


def test_with_steps_workers_find_what_one_finds_whatever_the_batches_under_disturbances(tmp_path: Path) -> None:
    search = replace(SEARCH, starts=((6,), (12,)), first_steps=60, steps=20, refinements=0, recoveries=0)
    settings = CompressSettings(
        search=replace(search, lesson_steps=20, teacher_episodes=5, tuning_steps=2048, tuning_warmup=2048),
        episodes=60,
        steps=16_000,
        disturbance=DISTURBANCE,
    )
    one, two, single = (
        compress(TASK, settings, workers=workers, max_batch=batch) for workers, batch in ((1, 16), (2, 16), (1, 1))
    )
    assert any(point.tuned for point in one.points)
    assert one.to_json() == two.to_json() == single.to_json()
    contents = [[path.read_bytes() for path in write(result, tmp_path)] for result in (one, two, single)]
    assert contents[0] == contents[1] == contents[2]

    found = json.loads(contents[0][-1])
    assert found["disturbance"] == DISTURBANCE.to_json()
    assert found["observation_deviation"] == pytest.approx(measured(), rel=1e-5)
    assert found["certificate"]["claim"].startswith(f"Under {WORDS}, alike for all policies: ")
    metadata = read_metadata(contents[0][0])
    for name in ("disturbance", "observation_deviation", "certificate"):
        assert metadata[name] == found[name]
    card = (tmp_path / "README.md").read_text()
    assert f"Under {WORDS}, alike" in card
    assert '| everybody played under | {"observation\\_noise": 0.1, ' in card
    assert "name: points:" not in card
    assert "Point-v0, disturbed" in card


def measured() -> list[float]:
    """Return the deviation of what the teacher sees in undisturbed episodes."""
    seen: list[Any] = []
    environment = make_environment(points.CONTINUOUS)

    def watched(observation: Any) -> Any:
        seen.append(observation)
        return act(observation)

    for seed in DEVIATION_SEEDS:
        episode_return(environment, watched, seed)
    deviation: list[float] = np.std(np.asarray(seen, np.float64), axis=0).tolist()
    return deviation


def test_teacher_random_policy_and_fine_tuning_meet_the_disturbance() -> None:
    worker = Worker(replace(TASK, disturbance=DISTURBANCE))
    assert worker.task.deviation is not None
    sizes = np.asarray(worker.task.deviation)
    disturbed = DisturbedEnvironment(make_environment(points.CONTINUOUS), DISTURBANCE, sizes)
    seeds = range(7, 11)
    played = [episode.total for episode in worker.play("teacher", seeds)]
    assert played == [episode_return(disturbed, act, seed) for seed in seeds]
    assert played != [episode_return(make_environment(points.CONTINUOUS), act, seed) for seed in seeds]
    assert [episode.total for episode in worker.play("random", seeds)] == random_returns(disturbed, seeds)
    shown: list[Any] = []

    def watched(observation: Any) -> Any:
        shown.append(np.array(observation, np.float32))
        return act(observation)

    episode_return(disturbed, watched, 7)
    (demonstration,) = worker.demonstrations([7])
    assert np.array_equal(demonstration, np.asarray(shown))
    dataset = ImitationDataset(worker.teacher)
    dataset.add(demonstration)
    tuner = worker.tuner(Scale.of(dataset, worker.runner.spaces), 0, 0)
    made = tuner._environments.venv.envs  # type: ignore[attr-defined]
    assert len(made) == 16
    assert all(any(isinstance(layer, DisturbedEnvironment) for layer in layers_of(one)) for one in made)
    worker.close()
    assert worker.task == Worker(worker.task).task, "a deviation that is known is not measured again"


def layers_of(environment: Any) -> list[Any]:
    found = [environment]
    while hasattr(found[-1], "env"):
        found.append(found[-1].env)
    return found


def test_what_certify_says_of_the_same_disturbance_is_in_the_same_words_and_sizes(tmp_path: Path) -> None:
    (tmp_path / "drawn.toml").write_text("[reward]\nrange = [0.9, 1.1]\n")
    words: dict[str, Any] = {"noise": 0.1, "action_noise": 0.1, "delay": 1, "drop": 0.1}
    words["randomize"] = tmp_path / "drawn.toml"
    teacher = points.steer
    found = prunekit.compress(teacher, env=points.CONTINUOUS, minutes=1e-4, episodes=20, workers=1, **words)
    shown = prunekit.certify(found.policy, teacher, env=points.CONTINUOUS, episodes=20, keep=0.5, **words).to_json()
    told = found.to_json()
    assert told["disturbance"] == shown["disturbance"] == DISTURBANCE.to_json() == found.policy.metadata["disturbance"]
    assert told["observation_deviation"] == pytest.approx(shown["observation_deviation"], rel=1e-5)
    for claim in (shown["sentence"], shown["certificate"]["claim"], told["certificate"]["claim"]):
        assert claim.startswith(f"Under {WORDS}, alike for all policies: ")
        assert claim.count("Under ") == 1


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"noise": -0.1}, "`noise`: observation noise must be a number from 0 to 1,000,000, not -0.1"),
        ({"noise": "much"}, "`noise` is a number, not str"),
        ({"action_noise": 2.0}, "`action_noise`: action noise must be a number from 0 to 1, not 2"),
        ({"delay": 0.5}, "`delay`: a delay must be an integer number of steps from 0 to 1,000, not 0.5"),
        ({"drop": 1.0}, "`drop`: the share of lost observations must be a number from 0 to below 1, not 1"),
        ({"randomize": 3}, "`randomize` is a TOML file, not int"),
        ({"randomize": "nowhere.toml"}, "nowhere.toml: no such file"),
    ],
)
def test_what_no_function_can_disturb_by_is_named(wrong: dict[str, Any], told: str) -> None:
    for function in (
        partial(prunekit.compress, points.steer),
        partial(prunekit.certify, points.steer, points.steer),
        partial(prunekit.bench, [TASK]),
    ):
        with pytest.raises(InputError, match=re.escape(told)):
            function(env=points.CONTINUOUS, **wrong)


def test_what_an_environment_cannot_have_is_said_before_anybody_plays() -> None:
    def asked(_: Any) -> Any:
        raise AssertionError("nobody is asked")

    unknown = Randomization(parameters=(Parameter(path="rewrad", low=0.9, high=1.1),))
    task = Task(env_id=points.CONTINUOUS, teacher_of=partial(teacher_of, respond=asked))
    for disturbance in (
        Disturbance(randomization=unknown),
        Disturbance(observation_noise=0.1, randomization=unknown),
    ):
        with pytest.raises(InputError, match=r"rewrad: Point has no rewrad; did you mean reward\?"):
            Worker(replace(task, disturbance=disturbance))


def test_a_log_has_a_few_lines_of_a_certificate() -> None:
    stream = io.StringIO()
    with TerminalDisplay(Console(file=stream), "title", 0.95) as display:
        for episodes in range(1, 41):
            display.confirming("14", episodes)
        for episodes in range(1, 1_001):
            display.certifying("14", episodes)
    lines = [line.strip() for line in stream.getvalue().splitlines()]
    counts = [f"certifying hidden 14: {count} fresh episodes" for count in (100, 200, 400, 800)]
    assert lines == ["confirming hidden 14", "certifying hidden 14", *counts]
