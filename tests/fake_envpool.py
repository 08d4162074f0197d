"""A small stand-in for EnvPool, of Gymnasium's own environments: the part of its interface that is used here."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np


class Pool:
    """Environments in lockstep, each with a generator of its own from its seed; one that has ended begins anew."""

    def __init__(
        self, env_id: str, seeds: list[int], limit: int, force: float, shift: float, broken: Sequence[int]
    ) -> None:
        self.environments: list[Any] = [
            gym.make(env_id, max_episode_steps=limit, disable_env_checker=True) for _ in seeds
        ]
        for environment, seed in zip(self.environments, seeds, strict=True):
            environment.reset(seed=seed)
            environment.unwrapped.force_mag *= force
        for index in broken:
            self.environments[index].unwrapped.force_mag = np.nan
        self.shift, self.over = shift, np.zeros(len(seeds), bool)
        self.action_space = self.environments[0].action_space
        self.observation_space = self.environments[0].observation_space
        self.config = {"num_envs": len(seeds), "duration": 30}

    def reset(self, env_ids: Any = None) -> tuple[Any, dict[str, Any]]:
        chosen = np.arange(len(self.environments)) if env_ids is None else np.asarray(env_ids)
        rows = [self._begun(index) for index in chosen]
        return np.stack(rows), {"env_id": chosen, "players": {"env_id": chosen}}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        rows = []
        for index, (environment, action) in enumerate(zip(self.environments, actions, strict=True)):
            if self.over[index]:
                rows.append((self._begun(index), 0.0, False, False))
                continue
            rows.append(environment.step(action)[:4])
            self.over[index] = rows[-1][2] or rows[-1][3]
        observed, rewards, terminated, truncated = zip(*rows, strict=True)
        return np.stack(observed), np.array(rewards, np.float32), np.array(terminated), np.array(truncated), {}

    def close(self) -> None:
        for environment in self.environments:
            environment.close()

    def _begun(self, index: int) -> Any:
        self.over[index] = False
        observation = self.environments[index].reset()[0] + np.float32(self.shift)
        self.environments[index].unwrapped.state = np.array(observation, np.float64)
        return observation


def fake(force: float = 1.0, shift: float = 0.0, broken: Sequence[int] = ()) -> Any:
    """Return a module with CartPole-v1, its force so many times the true one, its beginnings moved by so much.

    Those of the ``broken`` in every pool show what is not finite.
    """
    names = ("num_envs", "seed", "num_threads", "max_episode_steps")

    def make(name: str, num_envs: int, seed: list[int], num_threads: int, max_episode_steps: int) -> Pool:
        assert (len(seed), num_threads) == (num_envs, 1)
        return Pool(name, seed, max_episode_steps, force, shift, broken)

    return SimpleNamespace(
        __version__="0.0-fake",
        list_all_envs=lambda: ["CartPole-v1", "MountainCar-v0", "LunarLander-v3"],
        make_spec=lambda _: SimpleNamespace(config=namedtuple("Config", names)(*names)),
        make_gymnasium=make,
    )
