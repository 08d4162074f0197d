"""A wrapper that puts an environment under a disturbance; any runner can use it in place of the environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from prunekit.disturbances.channel import NEXT_SEED, PARAMETERS, Channel
from prunekit.disturbances.record import Disturbance
from prunekit.disturbances.varied import Varied
from prunekit.environments import id_of

_SEEDS = 2**32


@final
class DisturbedEnvironment(gym.Wrapper[Any, Any, Any, Any]):
    """``environment`` under ``disturbance``: observations change on their way to the policy, and actions on their way
    back.

    All random numbers come from the seed of ``reset``; an episode without a seed continues the sequence of the last
    one. ``deviation`` [obs] is the standard deviation of every entry over undisturbed episodes, and is needed only for
    noise. Observations are new arrays of the environment's dtype, or float64 if noise is added to integers. ``restore``
    and ``close`` restore the parameters of the environment.

    Raises InputError if noise needs a deviation that is missing or not finite, if noise is not defined for the actions,
    and for a parameter that the environment does not have.

    Example::

        disturbed = DisturbedEnvironment(gym.make("CartPole-v1"), Disturbance(delay_steps=1))
    """

    def __init__(
        self,
        environment: gym.Env[Any, Any],
        disturbance: Disturbance,
        deviation: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__(environment)
        # If a new environment is made per episode, the spaces stay the ones whose generators the caller has seeded.
        self.action_space, self.observation_space = environment.action_space, environment.observation_space
        self._channel = Channel(disturbance, deviation, environment.action_space, id_of(environment))
        self._varied = None
        if disturbance.randomization is not None:
            self._varied = Varied(environment, disturbance.randomization)
        self._seeds = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode with the disturbance of ``seed``."""
        if seed is None:
            own = int(self._seeds.integers(_SEEDS))
        else:
            own = seed
            self._seeds = np.random.default_rng([seed, NEXT_SEED])
        if self._varied is not None:
            self.env = self._varied.vary(np.random.default_rng([own, PARAMETERS]))
            if self._varied.is_made_again:
                seed = own
        observation, info = self.env.reset(seed=seed, options=options)
        if self._varied is not None:
            self._varied.require_kept()
        self._episode = self._channel.episode(own)
        return self._episode.seen(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step with the disturbed action, and return the disturbed observation."""
        observation, reward, terminated, truncated, info = self.env.step(self._episode.acted(action))
        return self._episode.seen(observation), reward, terminated, truncated, info

    def restore(self) -> None:
        """Restore the environment's parameters."""
        if self._varied is not None:
            self._varied.restore()
            self.env = self._varied.environment

    def close(self) -> None:
        """Restore the parameters and close the environment."""
        self.restore()
        super().close()


@contextmanager
def under(
    environment: gym.Env[Any, Any], disturbance: Disturbance, deviation: NDArray[np.float64] | None = None
) -> Iterator[DisturbedEnvironment]:
    """Yield ``environment`` under ``disturbance``, and restore its parameters at the end.

    Raises InputError as ``DisturbedEnvironment`` does.
    """
    disturbed = DisturbedEnvironment(environment, disturbance, deviation)
    try:
        yield disturbed
    finally:
        disturbed.restore()
