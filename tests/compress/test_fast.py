"""Learning in EnvPool's twin of an environment, and confirming and certifying in the environment itself."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import points
import pytest
from fake_envpool import fake
from torch import nn

import prunekit
from prunekit.adapters.envpool import EnvPoolRunner
from prunekit.compression.playing import deployed
from prunekit.compression.run import compress, write
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.student import ImitationDataset, Scale, Student
from prunekit.compression.task import Task, Worker
from prunekit.compression.teacher import Teacher
from prunekit.compression.tuning import tuner_of
from prunekit.disturbances.record import Disturbance
from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.policy.actor import Actor
from prunekit.policy.artifact import make_artifact, save
from prunekit.policy.heads import ArgmaxHead

SEARCH = SearchSettings(starts=((), (4,)), first_steps=200, steps=100, lesson_steps=100, selection_episodes=15)
BEGUN: list[int | None] = []


class Watched(gym.Wrapper[Any, Any, Any, Any]):
    """Writes down which seeds episodes of the user's own environment begin with."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        BEGUN.append(seed)
        return self.env.reset(seed=seed, options=options)


def short_pole() -> gym.Env[Any, Any]:
    return Watched(gym.make("CartPole-v1", max_episode_steps=40))


def balance(seen: Any) -> Any:
    return np.stack([np.zeros(len(seen)), 10.0 * (seen[:, 2] + seen[:, 3])], axis=1)


def teacher_of(spaces: Spaces) -> Teacher:
    return Teacher(name="the balancer", spaces=spaces, respond=balance)


@pytest.fixture
def _envpool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envpool", fake())
    BEGUN.clear()


@pytest.mark.usefixtures("_envpool")
def test_it_learns_and_selects_in_the_twin_alone_and_certifies_in_the_environment(tmp_path: Path) -> None:
    task = Task(env_id=f"{__name__}:short_pole", teacher_of=teacher_of, fast=True)
    result = compress(task, CompressSettings(search=SEARCH, episodes=200, steps=60_000))
    assert result.certified
    # Nothing that is learned from was played in the environment itself, and what is certified was.
    assert set(result.certificate.to_json()["seeds"]) <= set(BEGUN)
    assert not set(range(SEARCH.first_seed, SEARCH.selection_seeds[0])) & set(BEGUN)
    # The teacher and the random policy played the selection's episodes, for the range of returns, and no student did.
    assert max(BEGUN.count(seed) for seed in SEARCH.selection_seeds) == 2
    told = json.loads(write(result, tmp_path)[-1].read_text())
    assert {**told["learned_in"], "steps": 0} == {
        "library": "EnvPool",
        "version": "0.0-fake",
        "environment": "CartPole-v1",
        "for": ["demonstrations", "lessons", "fine-tuning", "selection"],
        "steps": 0,
    }
    assert 0 < told["learned_in"]["steps"] < told["environment_steps"]
    assert told["env"]["id"] == f"{__name__}:short_pole"


@pytest.mark.usefixtures("_envpool")
def test_a_student_is_tuned_in_the_twin() -> None:
    runner = EnvPoolRunner(short_pole)
    dataset = ImitationDataset(teacher_of(runner.spaces))
    dataset.add(np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32))
    student = Student((4,), Scale.of(dataset, runner.spaces), runner.spaces, 0)
    played = len(BEGUN)

    def mean() -> float:
        return float(np.mean([one.total for one in runner.play_all(deployed(student.actor, runner.spaces), range(10))]))

    before = mean()
    tuner = tuner_of(student.scale, runner, 0, warmup=2_048)
    tuner.take(student.network)
    tuner.tune(8_192, lambda: False)
    tuner.close()
    assert mean() > before + 4.0
    assert len(BEGUN) == played


@pytest.mark.usefixtures("_envpool")
def test_processes_of_this_machine_do_not_compare_again(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(env_id="CartPole-v1", teacher_of=teacher_of, fast=True)
    Worker(task).close()
    monkeypatch.setitem(sys.modules, "envpool", fake(force=1.001))
    with pytest.raises(InputError, match="cannot stand in for yours: at step 1"):
        Worker(task)
    Worker(task, checked=True).close()


@pytest.mark.usefixtures("_envpool")
def test_what_is_disturbed_is_not_learned_in_the_twin() -> None:
    with pytest.raises(InputError, match="`fast` cannot be combined with disturbances; leave one of the two"):
        Worker(Task(env_id="CartPole-v1", teacher_of=teacher_of, fast=True, disturbance=Disturbance(delay_steps=1)))


def policy_in(folder: Path) -> Path:
    network = nn.Sequential(nn.Linear(4, 2))
    save(make_artifact(Actor(network, ArgmaxHead()), None, {"env": {"id": "CartPole-v1"}}), folder / "model.pt")
    return folder / "model.pt"


@pytest.mark.parametrize(
    ("module", "env_id", "told"),
    [
        (None, "CartPole-v1", "EnvPool is not installed; run: pip install 'prunekit[fast]'"),
        (fake(force=1.001), "CartPole-v1", "'CartPole-v1' cannot stand in for yours: at step 1 of episode 1"),
        (fake(), points.CONTINUOUS, f"EnvPool has no environment '{points.CONTINUOUS}'; leave --fast out"),
    ],
)
def test_without_a_twin_it_says_so_in_one_line(
    module: Any, env_id: str, told: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "envpool", module)
    code, _, err = run("compress", policy_in(tmp_path), "--env", env_id, "--fast", "--out", tmp_path / "out")
    assert code == 2
    assert told in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_simulator_of_tensors_has_no_twin() -> None:
    batch = gym.make_vec("CartPole-v1", num_envs=2)
    with pytest.raises(InputError, match="`fast` does not work with environment"):
        prunekit.compress(balance, batch, fast=True)
    batch.close()


def test_a_worker_plays_in_the_true_one() -> None:
    pytest.importorskip("envpool", reason="EnvPool is not installed: pip install 'prunekit[fast]'")
    from prunekit.api.loading import load

    path = Path(__file__).parents[2] / "models" / "CartPole-v1-ppo" / "dense.pt"
    task = Task(env_id="CartPole-v1", teacher_of=partial(_loaded, load(path)), fast=True)
    worker = Worker(task)
    found = [one.total for one in worker.play("teacher", range(4), selecting=True)]
    assert found == [500.0] * 4
    assert worker.runner.steps == 2_000
    assert worker.own.steps == 0
    worker.close()


def _loaded(policy: Any, spaces: Spaces) -> Teacher:
    from prunekit.compression.teacher import teacher_of_graph

    return teacher_of_graph(policy.graph, "shipped", spaces)
