"""Observations that a policy sees when it acts, to take ranges from and to test with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.environments import Spaces, make_environment, spaces_of
from prunekit.errors import InputError
from prunekit.policy.heads import ArgmaxHead
from prunekit.policy.oracle import run_oracle
from prunekit.policy.program import Program
from prunekit.rollouts import episode_return

# No return is measured and nothing certified on these seeds.
FIRST_SEED = 5_000_000
_MOST_EPISODES = 100_000


def require_place(name: str, program: Program, spaces: Spaces, place: str) -> None:
    """Raise InputError unless ``program``, called ``name``, takes observations and gives actions of ``spaces``."""
    fix = "give the model's own environment with --env"
    sizes, wanted = (program.inputs, program.outputs), (spaces.observation, spaces.outputs)
    if sizes != wanted:
        raise InputError(
            f"{name}: maps {sizes[0]} values to {sizes[1]}, but {place} needs {wanted[0]} to {wanted[1]}; {fix}"
        )
    head = program.head
    first = head.start if isinstance(head, ArgmaxHead) else None
    if first != (None if spaces.discrete is None else spaces.start):
        gives, needs = (
            "continuous actions" if number is None else f"action numbers from {number}"
            for number in (first, None if spaces.discrete is None else spaces.start)
        )
        raise InputError(f"{name}: gives {gives}, but {place} needs {needs}; {fix}")


def recorded_observations(
    program: Program, env_id: str, kwargs: Mapping[str, Any], episodes: int
) -> NDArray[np.float32]:
    """Return the observations float32 [n, inputs] of ``episodes`` that ``program`` plays.

    Raises InputError where the environment is not the policy's, or there is no episode to play.
    """
    require_episodes(episodes)
    environment = make_environment(env_id, kwargs)
    try:
        spaces = spaces_of(environment)
        require_place("the policy", program, spaces, env_id)
        seen: list[NDArray[np.float32]] = []

        def act(observation: Any) -> Any:
            seen.append(np.array(observation, np.float32))  # a copy: some environments write into one buffer
            action = run_oracle(program, seen[-1][None].astype(np.float64))[0][0]
            return spaces.action(action) if spaces.discrete is None else spaces.numbered(action)

        for seed in range(FIRST_SEED, FIRST_SEED + episodes):
            episode_return(environment, act, seed)
        return np.stack(seen)
    finally:
        environment.close()


def require_episodes(episodes: int) -> None:
    """Raise InputError where there is no episode to record, or more than memory should hold."""
    if episodes < 1:
        raise InputError(f"--episodes must be at least 1, got {episodes}")
    if episodes > _MOST_EPISODES:
        raise InputError(f"--episodes must be at most {_MOST_EPISODES}, got {episodes}")


def spread_over(observations: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return at most ``count`` of ``observations`` [n, inputs], spread evenly from the first to the last."""
    return observations[np.unique(np.linspace(0, len(observations) - 1, count).astype(np.int64))]
