"""Environments: what an actor can serve, one clear line for what it cannot, and episodes in them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from prunekit import FailedEpisodeError, UnusableEnvironmentError
from prunekit.environment_packages import newer_version
from prunekit.environments import (
    Spaces,
    arguments_for,
    id_of,
    make_environment,
    named_by_file,
    require_registered,
    spaces_of,
)
from prunekit.errors import ArtifactError
from prunekit.rollouts import episode_return, random_returns
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions

FLAT = spaces.Box(-1.0, 1.0, (3,), np.float32)
TWO = spaces.Discrete(2)
Register = Callable[..., str]


class Scripted(gym.Env[Any, Any]):
    """Gives the listed rewards, one a step, and then ends in the way that is asked for."""

    def __init__(
        self,
        observation_space: spaces.Space[Any] = FLAT,
        action_space: spaces.Space[Any] = TWO,
        rewards: tuple[float, ...] = (1.0,),
        truncates: bool = False,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.rewards, self.truncates, self.step_number = rewards, truncates, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.step_number = 0
        return np.zeros(3, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = self.rewards[self.step_number]
        self.step_number += 1
        over = self.step_number == len(self.rewards)
        return np.zeros(3, np.float32), reward, over and not self.truncates, over and self.truncates, {}


@pytest.fixture
def register() -> Iterator[Register]:
    names: list[str] = []

    def call(entry_point: object = Scripted) -> str:
        names.append(f"prunekit-test/Environment{len(names)}-v0")
        gym.register(names[-1], entry_point)
        return names[-1]

    yield call
    for name in names:
        gym.registry.pop(name)


def refused(env_id: str, *words: str, **kwargs: Any) -> None:
    with pytest.raises(UnusableEnvironmentError) as refusal:
        spaces_of(make_environment(env_id, kwargs))
    message = str(refusal.value)
    assert "\n" not in message
    for word in (f"'{env_id}'", *words):
        assert word in message


@pytest.mark.parametrize(
    ("env_id", "word"),
    [
        ("FetchReach-v1", "pip install gymnasium-robotics, and write gymnasium_robotics:FetchReach-v1 (or the version"),
        ("AntBulletEnv-v0", "pip install pybullet_envs_gymnasium, and write pybullet_envs_gymnasium:AntBulletEnv-v0"),
        ("PandaPush-v1", "panda_gym:PandaPush-v1"),
        ("parking-v0", "highway_env:parking-v0"),
        ("MiniGrid-Empty-5x5-v0", "minigrid:MiniGrid-Empty-5x5-v0"),
        ("Fetcher-v1", "write MODULE:Fetcher-v1"),
    ],
)
def test_an_id_that_is_not_registered_names_the_package_that_has_it(env_id: str, word: str) -> None:
    refused(env_id, "is not registered", word)
    with pytest.raises(UnusableEnvironmentError, match=f"environment '{env_id}' is not registered"):
        require_registered(env_id)


def test_a_version_that_moved_away_suggests_the_newest_one() -> None:
    for name in ("Ant", "Walker2d"):
        refused(f"{name}-v3", f"; did you mean {name}-v5? (the sizes of its observations may differ)")
    assert newer_version("Ant-v5") is None
    assert newer_version("Ant") is None


def test_what_is_registered_is_not_made_to_see_it(register: Register) -> None:
    for env_id in ("CartPole-v1", "CartPole", "Ant-v3", "no_such_module:Env-v0", register("no_such_module:Env")):
        require_registered(env_id)
    for env_id in ("CartPole-v9", "LunarLander-v2"):
        with pytest.raises(UnusableEnvironmentError, match=f"environment '{env_id}' cannot be made"):
            require_registered(env_id)


@pytest.mark.parametrize("env_id", ["", "no such form!", "CartPole-v9", "LunarLander-v2"])
def test_ids_that_cannot_be(env_id: str) -> None:
    refused(env_id, "cannot be made")


def test_an_old_version_comes_with_the_new_one() -> None:
    refused("LunarLander-v2", "LunarLander-v3")


def test_an_id_that_names_nothing() -> None:
    refused("Nope-v0", "not registered", "MODULE:Nope-v0")


def test_a_namespace_that_nothing_registers() -> None:
    refused("prunekit-nowhere/Pong-v5", "namespace", "install its package", "gymnasium[atari]")


def test_a_module_that_is_not_installed(register: Register) -> None:
    refused(register("a_package_that_is_nowhere.envs:Env"), "a_package_that_is_nowhere")
    refused("a_package_that_is_nowhere:Env-v0", "needs the module 'a_package_that_is_nowhere'", "PYTHONPATH")
    refused("gymnasium.nowhere:Env-v0", "needs the module 'gymnasium.nowhere'", "PYTHONPATH")


def test_a_module_that_needs_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prunekit_test_needy.py").write_text("import a_package_that_is_nowhere")
    monkeypatch.syspath_prepend(tmp_path)
    refused("prunekit_test_needy:Env-v0", "needs a package that is not installed", "'a_package_that_is_nowhere'")


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("folder/mine.py:Env-v0", ("'folder/mine.py'", "write mine:Env-v0", "PYTHONPATH")),
        ("./mine:Env-v0", ("'./mine'", "write mine:Env-v0")),
        (".mine:Env-v0", ("'.mine'", "MODULE:Env-v0")),
        ("my module:Env-v0", ("'my module'", "MODULE:Env-v0")),
        (":Env-v0", ("''", "MODULE:Env-v0")),
        ("a:b:c", ("'a:b'", "MODULE:c")),
    ],
)
def test_what_is_no_name_of_a_module_is_told(env_id: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UnusableEnvironmentError) as caught:
        make_environment(env_id)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_module_that_does_not_register_the_id() -> None:
    with pytest.raises(UnusableEnvironmentError, match="module 'gymnasium' was imported and registers no 'Nope-v0'"):
        make_environment("gymnasium:Nope-v0")


SOURCE = """
import gymnasium as gym

