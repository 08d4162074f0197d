"""A gymnasium vector environment as a ``Batch``, with any autoreset mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array
from numpy.typing import NDArray

from prunekit.simulators.batch import Seeding


@final
class VectorBatch:
    """A batch of ``environment``, called ``name`` in messages. It is not closed here.

    The constructor finds out what seeds determine.
    """

    def __init__(self, environment: VectorEnv[Any, Any, Any], name: str) -> None:
        self._environment, self.name = environment, name
        self.width = int(environment.num_envs)
        self.registered = environment.spec
        self.observation_space: gym.Space[Any] = environment.single_observation_space
        self.action_space: gym.Space[Any] = environment.single_action_space
        # Where the environment does not say, gymnasium's own default.
        mode = environment.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._mode = AutoresetMode(mode) if isinstance(mode, str) else mode
        self._ended = np.zeros(self.width, np.bool_)
        self.seeding = self._seeding()

    def begin(self, seeds: Sequence[int]) -> NDArray[Any]:
        """Reset all environments: each with its seed, or all with the first seed, or without one."""
        self._ended[:] = False
        seed: Any = {Seeding.EPISODES: list(seeds), Seeding.BATCHES: seeds[0], Seeding.NONE: None}[self.seeding]
        observations, _ = self._environment.reset(seed=seed)
        return np.array(observations)

    def step(self, actions: Sequence[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
        """Take one action each."""
        if self._mode is AutoresetMode.DISABLED and self._ended.any():
            self._environment.reset(options={"reset_mask": self._ended.copy()})
        space = self._environment.single_action_space
        empty: Any = create_empty_array(space, self.width)
        given = concatenate(space, list(actions), empty)
        observations, rewards, terminated, truncated, _ = self._environment.step(given)
        self._ended = np.logical_or(terminated, truncated)
        return np.array(observations), np.asarray(rewards, np.float64), self._ended

    def _seeding(self) -> Seeding:
        """Return what seeds determine: some environments take a single number, and others ignore seeds."""
        seeds = list(range(self.width))
        forwards, backwards = (self._reset(each) for each in (seeds, seeds[::-1]))
        if forwards is not None and backwards is not None and np.array_equal(forwards, backwards[::-1]):
            return Seeding.EPISODES
        first, again = self._reset(0), self._reset(0)
        same = first is not None and again is not None and np.array_equal(first, again)
        return Seeding.BATCHES if same else Seeding.NONE

    def _reset(self, seed: Any) -> NDArray[Any] | None:
        try:
            return np.array(self._environment.reset(seed=seed)[0])
        except Exception:  # what an environment raises for seeds that it does not take is its own affair
            return None
