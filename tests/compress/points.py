"""A small environment to compress policies of: a point on a line that is to be kept near its middle."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

CONTINUOUS, DISCRETE, FROM_ZERO, POINTLESS = "Point-v0", "PointDiscrete-v0", "PointFromZero-v0", "Pointless-v0"
LEVERS, SWITCHES = "PointLevers-v0", "PointSwitches-v0"


class Point(gym.Env[Any, Any]):
    """Position and velocity, 30 steps; 1 - |position| per step, at least 0. Discrete actions: left, nothing, right."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def __init__(self, discrete: bool = False, reward: float = 1.0, start: int = 1) -> None:
        self.discrete, self.reward, self.start = discrete, reward, start
        self.action_space = spaces.Discrete(3, start=start) if discrete else spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._state = np.zeros(2)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        generator = self.np_random if seed is None else np.random.default_rng([seed, 1])  # not what actions come from
        self._state, self._steps = generator.uniform(-1.0, 1.0, 2), 0
        return self._state.astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self._state[1] += 0.3 * self.push(action)
        self._state[0] += 0.3 * self._state[1]
        self._steps += 1
        reward = self.reward * max(1.0 - abs(float(self._state[0])), 0.0)
        return self._state.astype(np.float32), reward, False, self._steps >= 30, {}

    def push(self, action: Any) -> float:
        return float(action) - self.start - 1.0 if self.discrete else float(action[0])


class Levers(Point):
    """The same with two choices: left, nothing or right, numbered from 1, and weak or strong."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.MultiDiscrete([3, 2], start=[1, 0])

    def push(self, action: Any) -> float:
        return float(action[0] - 2) * (1.0 + float(action[1])) / 2.0


def steer(seen: Any) -> Any:
    """Return what a good controller does in the continuous environment, [n, 1]."""
    return np.clip(-1.5 * seen[:, :1] - 1.8 * seen[:, 1:], -1.0, 1.0).astype(np.float64)


def push(seen: Any) -> Any:
    """Return the numbers of the actions that a good controller chooses in the discrete one, [n]."""
    return 2 + np.sign(np.round(1.2 * steer(seen)[:, 0])).astype(np.int64)


class Switches(Point):
    """The same with two switches: one pushes left, the other right."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.MultiBinary(2)

    def push(self, action: Any) -> float:
        return float(action[1]) - float(action[0])


def press(seen: Any) -> Any:
    """Return the switches of a good controller, [n, 2]."""
    wanted = 1.4 * steer(seen)
    return np.concatenate([wanted < -0.5, wanted > 0.5], axis=1).astype(np.int64)


def pull(seen: Any) -> Any:
    """Return the choices of a good controller with levers, [n, 2]."""
    wanted = steer(seen)[:, 0]
    return np.stack([2 + np.sign(np.round(1.4 * wanted)), np.abs(wanted) > 0.7], axis=1).astype(np.int64)


gym.register(CONTINUOUS, Point)
gym.register(LEVERS, Levers)
gym.register(SWITCHES, Switches)
gym.register(DISCRETE, Point, kwargs={"discrete": True})
gym.register(FROM_ZERO, Point, kwargs={"discrete": True, "start": 0})
gym.register(POINTLESS, Point, kwargs={"reward": 0.0})
