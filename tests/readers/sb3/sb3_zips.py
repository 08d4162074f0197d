"""Models of the library, their zips, and what is read from them, for the tests beside this file."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from prunekit.errors import ArtifactError
from prunekit.graph.forms import MARGIN
from prunekit.graph.graph import Graph
from prunekit.graph.op import Op
from prunekit.graph.reference import run_step
from prunekit.readers.sb3.graph import read_zip

Array = np.ndarray[Any, np.dtype[Any]]


class Odd(gym.Env[Any, Any]):
    """An environment of any spaces, which always stands still."""

    def __init__(self, observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation, action

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}

    def step(self, _: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, True, False, {}


def flat(width: int = 4) -> spaces.Box:
    return spaces.Box(-math.inf, math.inf, (width,))


def saved(model: BaseAlgorithm, folder: Path) -> Path:
    model.save(folder / "policy.zip")
    return folder / "policy.zip"


def odd_ppo(folder: Path, observation: spaces.Space[Any], action: spaces.Space[Any], **options: Any) -> Path:
    policy = options.pop("policy", "MlpPolicy")
    return saved(PPO(policy, Odd(observation, action), n_steps=8, batch_size=8, device="cpu", **options), folder)


def head(graph: Graph) -> Op:
    return graph.nodes[-1].op


def acted(graph: Graph, raw: Array) -> Array:
    """Return the actions of ``graph`` in float32."""
    return outputs_of(graph, raw)["action"]


def outputs_of(graph: Graph, raw: Array) -> dict[str, Array]:
    return run_step(graph, {"obs": raw.reshape(len(raw), -1).astype(np.float32)}, {}, np.float32)[0]


@torch.no_grad()
def spread_out_(model: BaseAlgorithm, deviation: float = 0.8) -> None:
    """Draw weights with which every action is chosen and every bound is reached."""
    generator = torch.Generator().manual_seed(4)
    for parameter in model.policy.parameters():
        parameter.normal_(0.0, deviation, generator=generator)


def assert_acts_alike(graph: Graph, model: BaseAlgorithm, statistics: Any = None, count: int = 1000) -> None:
    """Compare raw observations, far outside the usual range too, where VecNormalize clips."""
    shape = model.observation_space.shape
    assert shape is not None
    scale = np.geomspace(0.1, 30.0, count).reshape(-1, *(1 for _ in shape))
    raw = (np.random.default_rng(1).normal(size=(count, *shape)) * scale).astype(np.float32)
    expected, _ = model.predict(raw if statistics is None else statistics.normalize_obs(raw), deterministic=True)
    found = outputs_of(graph, raw)
    assert found["action"].shape == expected.shape
    assert (np.ptp(expected, axis=0) > 0).any()
    if np.issubdtype(found["action"].dtype, np.integer):
        clear = MARGIN.of(head(graph), "action")(head(graph), found["outputs"]) > 1e-4
        assert clear.mean() > 0.98
        np.testing.assert_array_equal(found["action"][clear], expected[clear])
    else:
        np.testing.assert_allclose(found["action"], expected, rtol=1e-5, atol=1e-5)


def assert_refused(path: Path, reason: str = ".", statistics: Path | None = None) -> None:
    with pytest.raises(ArtifactError, match=reason) as refused:
        read_zip(path, statistics)
    assert str(refused.value).startswith(f"{statistics or path}: ")
    assert "\n" not in str(refused.value)


def edited(source: Path, at: Path, **entries: bytes | None) -> Path:
    """Write ``source`` again with some entries replaced (``policy`` is policy.pth), or left out where None."""
    names = {"policy": "policy.pth", "version": "_stable_baselines3_version", "data": "data"}
    replaced = {names[name]: content for name, content in entries.items()}
    path = at / "edited.zip"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = replaced.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return path


def entry(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def with_data(source: Path, at: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    data = json.loads(entry(source, "data"))
    change(data)
    return edited(source, at, data=json.dumps(data).encode())


def with_state(source: Path, at: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    state = torch.load(io.BytesIO(entry(source, "policy.pth")), weights_only=True)
    change(state)
    return edited(source, at, policy=torch_saved(state))


def torch_saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()
