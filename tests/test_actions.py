"""Actions: whatever plays or learns in an environment gives it members of its own action space, and all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from small_runs import PLAN, SETTINGS

from prunekit.adapters.sb3 import algorithm_for
from prunekit.adapters.sb3_environment import LearnerEnvironment
from prunekit.benching.compare import run_bench
from prunekit.benching.settings import BenchSettings
from prunekit.compression.playing import deployed
from prunekit.compression.student import ImitationDataset, Scale, Student
from prunekit.compression.teacher import teacher_of_actor
from prunekit.compression.tuning import tuner_of
from prunekit.devices import devices_named
from prunekit.environments import Spaces, spaces_of
from prunekit.errors import CheckError, FailedEpisodeError, InputError, UnusableEnvironmentError
from prunekit.export.recording import recorded_observations
from prunekit.policy.artifact import load
from prunekit.policy.graphs import graph_of
from prunekit.rollouts import EpisodeRunner, random_returns
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions
from prunekit.training.presets import preset_for
from prunekit.training.request import TrainingRequest
from prunekit.training.run import train

SEEN: list[Any] = []
NAME = "prunekit-test/Spy-v0"
BOUNDED = Box(np.array([-2.0, 0.0], np.float32), np.array([3.0, 0.1], np.float32))
DISCRETE = [Discrete(3), Discrete(3, start=10), Discrete(3, start=-7), Discrete(1, start=4)]
CONTINUOUS = [
    BOUNDED,
    Box(-0.1, 0.1, (2,), np.float64),
    Box(-1.0, 1.0, (2,), np.float16),
    Box(-np.inf, np.inf, (2,), np.float32),
    Box(np.array([0.0, -np.inf]), np.array([np.inf, 0.1]), dtype=np.float64),
    Box(0.5, 0.5, (2,), np.float32),
]
SQUASHED = CONTINUOUS[:3]
CHOICES = [MultiDiscrete([3, 2]), MultiDiscrete([2, 1, 4], np.int32, start=[-1, 5, 0]), MultiBinary(3)]
SPACES = {str(space): space for space in (*DISCRETE, *CONTINUOUS, *CHOICES, Discrete(2), Discrete(2, start=2**40))}
"""By their texts, which a run's config can hold."""


