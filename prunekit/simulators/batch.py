"""Batches of environments that step together: a vector environment, or a simulator of torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import gymnasium as gym
    from gymnasium.envs.registration import EnvSpec


class Seeding(Enum):
    """What a seed determines in the episodes of a batch."""

    EPISODES = "episodes"
    """Every episode begins as its own seed says: two policies play the same ones."""
    BATCHES = "batches"
    """One seed says how all of a batch begin: two policies play the same ones in the same batches."""
    NONE = "none"
    """None at all: two policies play independent draws."""


class Batch(Protocol):
    """``width`` environments of one kind. Observations are [width, obs], rewards and ends [width]."""

    @property
    def name(self) -> str:
        """The name in messages and certificates."""

    @property
    def width(self) -> int:
        """The number of environments."""

    @property
    def seeding(self) -> Seeding:
        """What a seed determines."""

    @property
    def registered(self) -> EnvSpec | None:
        """The entry in Gymnasium's registry, or None."""

    @property
    def observation_space(self) -> gym.Space[Any]:
        """The observation space of one environment."""

    @property
    def action_space(self) -> gym.Space[Any]:
        """The action space of one environment."""

    def begin(self, seeds: Sequence[int]) -> NDArray[Any]:
        """Begin an episode in every environment, and return the observations."""

    def step(self, actions: Sequence[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
        """Take one action in each environment; return observations, rewards, and which episodes have ended."""


@runtime_checkable
class Simulator(Protocol):
    """The interface of batched simulators of torch tensors, such as those of Isaac Lab and rsl_rl.

    ``reset`` returns the observations [num_envs, obs], alone or with a mapping of extras. ``step`` takes actions
    [num_envs, actions] and returns (observations, rewards, dones, extras) or (observations, rewards, terminated,
    truncated, extras). Observations may be a mapping with the key "policy". An environment whose episode has ended
    begins the next one by itself.
    """

    num_envs: int

    def reset(self) -> Any:
        """Begin an episode in every environment."""

    def step(self, actions: Any, /) -> Any:
        """Take a step in every environment."""
