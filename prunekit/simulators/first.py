"""The first environment of a batch as a single environment."""

from __future__ import annotations

from typing import Any, final

import gymnasium as gym

from prunekit.simulators.batch import Batch, Seeding


@final
class FirstOfBatch(gym.Env[Any, Any]):
    """The first environment of ``batch``. The others take the same actions, and their results are ignored."""

    def __init__(self, batch: Batch, name: str) -> None:
        self._batch, self.name, self.seeding = batch, name, batch.seeding
        self.observation_space, self.action_space = batch.observation_space, batch.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in all environments; a seed that the batch ignores is not an error."""
        super().reset(seed=seed, options=options)
        first = int(self.np_random.integers(2**31)) if seed is None else seed
        wanted = 1 if self._batch.seeding is Seeding.NONE else self._batch.width
        return self._batch.begin(range(first, first + wanted))[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step all environments; a batch does not report whether an episode was truncated."""
        observations, rewards, over = self._batch.step([action] * self._batch.width)
        return observations[0], float(rewards[0]), bool(over[0]), False, {}
