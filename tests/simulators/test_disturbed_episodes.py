"""Episodes under a disturbance are the same wherever they are played."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from prunekit.disturbances.randomization import Parameter, Randomization
from prunekit.disturbances.record import Disturbance
from prunekit.errors import InputError
from prunekit.simulators.disturbed import episodes_under
from prunekit.simulators.spec import environment_spec

DISTURBANCE = Disturbance(observation_noise=0.3, action_noise=0.1, delay_steps=1, drop=0.1)


def balancing(_: int) -> Any:
    return lambda seen: np.int64(seen[2] + seen[3] > 0.0)


def test_in_a_vector_environment_as_one_by_one() -> None:
    deviation = np.array([0.1, 0.3, 0.05, 0.3])
    vector = SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 3)
    found = []
    for source in ("CartPole-v1", vector):
        episodes = environment_spec(source).episodes()
        undisturbed = [episodes.returns(balancing)(seed) for seed in range(3)]
        with episodes_under(episodes, DISTURBANCE, deviation) as disturbed:
            found.append([disturbed.returns(balancing)(seed) for seed in range(3)])
        assert [episodes.returns(balancing)(seed) for seed in range(3)] == undisturbed != found[-1]
        episodes.close()
    vector.close()
    assert found[0] == found[1]


def test_parameters_of_a_vector_environment_are_not_drawn() -> None:
    vector = SyncVectorEnv([lambda: gym.make("CartPole-v1")])
    drawn = Disturbance(randomization=Randomization(parameters=(Parameter(path="length", low=0.4, high=0.6),)))
    with (
        pytest.raises(InputError, match="its parameters cannot be drawn where many step together"),
        episodes_under(environment_spec(vector).episodes(), drawn),
    ):
        pass
    vector.close()