class Spy(gym.Env[Any, Any]):
    """Asks for the action that its observation names, and refuses what is not in its action space."""

    def __init__(self, actions: Any, breaks: str = "") -> None:
        self.action_space, self._breaks = SPACES[actions] if isinstance(actions, str) else actions, breaks
        self.observation_space = Box(-np.inf, np.inf, (3,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = 5
        return self.np_random.normal(size=3).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        assert isinstance(action, np.integer | np.ndarray)
        SEEN.append(action)
        if self._breaks and len(SEEN) > 150:
            raise RuntimeError(self._breaks)
        self.left -= 1
        return self.np_random.normal(size=3).astype(np.float32), float(np.sum(action)), False, self.left == 0, {}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    SEEN.clear()
    gym.register(NAME, Spy)
    yield
    gym.registry.pop(NAME)


def request(algorithm: str, actions: Any, steps: int = 200, **more: Any) -> TrainingRequest:
    settings = {**SETTINGS[algorithm][3], **({} if algorithm == "ppo" else {"learning_starts": 50})}
    preset = preset_for(NAME, algorithm)
    model = {**preset.model, **settings}
    preset = replace(preset, n_envs=2 if algorithm == "ppo" else 1, hidden=(8, 8), model=model)
    return TrainingRequest(
        env_id=NAME,
        algorithm=algorithm,
        preset=preset,
        seed=0,
        steps=steps,
        plan=PLAN,
        env_kwargs={"actions": str(actions), **more},
    )


def seen_all(actions: Any) -> bool:
    numbers = {int(action) for action in SEEN}
    return numbers == set(range(int(actions.start), int(actions.start) + int(actions.n)))


@pytest.mark.parametrize("actions", DISCRETE, ids=str)
@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_discrete_actions_on_every_path(algorithm: str, actions: Any, tmp_path: Path) -> None:
    result = train(request(algorithm, actions), tmp_path / "run")
    assert seen_all(actions)
    assert result.artifact.provenance["spaces"]["actions"]["start"] == int(actions.start)
    plays_on_every_path(load(tmp_path / "run" / "model.pt").actor, actions)


@pytest.mark.parametrize(
    ("algorithm", "actions"),
    [*(("ppo", actions) for actions in CONTINUOUS), *((name, a) for name in ("sac", "td3") for a in SQUASHED)],
    ids=str,
)
def test_continuous_actions_on_every_path(algorithm: str, actions: Any, tmp_path: Path) -> None:
    train(request(algorithm, actions), tmp_path / "run")
    plays_on_every_path(load(tmp_path / "run" / "model.pt").actor, actions)


@pytest.mark.parametrize("actions", CHOICES, ids=str)
def test_several_choices_on_every_path(actions: Any, tmp_path: Path) -> None:
    train(request("ppo", actions), tmp_path / "run")
    plays_on_every_path(load(tmp_path / "run" / "model.pt").actor, actions)
    assert (np.unique(SEEN, axis=0) == every_choice(actions)).all(), "some choice is never made"


def every_choice(actions: Any) -> Any:
    starts, counts = (actions.start, actions.nvec) if isinstance(actions, MultiDiscrete) else ([0] * 3, [2] * 3)
    ranges = [range(int(first), int(first + count)) for first, count in zip(starts, counts, strict=True)]
    return np.array(sorted(itertools.product(*ranges)))


@pytest.mark.parametrize("actions", CHOICES, ids=str)
@pytest.mark.parametrize("name", ["dqn", "sac"])
def test_algorithms_that_cannot_choose_several_things_are_refused(name: str, actions: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"`algo` {name} does not fit multi-.* actions; choose one of ppo"):
        train(request(name, actions), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def plays_on_every_path(actor: Any, actions: Any) -> None:
    arguments = {"actions": str(actions)}
    runner = EpisodeRunner(NAME, arguments)
    teacher = teacher_of_actor(actor, "it", runner.spaces)
    random_returns(runner.environment, range(3))
    recorded_observations(graph_of(actor), NAME, arguments, 2)
    runner.play(teacher.act, 0)
    runner.play(deployed(actor, runner.spaces), 0)
    lessons = ImitationDataset(teacher)
    lessons.add(np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32))
    student = Student((4,), Scale.of(lessons, runner.spaces), runner.spaces, 0)
    SEEN.clear()
    tuner = tuner_of(student.scale, runner, 0, warmup=2048)
    tuner.take(student.network)
    tuner.tune(0, lambda: len(SEEN) > 500)
    tuner.close()
    assert len(SEEN) > 500
    assert not isinstance(actions, Discrete) or seen_all(actions)
    runner.close()


@pytest.mark.parametrize(
    ("device", "actions"),
    [
        ("cpu", Discrete(3, start=-7)),
        ("cpu-c", Box(-0.1, 0.1, (2,), np.float64)),
        *((device, actions) for device in ("cpu", "cpu-c") for actions in CHOICES[1:]),
    ],
    ids=str,
)
def test_the_devices_of_bench_give_members_too(
    device: str, actions: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gym.registry.pop(NAME)
    gym.register(NAME, lambda: Spy(actions))
    train(replace(request("ppo", actions), env_kwargs={}), tmp_path / "run")
    SEEN.clear()
    devices = devices_named([device], [], None)
    run_bench([tmp_path / "run" / "model.pt"], devices, BenchSettings(episodes=2, first_seed=7))
    assert SEEN


@pytest.mark.parametrize("name", ["sac", "td3"])
@pytest.mark.parametrize("actions", [a for a in CONTINUOUS if a not in SQUASHED], ids=str)
def test_squashing_algorithms_refuse_bounds_that_they_cannot_reach(name: str, actions: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"`algo` {name} squashes actions into their bounds.*choose ppo"):
        train(request(name, actions), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_ranges_that_overflow_are_no_bounds_for_a_squashed_action() -> None:
    with pytest.raises(InputError, match="squashes actions"):
        algorithm_for("sac", Spaces(observation=3, actions=BoxActions(low=(-3e38,), high=(3e38,))))
    assert algorithm_for("ppo", Spaces(observation=3, actions=BoxActions(low=(-3e38,), high=(3e38,)))).name == "ppo"


def test_spaces_without_values_are_refused() -> None:
    for space in (Box(-1.0, 1.0, (0,), np.float32), Box(0, 5, (2,), np.int64)):
        with pytest.raises(UnusableEnvironmentError, match="actions"):
            spaces_of(Spy(space))
    blind = Spy(Discrete(2))
    blind.observation_space = Box(-1.0, 1.0, (0,), np.float32)
    with pytest.raises(UnusableEnvironmentError, match="has empty observations"):
        spaces_of(blind)
    torn = Spy(Box(-1.0, 1.0, (2,), np.float32))
    torn.action_space.low[1] = np.nan
    with pytest.raises(UnusableEnvironmentError, match="action bounds"):
        spaces_of(torn)


def test_an_action_number_beyond_what_c_can_hold_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="32-bit integer"):
        train(request("ppo", Discrete(2, start=2**40)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_arguments_that_a_config_cannot_hold_are_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the request is not plain JSON data"):
        train(replace(request("ppo", Discrete(2)), env_kwargs={"actions": Discrete(2)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_no_space_holds_is_no_action() -> None:
    three = DiscreteActions(count=3, start=-7)
    learned = three.for_learner().action
    assert [learned(index) for index in range(3)] == [-7, -6, -5]
    assert [three.action(number) for number in (-7, -5)] == [-7, -5]
    for wrong in (lambda: learned(3), lambda: learned(-1), lambda: three.action(0)):
        with pytest.raises(CheckError, match="is not one of 3 from -7"):
            wrong()
    two = BoxActions(low=(-0.1, 0.0), high=(0.1, np.inf), dtype="float64")
    np.testing.assert_array_equal(two.action(np.array([np.float32(0.1), 1e30])), [0.1, 1e30])
    with pytest.raises(CheckError, match="shape"):
        two.action(np.zeros(3))


def test_the_learner_sees_what_it_counts_in() -> None:
    assert LearnerEnvironment(Spy(Discrete(3, start=-7))).action_space == Discrete(3)
    box = LearnerEnvironment(Spy(CONTINUOUS[4])).action_space
    assert isinstance(box, Box)
    assert box.is_bounded()
    assert (box.low[0], box.high[1]) == (0.0, np.float32(0.1))
    same = Spy(BOUNDED)
    assert LearnerEnvironment(same).action_space is same.action_space, "its generator is that of the environment"


def test_an_environment_that_breaks_in_training_is_named(tmp_path: Path) -> None:
    with pytest.raises(FailedEpisodeError, match=rf"'{NAME}' failed at a step in training \(RuntimeError: gone\)"):
        train(request("ppo", Discrete(2), breaks="gone"), tmp_path / "run")
