"""What a name behind a module means: the module's own id, its function, or an id of any package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from prunekit.environments import arguments_for, id_of, make_environment
from prunekit.simulators.spec import environment_spec
from prunekit.training.run import _without_module

NAME, ELSEWHERE = "prunekit_test_names", "prunekit_test_elsewhere"
SOURCE = """
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv, PendulumEnv
from prunekit_test_elsewhere import Remote

class Pendulum(CartPoleEnv):
    pass

def CartPole(sutton_barto_reward=False):
    return gym.make("Pendulum-v1")

def Hopper():
    return gym.make("CartPole-v1")

class Timed(CartPoleEnv):
    pass

def Acrobot():
    return gym.make("CartPole-v1")

gym.register("Timed-v0", entry_point="prunekit_test_names:Timed", max_episode_steps=5)
gym.register("Timed-v1", entry_point=Timed, max_episode_steps=6)
gym.register("Remote-v0", entry_point="prunekit_test_elsewhere:Remote", max_episode_steps=7)
"""
REMOTE = "from gymnasium.envs.classic_control import CartPoleEnv\n\nclass Remote(CartPoleEnv):\n    pass\n"
IDS = ("Timed-v0", "Timed-v1", "Remote-v0")


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, source in ((NAME, SOURCE), (ELSEWHERE, REMOTE)):
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in (NAME, ELSEWHERE):
        sys.modules.pop(name, None)
    for env_id in IDS:
        gym.registry.pop(env_id, None)


@pytest.mark.parametrize("called", ["Pendulum", "CartPole", "Hopper", "Acrobot"])
@pytest.mark.parametrize("imported_before", [False, True])
def test_a_function_is_not_taken_for_an_id_of_another_package(called: str, imported_before: bool) -> None:
    if imported_before:
        __import__(NAME)
    made = make_environment(f"{NAME}:{called}")
    assert id_of(made) == f"{NAME}:{called}"
    width = made.observation_space.shape
    assert width == ((3,) if called == "CartPole" else (4,))


def test_an_id_of_the_module_s_own_is_no_function_and_keeps_its_time_limit() -> None:
    made = make_environment(f"{NAME}:Timed")
    assert id_of(made) == "Timed-v1"
    assert made.spec is not None
    assert made.spec.max_episode_steps == 6
    assert id_of(make_environment(f"{NAME}:Timed-v0")) == "Timed-v0"
    assert id_of(make_environment(f"{NAME}:Remote")) == "Remote-v0"  # what it calls so is what was registered


def test_an_id_without_a_version_is_the_module_s_own_latest_whatever_others_register() -> None:
    gym.register("Timed-v9", entry_point="gymnasium.envs.classic_control:PendulumEnv")
    try:
        assert id_of(make_environment(f"{NAME}:Timed")) == "Timed-v1"
    finally:
        gym.registry.pop("Timed-v9")


def test_what_the_module_has_not_is_an_id_of_any_package_as_for_gymnasium() -> None:
    assert id_of(make_environment(f"{NAME}:CartPole-v1")) == "CartPole-v1"
    assert id_of(make_environment(f"{ELSEWHERE}:Pendulum")) == "Pendulum-v1"


@pytest.mark.parametrize(
    ("asked", "named", "same"),
    [
        (f"{NAME}:CartPole", "CartPole-v1", False),
        (f"{NAME}:CartPole", f"{NAME}:CartPole", True),
        (f"{NAME}:CartPole", f"{ELSEWHERE}:CartPole", False),
        ("CartPole-v1", f"{NAME}:CartPole", False),
        (f"{NAME}:Timed", "Timed-v1", True),
        (f"{NAME}:Timed-v1", f"{ELSEWHERE}:Timed-v1", True),
        (f"{NAME}:Timed", "Timed-v0", False),
    ],
)
def test_the_arguments_of_a_file_are_not_for_another_environment_of_the_same_name(
    asked: str, named: str, same: bool
) -> None:
    given = {"sutton_barto_reward": True}
    found = arguments_for(asked, Path("model.pt"), {"id": named, "kwargs": given})
    assert found == (given if same else None)


def test_a_class_that_was_given_is_made_though_it_is_registered_too() -> None:
    __import__(NAME)
    given: Any = sys.modules[NAME]
    timed, hopper = environment_spec(given.Timed), environment_spec(given.Hopper)
    assert timed.make().spec is None  # as it was given, without the time limit of the id
    assert not timed.portable
    assert hopper.portable
    assert hopper.make().observation_space.shape == (4,)


def test_a_run_in_what_a_function_makes_does_not_go_on_in_that_of_another_module() -> None:
    requests = [
        {"env": {"id": env_id}} for env_id in (f"{NAME}:Hopper", f"{ELSEWHERE}:Hopper", "Hopper-v5", "m:Hopper-v5")
    ]
    one, other, plain, with_module = map(_without_module, requests)
    assert one != other
    assert plain == with_module
