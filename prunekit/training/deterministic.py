"""What the deterministic policy of a finished run earns, beside the returns of training, which explores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, final

import gymnasium as gym
import numpy as np
import torch

from prunekit.environments import spaces_of
from prunekit.errors import InputError, PrunekitError
from prunekit.generators import isolated
from prunekit.policy.actor import Actor
from prunekit.rollouts import episode_return
from prunekit.stats.claim import counted

EPISODES = 10
"""Episodes that the deterministic policy plays at the end of a run, at most."""
_MAX_STEPS = 20_000
_MIN_EPISODES = 3


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


def falls_short(
    played: Sequence[float], trained: Sequence[float], floor: float, *, share: float = 0.5, margin: float = 2.0
) -> bool:
    """Return whether the deterministic policy gains less than ``share`` of what training did.

    ``played`` [n] are its returns and ``trained`` [m] the last ones of training; gains are over ``floor``, the random
    policy's return. The difference has to show beyond chance: with ``margin`` standard errors of both means. Fewer than
    3 returns of either show nothing. Raises InputError unless ``share`` lies in (0, 1).
    """
    if not 0.0 < share < 1.0:
        raise InputError(f"share must lie between 0 and 1, got {share:g}")
    if min(len(played), len(trained)) < _MIN_EPISODES:
        return False
    gain = fmean(trained) - margin * _error(trained) - floor
    return gain > 0.0 and fmean(played) + margin * _error(played) - floor < share * gain


def shortfall(played: Sequence[float], trained: Sequence[float], floor: float) -> str | None:
    """Return a sentence where the deterministic policy ``falls_short`` of its training; else None.

    >>> shortfall([0.0, 1.0, -1.0], [250.0] * 100, -200.0)[:59]
    'the deterministic policy, which is deployed, earned 0.0 in '
    """
    if not falls_short(played, trained, floor):
        return None
    return (
        f"the deterministic policy, which is deployed, earned {fmean(played):,.1f} in "
        f"{counted(len(played), 'episode')}, far less than the {fmean(trained):,.1f} of the last {len(trained)} "
        "training episodes, which explore; train again with another `seed`"
    )


def _error(values: Sequence[float]) -> float:
    return stdev(values) / math.sqrt(len(values))
