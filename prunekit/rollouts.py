"""Episodes: an environment, a seed each, and something that acts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from prunekit.errors import CheckError

Act = Callable[[Any], Any]


def episode_return(environment: gym.Env[Any, Any], act: Act, seed: int) -> float:
    """Return the sum of rewards of one episode begun with ``seed``; ``act`` maps an observation to an action.

    Raises CheckError, naming the step, for a reward that is not finite.
    """
    observation, _ = environment.reset(seed=seed)
    total, step, over = 0.0, 0, False
    while not over:
        observation, reward, terminated, truncated, _ = environment.step(act(observation))
        total += float(reward)
        step += 1
        if not np.isfinite(total):
            raise CheckError(f"the reward is not finite at step {step} of the episode with seed {seed}")
        over = terminated or truncated
    return total


def random_returns(environment: gym.Env[Any, Any], seeds: Sequence[int]) -> list[float]:
    """Return the random policy's return for each episode seed, which seeds its actions too."""
    returns = []
    for seed in seeds:
        environment.action_space.seed(seed)
        returns.append(episode_return(environment, lambda _: environment.action_space.sample(), seed))
    return returns
