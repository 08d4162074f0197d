"""An environment under a disturbance, which any runner of episodes can use in place of the environment."""

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
    """``environment`` under ``disturbance``: a policy gets other observations, and other actions arrive.

    Everything is drawn from the seed that ``reset`` is given; an episode without one of its own goes on from the last.
    ``deviation`` [obs] is the standard deviation of every entry over undisturbed episodes, and is needed for noise
    alone. Observations are arrays of their own, of the environment's dtype, or float64 where noise is added to whole
    numbers. Parameters of the environment are put back by ``restore`` and ``close``.

    Raises InputError where noise is asked for and a deviation is missing or not finite, where noise has no meaning for
    the actions, and for a parameter that the environment does not have.

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
        # Where the environment is made again per episode, its spaces stay those whose generators a caller has seeded.
        self.action_space, self.observation_space = environment.action_space, environment.observation_space
        self._channel = Channel(disturbance, deviation, environment.action_space, id_of(environment))
        self._varied = None
        if disturbance.randomization is not None:
            self._varied = Varied(environment, disturbance.randomization)
        self._seeds = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode under what ``seed`` says."""
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
        """Take a step by what arrives of ``action``; return what arrives of the observation."""
        observation, reward, terminated, truncated, info = self.env.step(self._episode.acted(action))
        return self._episode.seen(observation), reward, terminated, truncated, info

    def restore(self) -> None:
        """Put the environment's parameters back as they were."""
        if self._varied is not None:
            self._varied.restore()
            self.env = self._varied.environment

    def close(self) -> None:
        """Put the parameters back, and close the environment."""
        self.restore()
        super().close()


@contextmanager
def under(
    environment: gym.Env[Any, Any], disturbance: Disturbance, deviation: NDArray[np.float64] | None = None
) -> Iterator[DisturbedEnvironment]:
    """Give ``environment`` under ``disturbance`` for a while, and put its parameters back.

    Raises InputError as ``DisturbedEnvironment`` does.
    """
    disturbed = DisturbedEnvironment(environment, disturbance, deviation)
    try:
        yield disturbed
    finally:
        disturbed.restore()