def make_short(limit=3):
    return gym.make("CartPole-v1", max_episode_steps=limit)

def make_nothing():
    return None

def make_trouble():
    raise OSError("the track is missing")

def make_vector():
    return gym.make_vec("CartPole-v1", num_envs=2)

registered = gym.register(id="Both-v0", entry_point=lambda: gym.make("CartPole-v1"))
Twice = lambda: make_short()
gym.register(id="Twice", entry_point=lambda: gym.make("Pendulum-v1"))
number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "prunekit_test_tracks.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "prunekit_test_tracks"
    sys.modules.pop("prunekit_test_tracks", None)
    for name in ("Both-v0", "Twice"):
        gym.registry.pop(name, None)


def test_a_function_makes_an_environment_and_gives_it_its_name(module: str) -> None:
    environment = make_environment(f"{module}:make_short", {"limit": 5})
    assert id_of(environment) == f"{module}:make_short"
    assert episode_return(environment, lambda _: 0, 0) == 5.0
    assert spaces_of(environment).observation == 4


def test_what_the_module_registers_is_an_id_and_no_function(module: str) -> None:
    assert id_of(make_environment(f"{module}:Both-v0")) == "Both-v0"
    assert spaces_of(make_environment(f"{module}:Twice")).observation == 3  # Pendulum, not the function


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "make_shirt",
            ("registers no 'make_shirt' and has no function of that name", "(functions: make_short, make_no"),
        ),
        ("number", ("has no function of that name",)),
        ("make_nothing", ("the function returned a NoneType, which is not a gymnasium.Env; return one",)),
        ("make_trouble", ("cannot be made (OSError: the track is missing)",)),
        ("make_vector", ("the function returned a vector environment", "in Python")),
    ],
)
def test_functions_that_make_no_environment(module: str, name: str, words: tuple[str, ...]) -> None:
    refused(f"{module}:{name}", *words)


def test_arguments_that_a_function_does_not_take(module: str) -> None:
    refused(f"{module}:make_short", "does not take these arguments", "'speed'", speed=3)


def test_a_file_s_function_is_never_called(module: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="would import a module; if you trust it, give it as `env`"):
        named_by_file(tmp_path / "model.pt", {"id": f"{module}:make_trouble"})
    assert module not in sys.modules
    entry = {"id": f"{module}:make_short", "kwargs": {"limit": 4}}
    assert arguments_for(f"{module}:make_short", tmp_path / "model.pt", entry) == {"limit": 4}


