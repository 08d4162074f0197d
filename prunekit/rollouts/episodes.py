"""One episode of an environment, with a seed and a policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from prunekit.environment_functions import first_line
from prunekit.environments import id_of
from prunekit.errors import FailedEpisodeError, PrunekitError
from prunekit.lazy import gymnasium as gym

Act = Callable[[Any], Any]

MAX_STEPS = 100_000
"""Of an episode where the environment has no limit of its own; half an hour of control at 50 Hz."""


def episode(
    environment: gym.Env[Any, Any], seed: int, max_steps: int = MAX_STEPS
) -> Generator[Any, Any, tuple[float, int]]:
    """Play one episode with ``seed``: a generator that yields observations, receives actions, and returns (return,
    steps).

    The limit is ``max_steps``, or the environment's own limit if that is larger.

    Raises FailedEpisodeError, naming environment, step and seed, if the environment fails, gives a reward that is not
    finite, or does not end the episode within the limit. An error of prunekit that is thrown in becomes a
    FailedEpisodeError if the observation was not finite; otherwise it is raised unchanged.
    """
    try:
        observation, _ = environment.reset(seed=seed)
    except Exception as error:
        raise failed(environment, f"at the reset with seed {seed}", error) from error
    own = None if environment.spec is None else environment.spec.max_episode_steps
    limit = max(max_steps, own or 0)
    total, step, over = 0.0, 0, False
    while not over:
        try:
            action = yield observation
        except PrunekitError as error:
            if np.isfinite(observation).all():
                raise
            raise FailedEpisodeError(
                f"environment '{id_of(environment)}': the observation is not finite after {step} steps of the episode "
                f"with seed {seed}"
            ) from error
        step += 1
        try:
            observation, reward, terminated, truncated, _ = environment.step(action)
            total += float(reward)
        except Exception as error:
            raise failed(environment, f"at step {step} of the episode with seed {seed}", error) from error
        if not math.isfinite(total):
            raise FailedEpisodeError(
                f"environment '{id_of(environment)}': the reward is not finite at step {step} of the episode with seed "
                f"{seed}"
            )
        over = terminated or truncated
        if not over and step >= limit:
            raise FailedEpisodeError(
                f"environment '{id_of(environment)}': the episode with seed {seed} has not ended after {step:,} steps; "
                "register it with max_episode_steps"
            )
    return total, step


def episode_return(environment: gym.Env[Any, Any], act: Act, seed: int, *, max_steps: int = MAX_STEPS) -> float:
    """Return the sum of rewards of one episode with ``seed``; ``act`` maps an observation to an action.

    Raises FailedEpisodeError as ``episode`` does. Errors of ``act`` are raised unchanged, unless its observation was
    not finite.
    """
    playing = episode(environment, seed, max_steps)
    observation = next(playing)
    while True:
        try:
            action = act(observation)
        except PrunekitError as error:
            playing.throw(error)
            raise AssertionError("an episode ends with what is thrown in") from error
        try:
            observation = playing.send(action)
        except StopIteration as end:
            return float(end.value[0])


def random_returns(environment: gym.Env[Any, Any], seeds: Sequence[int]) -> list[float]:
    """Return the random policy's return for each episode seed, which seeds its actions too."""
    returns = []
    for seed in seeds:
        environment.action_space.seed(seed)
        returns.append(episode_return(environment, lambda _: environment.action_space.sample(), seed))
    return returns


def failed(environment: gym.Env[Any, Any], where: str, error: Exception) -> FailedEpisodeError:
    """Return an error that says ``where`` the environment raised ``error``."""
    told = f"{type(error).__name__}: {first_line(error)}"
    return FailedEpisodeError(f"environment '{id_of(environment)}' failed {where} ({told})")
