"""What the deterministic policy of a finished run earns, beside the returns of training, which explores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any, final

import gymnasium as gym
import numpy as np
import torch

from prunekit.environments import spaces_of
from prunekit.errors import PrunekitError
from prunekit.generators import isolated
from prunekit.policy.actor import Actor
from prunekit.rollouts import episode_return

EPISODES = 10
"""Episodes that the deterministic policy plays at the end of a run, at most."""
_MAX_STEPS = 20_000


@final
@dataclass(frozen=True, kw_only=True)
class DeterministicReturns:
    """The deterministic policy's ``returns`` per episode; ``failure`` says why there are no more, if one failed."""

    returns: tuple[float, ...] = ()
    failure: str = ""

    @property
    def mean(self) -> float | None:
        """The mean return; None without an episode."""
        return fmean(self.returns) if self.returns else None


def play(
    actor: Actor, make: Callable[[], gym.Env[Any, Any]], total_steps: int, episodes: int = EPISODES
) -> DeterministicReturns:
    """Return what ``actor`` earns in ``episodes`` episodes of an environment that ``make`` makes, with seeds from 0 on.

    No further episode begins after a tenth of the run's ``total_steps``, or 20,000 steps. The environment's failure
    is told, not raised, because the run is complete without these episodes. Global generators are given back as they
    were.
    """
    if episodes < 1:
        return DeterministicReturns()
    returns: list[float] = []
    steps = 0
    try:
        environment = make()
        kind = spaces_of(environment).actions

        def act(observation: Any) -> Any:
            nonlocal steps
            steps += 1
            row = torch.from_numpy(np.array(observation, np.float32).reshape(1, -1))
            return kind.action(actor(row)[0].numpy())

        try:
            with isolated(0), torch.no_grad():
                for seed in range(episodes):
                    returns.append(episode_return(environment, act, seed, max_steps=_MAX_STEPS))
                    if steps >= min(_MAX_STEPS, total_steps // 10):
                        break
        finally:
            environment.close()
    except PrunekitError as error:
        return DeterministicReturns(returns=tuple(returns), failure=str(error))
    return DeterministicReturns(returns=tuple(returns))