@pytest.mark.parametrize(
    ("env_id", "extra"),
    [
        ("Hopper-v5", "gymnasium[mujoco]"),
        ("LunarLander-v3", "prunekit[box2d]"),
        ("CartPole-v1", "gymnasium[classic-control]"),
        ("FrozenLake-v1", "gymnasium[toy-text]"),
    ],
)
def test_missing_packages_come_with_the_extra_that_has_them(
    monkeypatch: pytest.MonkeyPatch, env_id: str, extra: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise gym.error.DependencyNotInstalled("it is not installed.\nA second line.")

    monkeypatch.setattr(gym, "make", fail)
    refused(env_id, "(it is not installed)", f"run: pip install '{extra}'")
    with pytest.raises(UnusableEnvironmentError, match=r"'Unheard-v0' needs .*\(it is not installed\)$"):
        make_environment("Unheard-v0")


def test_arguments_that_it_does_not_take() -> None:
    refused("CartPole-v1", "does not take these arguments", "bogus", bogus=1)


def test_arguments_reach_the_environment(register: Register) -> None:
    environment = make_environment(register(), {"rewards": (1.0, 2.0, 4.0)})
    assert episode_return(environment, lambda _: 0, 0) == 7.0


def test_making_an_environment_warns_of_nothing() -> None:
    make_environment("CartPole-v0").close()


@pytest.mark.parametrize(
    ("space", "word"),
    [
        (spaces.Dict({"a": FLAT}), "Dict observations"),
        (spaces.Tuple((FLAT, TWO)), "Tuple observations"),
        (spaces.Discrete(5), "Discrete observations"),
        (spaces.Box(0, 255, (8, 9, 3), np.uint8), "Box observations of shape [8, 9, 3]"),
        (spaces.Box(-1.0, 1.0, (), np.float32), "Box observations of shape []"),
    ],
    ids=repr,
)
def test_observations_that_are_no_flat_vector(register: Register, space: spaces.Space[Any], word: str) -> None:
    refused(register(), word, "flat vector (1-D Box)", "FlattenObservation", observation_space=space)


@pytest.mark.parametrize(
    ("space", "word"),
    [
        (spaces.MultiDiscrete([[2, 3]]), "MultiDiscrete actions"),
        (spaces.MultiBinary((2, 2)), "MultiBinary actions"),
        (spaces.Box(-1.0, 1.0, (2, 2), np.float32), "Box actions"),
        (spaces.Dict({"a": TWO}), "Dict actions"),
    ],
    ids=repr,
)
def test_actions_that_are_neither_one_number_nor_a_vector(
    register: Register, space: spaces.Space[Any], word: str
) -> None:
    refused(register(), word, "only 1-D Box, Discrete", action_space=space)


def test_actions_that_are_whole_numbers_in_a_box(register: Register) -> None:
    refused(register(), "actions of int64", "Box of float32", action_space=spaces.Box(-3, 3, (2,), np.int64))


@pytest.mark.parametrize("env_id", ["CartPole-v1", "json:CartPole-v1", "CartPole", "json:CartPole"])
@pytest.mark.parametrize("named", ["CartPole-v1", "prunekit_test_trap:CartPole-v1", "CartPole"])
def test_the_arguments_of_a_file_are_for_its_environment_however_that_is_written(
    env_id: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prunekit_test_trap.py").write_text("raise SystemExit('a file must import nothing')")
    monkeypatch.syspath_prepend(tmp_path)
    entry = {"id": named, "kwargs": {"sutton_barto_reward": True}}
    assert arguments_for(env_id, Path("model.pt"), entry) == {"sutton_barto_reward": True}
    for other in ("CartPole-v0", "Cart", "Pendulum-v1", "json:CartPole-v9", "a_package_that_is_nowhere:Pole-v1", ""):
        assert arguments_for(other, Path("model.pt"), entry) is None
    assert arguments_for("CartPole-v0", Path("model.pt"), {"id": "CartPole-v0"}) == {}
    assert arguments_for(env_id, Path("model.pt"), {"id": "prunekit_test_trap:CartPole"}) is None  # a function
    with pytest.raises(ArtifactError, match=r"model\.pt: the environment argument 'x'"):
        arguments_for(env_id, Path("model.pt"), {"id": named, "kwargs": {"x": [1]}})


def test_what_a_file_names_is_told_in_a_line_that_can_be_read() -> None:
    with pytest.raises(ArtifactError, match="environment in its metadata is damaged"):
        named_by_file(Path("model.pt"), {"id": "a:" + "b" * 5000})
    with pytest.raises(ArtifactError, match="arguments in its metadata are damaged"):
        named_by_file(Path("model.pt"), {"id": "CartPole-v1", "kwargs": {"x" * 5000: []}})
    with pytest.raises(UnusableEnvironmentError, match=r"unexpected keyword argument 'x+\.\.\.") as refusal:
        make_environment("CartPole-v1", {"x" * 5000: 1})
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("entry", [None, 3, {}, {"id": 3}])
def test_a_file_without_an_environment_gives_no_arguments(entry: object) -> None:
    assert arguments_for("CartPole-v1", Path("model.pt"), entry) is None


def test_arguments_that_are_plain_words_and_numbers_are_taken() -> None:
    given = {"map_name": "4x4", "reward": "per-step", "slippery": True, "wind": 2.5, "none": None, "frame_skip": 4}
    entry = {"id": "CartPole-v1", "kwargs": given}
    assert arguments_for("CartPole-v1", Path("policy.onnx"), entry) == given


def test_a_word_that_is_the_name_of_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    entry = {"id": "CartPole-v1", "kwargs": {"level": "secret"}}
    assert arguments_for("CartPole-v1", Path("policy.onnx"), entry) == {"level": "secret"}
    (tmp_path / "secret").touch()
    with pytest.raises(ArtifactError, match=r"'level' in its metadata .*name a file"):
        arguments_for("CartPole-v1", Path("policy.onnx"), entry)


def test_an_environment_is_known_by_its_whole_id() -> None:
    assert id_of(make_environment("CartPole-v1")) == "CartPole-v1"
    assert id_of(Scripted()) == "Scripted"


def test_discrete_actions_keep_their_start(register: Register) -> None:
    environment = make_environment(register(), {"action_space": spaces.Discrete(4, start=-2)})
    result = spaces_of(environment)
    assert result == Spaces(observation=3, actions=DiscreteActions(count=4, start=-2))
    assert result.outputs == 4


def test_box_actions_keep_every_bound(register: Register) -> None:
    low, high = np.asarray([-1.0, -math.inf, 0.0]), np.asarray([0.5, 2.0, math.inf])
    result = spaces_of(make_environment(register(), {"action_space": spaces.Box(low, high, dtype=np.float64)}))
    assert result == Spaces(
        observation=3, actions=BoxActions(low=(-1.0, -math.inf, 0.0), high=(0.5, 2.0, math.inf), dtype="float64")
    )
    assert result.outputs == 3


@pytest.mark.parametrize(
    "original",
    [
        Spaces(observation=4, actions=DiscreteActions(count=2, start=1)),
        Spaces(observation=3, actions=BoxActions(low=(-1.0, -math.inf), high=(math.inf, 2.0))),
        Spaces(observation=3, actions=BoxActions(low=(-0.1,), high=(0.1,), dtype="float64")),
    ],
)
def test_spaces_survive_plain_data(original: Spaces) -> None:
    text = json.dumps(original.to_dict(), allow_nan=False)
    assert Spaces.from_dict(json.loads(text)) == original


OLD: list[tuple[dict[str, Any], Spaces]] = [
    (
        {"observation": 4, "discrete": 3, "start": -7, "low": [], "high": [], "dtype": "float32"},
        Spaces(observation=4, actions=DiscreteActions(count=3, start=-7)),
    ),
    (
        {"observation": 3, "discrete": None, "start": 0, "low": [-1.0, None], "high": [None, 2.0], "dtype": "float64"},
        Spaces(observation=3, actions=BoxActions(low=(-1.0, -math.inf), high=(math.inf, 2.0), dtype="float64")),
    ),
    (
        {"observation": 3, "discrete": None, "start": 0, "low": [-1.0], "high": [2.0]},
        Spaces(observation=3, actions=BoxActions(low=(-1.0,), high=(2.0,))),
    ),
]


@pytest.mark.parametrize(("data", "expected"), OLD, ids=["discrete", "box", "no dtype"])
def test_spaces_that_were_written_before_actions_had_kinds(data: dict[str, Any], expected: Spaces) -> None:
    assert Spaces.from_dict(data) == expected


@pytest.mark.parametrize("truncates", [False, True])
def test_a_return_is_the_sum_of_the_rewards_of_one_episode(truncates: bool) -> None:
    environment = Scripted(rewards=(1.0, -2.5, 10.0), truncates=truncates)
    seen: list[Any] = []
    assert episode_return(environment, lambda observation: seen.append(observation) or 0, 0) == 8.5
    assert len(seen) == 3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_stops_at_its_step(bad: float) -> None:
    environment = Scripted(rewards=(1.0, 1.0, bad, 1.0))
    with pytest.raises(FailedEpisodeError, match="not finite at step 3 of the episode with seed 17"):
        episode_return(environment, lambda _: 0, 17)


def test_random_returns_depend_on_the_seed_alone() -> None:
    environment = make_environment("CartPole-v1")
    first = random_returns(environment, [5, 6, 7, 8])
    environment.action_space.seed(99)
    environment.reset(seed=99)
    assert random_returns(environment, [8, 6, 5, 7]) == [first[3], first[1], first[0], first[2]]
    assert random_returns(make_environment("CartPole-v1"), [5, 6, 7, 8]) == first
    assert len(set(first)) > 1


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("LunarLander-v3", {"gravity": 5.0}),
        ("Hopper-v5", {"xml_file": "/nowhere.xml"}),
        ("FrozenLake-v1", {"map_name": "9x9"}),
    ],
)
def test_arguments_that_an_environment_itself_refuses(env_id: str, kwargs: dict[str, Any]) -> None:
    with pytest.raises(UnusableEnvironmentError, match=rf"'{env_id}' cannot be made \("):
        make_environment(env_id, kwargs)
