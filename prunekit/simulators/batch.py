"""Many environments that step together: a vector environment, or a simulator of torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray


class Seeding(Enum):
    """What a seed does to the episodes of a batch."""

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
        """What it is called in messages and certificates."""

    @property
    def width(self) -> int:
        """How many environments there are."""

    @property
    def seeding(self) -> Seeding:
        """What a seed does."""

    @property
    def registered(self) -> EnvSpec | None:
        """What gymnasium's registry says of it, where it is there."""

    @property
    def observation_space(self) -> gym.Space[Any]:
        """The observations of one environment."""

    @property
    def action_space(self) -> gym.Space[Any]:
        """The actions of one environment."""

    def begin(self, seeds: Sequence[int]) -> NDArray[Any]:
        """Begin an episode in all of them; return the observations."""

    def step(self, actions: Sequence[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
        """Take one action each; return observations, rewards, and which episodes end here."""


@runtime_checkable
class Simulator(Protocol):
    """The shape of batched simulators of torch tensors, such as Isaac Lab's and the ``VecEnv`` of rsl_rl.

    ``reset`` returns the observations [num_envs, obs], alone or with a mapping of other things; ``step`` takes actions
    [num_envs, actions] and returns (observations, rewards, ends, others) or (observations, rewards, terminated,
    truncated, others). Observations may be a mapping that has them under "policy". An environment whose episode ended
    begins another one by itself.
    """

    num_envs: int

    def reset(self) -> Any:
        """Begin an episode in every environment."""

    def step(self, actions: Any, /) -> Any:
        """Take a step in every environment."""
