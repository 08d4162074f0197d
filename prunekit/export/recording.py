"""Observations that a policy sees when it acts, to take ranges from and to test with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.environments import make_environment, spaces_of
from prunekit.errors import InputError
from prunekit.policy.oracle import run_oracle
from prunekit.policy.program import Program
from prunekit.rollouts import episode_return

# No return is measured and nothing certified on these seeds.
FIRST_SEED = 5_000_000


def recorded_observations(
    program: Program, env_id: str, kwargs: Mapping[str, Any], episodes: int
) -> NDArray[np.float32]:
    """Return the observations float32 [n, inputs] of ``episodes`` that ``program`` plays.

    Raises InputError where the environment is not the policy's, or there is no episode to play.
    """
    if episodes < 1:
        raise InputError(f"--episodes must be at least 1, got {episodes}")
    environment = make_environment(env_id, kwargs)
    try:
        spaces = spaces_of(environment)
        if spaces.observation != program.inputs or spaces.outputs != program.outputs:
            raise InputError(
                f"the policy maps {program.inputs} values to {program.outputs}, but {env_id} has observations of "
                f"{spaces.observation} and actions of {spaces.outputs}; give its own environment with --env"
            )
        seen: list[NDArray[np.float32]] = []

        def act(observation: Any) -> Any:
            seen.append(np.asarray(observation, np.float32))
            action = run_oracle(program, seen[-1][None].astype(np.float64))[0][0]
            return int(action) if spaces.discrete is not None else action.astype(np.float32)

        for seed in range(FIRST_SEED, FIRST_SEED + episodes):
            episode_return(environment, act, seed)
        return np.stack(seen)
    finally:
        environment.close()
