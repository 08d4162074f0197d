"""Recording: what a policy sees when it plays, in environments that take other actions than float32 too."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces as gym_spaces
from torch import nn

from prunekit.benching.compare import _fitting
from prunekit.environments import Spaces, spaces_of
from prunekit.export.recording import recorded_observations
from prunekit.policy.actor import Actor
from prunekit.policy.graphs import graph_of
from prunekit.policy.heads import ClipHead
from prunekit.policy.program import Program, lower
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions


class Narrow(gym.Env[Any, Any]):
    """Takes float64 within +-0.1, which float32 is outside of, and writes all observations into one buffer."""

    observation_space = gym_spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym_spaces.Box(-0.1, 0.1, (1,), np.float64)

    def __init__(self) -> None:
        self._buffer, self._steps = np.zeros(2, np.float32), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        self._buffer[:] = self.np_random.normal(size=2)
        return self._buffer, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self._steps += 1
        self._buffer[:] = self.np_random.normal(size=2)
        return self._buffer, 0.0, False, self._steps >= 20, {}


gym.register("Narrow-v0", Narrow, disable_env_checker=True)


def extreme() -> Program:
    """Return a policy whose actions are at their bounds nearly always."""
    network = nn.Sequential(nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight.fill_(1000.0)
    return lower(Actor(network, ClipHead(low=(-0.1,), high=(0.1,))))


def test_actions_are_what_the_environment_takes_and_observations_what_they_were() -> None:
    seen = recorded_observations(graph_of(extreme()), "Narrow-v0", {}, 2)
    assert seen.shape == (40, 2)
    assert len(np.unique(seen, axis=0)) == 40


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_what_a_device_answers_in_float32_is_fitted_to_the_environment(sign: float) -> None:
    environment = Narrow()
    spaces = spaces_of(environment)
    action = _fitting(lambda _: np.full(1, sign * 0.1, np.float32), spaces)(None)
    assert environment.action_space.contains(action)
    assert not environment.action_space.contains(np.full(1, sign * 0.1, np.float32))


def test_actions_that_fit_are_left_alone() -> None:
    chosen = _fitting(lambda _: 12, Spaces(observation=2, actions=DiscreteActions(count=3, start=10)))(None)
    assert (type(chosen), chosen) == (np.int64, 12)
    given = np.full(1, 0.1, np.float32)
    assert (
        _fitting(lambda _: given, Spaces(observation=2, actions=BoxActions(low=(-1.0,), high=(1.0,))))(None).tobytes()
        == given.tobytes()
    )
