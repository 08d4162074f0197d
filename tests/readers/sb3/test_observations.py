"""Observations that are no plain row of floats, and actions that are none: as the library takes and gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from sb3_zips import Odd, assert_refused, flat, saved, spread_out_
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from prunekit.environments import Spaces, described_spaces
from prunekit.errors import InputError
from prunekit.graph.reference import run_step
from prunekit.readers.sb3.graph import read_zip

ROWS = 200
CHOICE = spaces.Discrete(3)
BOX = spaces.Box(np.float32([-2.0, -1.0]), np.float32([2.0, 0.5]))
MIXED = spaces.Dict(
    {
        "speed": spaces.Box(-1.0, 1.0, (3,)),
        "goal": spaces.Box(-9.0, 9.0, (2, 2), np.float64),
        "gear": spaces.Discrete(4),
        "lamps": spaces.MultiBinary(2),
    }
)
# observations, actions, notes
SPACES: dict[str, tuple[spaces.Space[Any], spaces.Space[Any], str]] = {
    "discrete": (spaces.Discrete(6), CHOICE, "an integer (Discrete), made one-hot"),
    "multi-discrete": (spaces.MultiDiscrete([4, 2, 3]), BOX, "3 integers (MultiDiscrete), made one-hot"),
    "multi-binary": (spaces.MultiBinary(5), CHOICE, ""),
    "matrix": (spaces.Box(-1.0, 1.0, (3, 2)), BOX, "flattened, row by row"),
    "float64": (spaces.Box(-1.0, 1.0, (3,), np.float64), BOX, ""),
    "integers": (spaces.Box(-5, 5, (3,), np.int64), BOX, ""),
    "bytes": (spaces.Box(0, 255, (4,), np.uint8), BOX, ""),
    "dict": (MIXED, BOX, "observations 'goal' of shape [2, 2]"),
    "dict of one": (spaces.Dict(only=flat(3)), CHOICE, ""),
    "a number as action": (flat(), spaces.Box(-2.0, 1.0, ()), "actions of shape [] are flattened to a vector"),
    "a matrix as action": (flat(), spaces.Box(-2.0, 1.0, (2, 3)), "actions of shape [2, 3] are flattened to a vector"),
}


def model_of(name: str) -> BaseAlgorithm:
    observation, action, _ = SPACES[name]
    policy = "MultiInputPolicy" if isinstance(observation, spaces.Dict) else "MlpPolicy"
    algorithm, more = (DQN, {"buffer_size": 9}) if name == "multi-binary" else (PPO, {"n_steps": 8, "batch_size": 8})
    options: dict[str, Any] = {"policy_kwargs": {"net_arch": [7]}, "device": "cpu", "seed": 3, **more}
    model: BaseAlgorithm = algorithm(policy, Odd(observation, action), **options)
    spread_out_(model)
    return model


def sampled(space: spaces.Space[Any]) -> Any:
    space.seed(5)
    if isinstance(space, spaces.Dict):
        return {name: sampled(part) for name, part in space.spaces.items()}
    return np.stack([space.sample() for _ in range(ROWS)])


def ports(observation: Any) -> dict[str, Any]:
    given = observation if isinstance(observation, dict) else {"obs": observation}
    return {name: np.asarray(value, np.float32).reshape(ROWS, -1) for name, value in given.items()}


@pytest.mark.parametrize("name", SPACES)
def test_the_graph_acts_as_predict_does(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    found = read_zip(saved(model, tmp_path))
    rows = sampled(SPACES[name][0])
    expected, _ = model.predict(rows, deterministic=True)
    actions = run_step(found.graph, ports(rows), {}, np.float32)[0]["action"]
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(actions, np.asarray(expected).reshape(actions.shape), rtol=1e-5, atol=1e-5)
    assert SPACES[name][2] in " ".join(found.notes)


def own_spaces(observation: spaces.Space[Any], action: spaces.Space[Any]) -> Spaces:
    return described_spaces("flat", spaces.flatten_space(observation), action)


@pytest.mark.parametrize("name", ["discrete", "multi-discrete", "dict", "dict of one"])
def test_a_flattened_environment_is_read_as_one_row(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    observation, action, _ = SPACES[name]
    found = read_zip(saved(model, tmp_path), spaces=own_spaces(observation, action))
    observation.seed(7)
    rows = [observation.sample() for _ in range(20)]
    assert [port.name for port in found.graph.inputs] == (["only"] if name == "dict of one" else ["obs"])
    assert ("as FlattenObservation gives them" in " ".join(found.notes)) == (name != "dict of one")
    for row in rows:
        expected, _ = model.predict(row, deterministic=True)
        flat_row = np.asarray(spaces.flatten(observation, row), np.float32)[None]
        actions = run_step(found.graph, {found.graph.inputs[0].name: flat_row}, {}, np.float32)[0]["action"]
        np.testing.assert_allclose(actions[0], np.asarray(expected).reshape(actions[0].shape), rtol=1e-5, atol=1e-5)


def test_entries_of_a_dict_are_normalized_each_by_its_own(tmp_path: Path) -> None:
    space = spaces.Dict(goal=flat(2), speed=flat(3), gear=spaces.Discrete(4))
    plain = DummyVecEnv([lambda: Odd(space, BOX)])
    environment = VecNormalize(plain, norm_obs_keys=["goal", "speed"], clip_obs=2.0)
    generator = np.random.default_rng(2)
    for width, key in ((2, "goal"), (3, "speed")):
        environment.obs_rms[key].update(generator.normal(3.0, 2.0, (100, width)))
    model = SAC("MultiInputPolicy", environment, policy_kwargs={"net_arch": [7]}, buffer_size=9, device="cpu", seed=1)
    environment.save(str(tmp_path / "vecnormalize.pkl"))
    found = read_zip(saved(model, tmp_path), tmp_path / "vecnormalize.pkl")
    rows = sampled(space)
    expected, _ = model.predict(environment.normalize_obs(rows), deterministic=True)
    actions = run_step(found.graph, ports(rows), {}, np.float32)[0]["action"]
    np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="takes 6 values and gives 2"):
        read_zip(saved(model, tmp_path), tmp_path / "vecnormalize.pkl", spaces=own_spaces(space, BOX))
    other = PPO("MlpPolicy", Odd(flat(5), BOX), n_steps=8, batch_size=8, device="cpu")
    assert_refused(saved(other, tmp_path), "is for other observations", tmp_path / "vecnormalize.pkl")


@pytest.mark.parametrize("width", [5, 7])
def test_a_row_of_observation_and_desired_goal_is_normalized_by_entries(width: int, tmp_path: Path) -> None:
    space = spaces.Dict(achieved_goal=flat(2), desired_goal=flat(2), observation=flat(3))
    environment = VecNormalize(DummyVecEnv([lambda: Odd(space, BOX)]), clip_obs=2.0)
    for key in space.spaces:
        size = 3 if key == "observation" else 2
        environment.obs_rms[key].update(np.random.default_rng(size).normal(3.0, 2.0, (100, size)))
    environment.save(str(tmp_path / "vecnormalize.pkl"))
    model = SAC("MlpPolicy", Odd(flat(width), BOX), policy_kwargs={"net_arch": [7]}, buffer_size=9, device="cpu")
    if width == 7:
        assert_refused(saved(model, tmp_path), "is for other observations", tmp_path / "vecnormalize.pkl")
        return
    found = read_zip(saved(model, tmp_path), tmp_path / "vecnormalize.pkl")
    raw, normal = sampled(space), environment.normalize_obs(sampled(space))
    row, seen = (np.concatenate([one["observation"], one["desired_goal"]], axis=1) for one in (raw, normal))
    expected, _ = model.predict(seen, deterministic=True)
    actions = run_step(found.graph, {"obs": row.astype(np.float32)}, {}, np.float32)[0]["action"]
    np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-5)


def test_entries_of_a_flattened_dict_are_normalized_each_by_its_own(tmp_path: Path) -> None:
    space = spaces.Dict(speed=flat(3), goal=flat(2), left=flat(2))
    environment = VecNormalize(DummyVecEnv([lambda: Odd(space, BOX)]), norm_obs_keys=["goal", "speed"], clip_obs=2.0)
    for width, key in ((2, "goal"), (3, "speed")):
        environment.obs_rms[key].update(np.random.default_rng(2).normal(3.0, 2.0, (100, width)))
    model = SAC("MultiInputPolicy", environment, policy_kwargs={"net_arch": [7]}, buffer_size=9, device="cpu", seed=1)
    environment.save(str(tmp_path / "vecnormalize.pkl"))
    found = read_zip(saved(model, tmp_path), tmp_path / "vecnormalize.pkl", spaces=own_spaces(space, BOX))
    rows = sampled(space)
    expected, _ = model.predict(environment.normalize_obs(rows), deterministic=True)
    joined = np.concatenate([rows[name] for name in space.spaces], axis=1).astype(np.float32)
    actions = run_step(found.graph, {"obs": joined}, {}, np.float32)[0]["action"]
    np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-5)


def test_numbers_that_do_not_begin_at_0_and_names_of_outputs_are_refused(tmp_path: Path) -> None:
    model = PPO("MultiInputPolicy", Odd(spaces.Dict(action=flat()), BOX), n_steps=8, batch_size=8, device="cpu")
    assert_refused(saved(model, tmp_path), "cannot be inputs of a graph")
    later = PPO("MlpPolicy", Odd(spaces.Discrete(4), BOX), n_steps=8, batch_size=8, device="cpu")
    later.observation_space = spaces.Discrete(4, start=1)
    assert_refused(saved(later, tmp_path), "do not start at 0")
