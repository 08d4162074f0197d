"""The channel between an environment and its policy: noise, lost observations, delay, and noise on actions."""

from __future__ import annotations

from collections import deque
from copy import deepcopy
from typing import Any, final

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from prunekit.disturbances.deviation import Act
from prunekit.disturbances.record import Disturbance
from prunekit.errors import InputError
from prunekit.spaces.kind import ActionKind, kind_of_space

# The streams of random numbers of an episode. The number of draws from each does not depend on the policy or on other
# disturbances. So all policies meet the same random events, and more noise is the same noise multiplied.
OBSERVATION, ACTION, DROP, PARAMETERS, NEXT_SEED = 1, 2, 3, 4, 5


@final
class Channel:
    """The effect of ``disturbance`` between the environment ``name`` and its policies, except randomized parameters.

    ``deviation`` [obs] is needed only for noise on observations. Raises InputError if it is missing or not finite, and
    if noise is not defined for the actions.
    """

    def __init__(
        self,
        disturbance: Disturbance,
        deviation: NDArray[np.float64] | None,
        action_space: gym.Space[Any],
        name: str,
    ) -> None:
        self.disturbance = disturbance
        self.noise = _noise_sizes(disturbance, deviation)
        self.actions = _noisy_actions(action_space, name) if disturbance.action_noise else None

    def episode(self, seed: int) -> ChannelEpisode:
        """Return the channel in the episode with ``seed``."""
        return ChannelEpisode(self, seed)

    def acting(self, act: Act, seed: int) -> Act:
        """Return ``act`` behind the channel of the episode with ``seed``, for an environment without a wrapper."""
        episode = self.episode(seed)
        return lambda observation: episode.acted(act(episode.seen(observation)))


@final
class ChannelEpisode:
    """The channel in one episode: every observation goes through ``seen``, every action through ``acted``."""

    def __init__(self, channel: Channel, seed: int) -> None:
        self._channel = channel
        self._observed, self._acted, self._lost = (
            np.random.default_rng([seed, stream]) for stream in (OBSERVATION, ACTION, DROP)
        )
        self._waiting: deque[Any] = deque()
        self._arrived: Any = None

    def seen(self, observation: Any) -> Any:
        """Return what the policy sees when the environment shows ``observation``, as a new array."""
        disturbance, noise = self._channel.disturbance, self._channel.noise
        # An environment may write the next one over it.
        value: Any = deepcopy(observation) if isinstance(observation, dict | tuple) else np.array(observation)
        if noise is not None:
            noisy = value + noise * self._observed.standard_normal(noise.shape)
            value = noisy.astype(value.dtype if np.issubdtype(value.dtype, np.floating) else np.float64)
        lost = disturbance.drop > 0.0 and self._lost.random() < disturbance.drop
        if self._arrived is None or not lost:
            self._arrived = value
        self._waiting.append(self._arrived)
        if len(self._waiting) > disturbance.delay_steps + 1:
            self._waiting.popleft()
        return deepcopy(self._waiting[0])

    def acted(self, action: Any) -> Any:
        """Return the action that the environment receives for ``action``."""
        if self._channel.actions is None:
            return action
        return self._channel.actions.with_noise(action, self._channel.disturbance.action_noise, self._acted)


def _noise_sizes(disturbance: Disturbance, deviation: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    """Return the standard deviation of the noise on every entry; None without noise."""
    if not disturbance.observation_noise:
        return None
    if deviation is None:
        raise InputError("observation noise is relative to the observations' standard deviations; give them")
    if not np.isfinite(deviation).all():
        entry = int(np.flatnonzero(~np.isfinite(deviation))[0])
        raise InputError(
            f"entry {entry} of the observations has no finite standard deviation that noise could be relative to; "
            "leave observation noise out in this environment"
        )
    return disturbance.observation_noise * deviation


def _noisy_actions(space: gym.Space[Any], name: str) -> ActionKind:
    """Return the kind of actions in ``space``; raises InputError if noise is not defined for it."""
    try:
        kind = kind_of_space(space)
        kind.with_noise(deepcopy(space).sample(), 0.0, np.random.default_rng(0))
    except InputError as error:
        raise InputError(f"environment '{name}' {error}") from error
    return kind
