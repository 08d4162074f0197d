"""A small environment for certificates: an action is good where it is the first value that was seen."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

ENV, FAILING, POINTLESS = "certify_walk:CertifyWalk-v0", "certify_walk:CertifyFailing-v0", "certify_walk:CertifyNil-v0"


class Walk(gym.Env[Any, Any]):
    """Ten steps; 1 - |action - first value| each, ``worth`` times as much.

    From the seed ``failing_from`` on it fails where the action is the opposite of the first value.
    """

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, worth: float = 1.0, failing_from: float = np.inf) -> None:
        self._worth, self._failing_from, self._steps = worth, failing_from, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._fails = seed is not None and seed >= self._failing_from
        self._generator, self._steps = np.random.default_rng(seed), 0
        self._seen = self._generator.uniform(-1.0, 1.0, 2).astype(np.float32)
        return self._seen, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self._fails and abs(float(action[0]) + float(self._seen[0])) < 1e-6:
            raise RuntimeError("the joint broke")
        reward = self._worth * (1.0 - abs(float(action[0]) - float(self._seen[0])))
        self._seen = self._generator.uniform(-1.0, 1.0, 2).astype(np.float32)
        self._steps += 1
        return self._seen, reward, False, self._steps >= 10, {}


gym.register("CertifyWalk-v0", Walk)
gym.register("CertifyFailing-v0", Walk, kwargs={"failing_from": 200_000_003})
gym.register("CertifyNil-v0", Walk, kwargs={"worth": 0.0})
