"""Environments for fine-tuning on rewards: observations and actions are on the student's scale."""

from __future__ import annotations

import math
from typing import Any, final

import gymnasium as gym
import numpy as np

from prunekit.adapters.envpool import EnvPoolRunner
from prunekit.adapters.envpool_learning import EnvPoolVecEnv
from prunekit.adapters.sb3_tuning import TUNING, Tuner, TunerSettings, in_turn
from prunekit.compression.student import Scale
from prunekit.environments import spaces_of
from prunekit.errors import FailedEpisodeError
from prunekit.rollouts import EpisodeRunner, failed

_WHERE = "in the fine-tuning, which `tuning=False` skips"


def tuner_of(
    scale: Scale,
    runner: EpisodeRunner | EnvPoolRunner,
    seed: int,
    warmup: int,
    settings: TunerSettings = TUNING,
) -> Tuner:
    """Return the tuner of students with this ``scale``, in copies of the environment that ``runner`` plays in."""
    if not isinstance(runner, EnvPoolRunner):
        environments = in_turn(lambda: _InStudentUnits(runner.another(), scale), settings.copies)
    else:
        units = _Units(scale, runner.environment)
        environments = EnvPoolVecEnv(
            runner.pool, settings.copies, units.observations, units.actions, units.seen, units.action
        )
    return Tuner(environments, runner.spaces.actions.curvature, seed, warmup, settings)


@final
class _Units:
    """From raw observations to what the student's network sees, from its outputs to actions, and the spaces of both."""

    def __init__(self, scale: Scale, environment: gym.Env[Any, Any]) -> None:
        normalizer = scale.normalizer
        self._mean, self._scale = normalizer.mean.numpy(), normalizer.scale.numpy()
        self._clip = normalizer.clip
        self.observations = gym.spaces.Box(-self._clip, self._clip, self._mean.shape, np.float32)
        space, self.action = spaces_of(environment).actions.for_student(scale.answers)
        self.actions = environment.action_space if space is None else space

    def seen(self, observation: Any) -> Any:
        """Return raw observations [..., obs] as the student's network sees them: normalized and clipped."""
        normal = (np.asarray(observation, np.float32) - self._mean) * self._scale
        return np.minimum(np.maximum(normal, -self._clip), self._clip)


@final
class _InStudentUnits(gym.Wrapper[Any, Any, Any, Any]):
    """An environment on the student's scale, whose failures become FailedEpisodeError."""

    def __init__(self, environment: gym.Env[Any, Any], scale: Scale) -> None:
        super().__init__(environment)
        units = _Units(scale, environment)
        self._units, self._action = units.seen, units.action
        self.observation_space, self.action_space = units.observations, units.actions

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
            raise FailedEpisodeError("a reward in the fine-tuning is not finite; `tuning=False` skips the fine-tuning")
        # The info is left out: it would be copied deeply, sixteen times a step.
        return self._seen(observation), reward, terminated, truncated, {}

    def _seen(self, observation: Any) -> Any:
        clipped = self._units(observation)
        if not math.isfinite(float(np.dot(clipped, clipped))):
            raise FailedEpisodeError(
                "an observation in the fine-tuning is not finite; `tuning=False` skips the fine-tuning"
            )
        return clipped
