"""Environments in which a policy is good or bad within a moment, in every shape that the Python functions take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunekit.benching.figures import DeviceFigures, Place
from prunekit.benching.models import BenchModel
from prunekit.benching.runtimes import OnnxRuntime, Runtime
from prunekit.benching.settings import BenchSettings

STEPS = 8
SPACE = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
ACTIONS = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)


class Follow(gym.Env[Any, Any]):
    """Reward is lost by how far the action is from the first number that is seen."""

    def __init__(self, steps: int = STEPS) -> None:
        self.observation_space, self.action_space, self.steps = SPACE, ACTIONS, steps
        self.seen = np.zeros(2, np.float32)
        self.age = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.age = 0
        return self.look(), {}

    def look(self) -> NDArray[np.float32]:
        self.seen = self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)
        return self.seen.copy()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.age += 1
        reward = -abs(float(action[0]) - float(self.seen[0]))
        return self.look(), reward, False, self.age == self.steps, {}


def make_follow(steps: int = STEPS) -> gym.Env[Any, Any]:
    return Follow(steps)


class FollowMany:
    """The same as a batched simulator of tensors."""

    single_action_space = ACTIONS

    def __init__(self, num_envs: int = 2) -> None:
        self.num_envs = num_envs
        self.generator = torch.Generator().manual_seed(0)
        self.seen = torch.zeros(num_envs, 2)
        self.age = 0

    def look(self) -> Tensor:
        self.seen = torch.rand(self.num_envs, 2, generator=self.generator) * 2 - 1
        return self.seen

    def reset(self) -> tuple[Tensor, dict[str, Any]]:
        self.age = 0
        return self.look(), {}

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
        self.age += 1
        rewards = -(actions[:, 0] - self.seen[:, 0]).abs()
        over = torch.full((self.num_envs,), self.age % STEPS == 0)
        return self.look(), rewards, over, {}


def following(observations: NDArray[np.float32]) -> NDArray[np.float32]:
    """The best answers [n, 1] to observations [n, 2]."""
    return observations[:, :1]


class Playing:
    """A device on which policies play, and nothing is measured."""

    name = "playing"

    def seeds(self, settings: BenchSettings) -> range:
        return settings.seeds

    def runtime(self, model: BenchModel, place: Place) -> Runtime:
        return OnnxRuntime(model, place.spaces)

    def figures(self, models: Sequence[BenchModel], *_: object) -> list[DeviceFigures]:
        return [DeviceFigures() for _ in models]
