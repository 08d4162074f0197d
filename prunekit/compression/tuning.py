"""A student in the environment as its network sees it, for the fine-tuning on rewards."""

from __future__ import annotations

import math
from typing import Any, final

import gymnasium as gym
import numpy as np

from prunekit.adapters.sb3_tuning import TUNING, Tuner, TunerSettings
from prunekit.compression.student import Scale
from prunekit.environments import spaces_of
from prunekit.errors import FailedEpisodeError
from prunekit.rollouts import EpisodeRunner, failed

_WHERE = "in the fine-tuning, which `tuning=False` does without"


def tuner_of(scale: Scale, runner: EpisodeRunner, seed: int, warmup: int, settings: TunerSettings = TUNING) -> Tuner:
    """Return what trains the networks of students with this ``scale`` in copies of the runner's environment."""

    def make() -> gym.Env[Any, Any]:
        return _InStudentUnits(runner.another(), scale)

    return Tuner(make, runner.spaces.actions.curvature, seed, warmup, settings)


@final
class _InStudentUnits(gym.Wrapper[Any, Any, Any, Any]):
    """Observations as the student's normalizer makes them, actions as its network gives them."""

    def __init__(self, environment: gym.Env[Any, Any], scale: Scale) -> None:
        super().__init__(environment)
        normalizer = scale.normalizer
        self._mean, self._scale = normalizer.mean.numpy(), normalizer.scale.numpy()
        self._clip = normalizer.clip
        self.observation_space = gym.spaces.Box(-self._clip, self._clip, self._mean.shape, np.float32)
        space, self._action = spaces_of(environment).actions.for_student(scale.answers)
        if space is not None:
            self.action_space = space

    def reset(self, **words: Any) -> tuple[Any, dict[str, Any]]:
        try:
            observation, _ = self.env.reset(**words)
        except Exception as error:
            raise failed(self.env, _WHERE, error) from error
        return self._seen(observation), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        real = self._action(action)
        try:
            observation, reward, terminated, truncated, _ = self.env.step(real)
            finite = math.isfinite(float(reward))
        except Exception as error:
            raise failed(self.env, _WHERE, error) from error
        if not finite:
            raise FailedEpisodeError(
                "the reward is not finite in a step of the fine-tuning; `tuning=False` leaves it out"
            )
        # Without what else the environment tells: it would be copied deeply, sixteen times a step.
        return self._seen(observation), reward, terminated, truncated, {}

    def _seen(self, observation: Any) -> Any:
        normal = (np.asarray(observation, np.float32) - self._mean) * self._scale
        clipped = np.minimum(np.maximum(normal, -self._clip), self._clip)
        if not math.isfinite(float(np.dot(clipped, clipped))):
            raise FailedEpisodeError(
                "an observation is not finite in a step of the fine-tuning; `tuning=False` leaves it out"
            )
        return clipped
