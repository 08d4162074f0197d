"""An environment as Stable-Baselines3 can learn in it: actions counted from 0, bounds finite, faults explained."""

from __future__ import annotations

from typing import Any, final

import gymnasium as gym

from prunekit.environments import spaces_of
from prunekit.rollouts import failed

_WHERE = "in training"


@final
class LearnerEnvironment(gym.Wrapper[Any, Any, Any, Any]):
    """Takes a learner's actions, and gives ``environment`` its own.

    The learner sees choices from 0, as its networks count, and a Box of finite bounds, as Stable-Baselines3 asks for:
    where there is no bound, the largest float32. Raises UnusableEnvironmentError for spaces that no actor can
    serve, and FailedEpisodeError, naming the environment, where it fails at a reset or a step.
    """

    def __init__(self, environment: gym.Env[Any, Any]) -> None:
        super().__init__(environment)
        space, self._action = spaces_of(environment).actions.for_learner()
        if space is not None:
            self.action_space = space

    def reset(self, **words: Any) -> tuple[Any, dict[str, Any]]:
        """Reset the environment."""
        try:
            return self.env.reset(**words)
        except Exception as error:
            raise failed(self.env, f"at a reset {_WHERE}", error) from error

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step with the learner's ``action``."""
        own = self._action(action)
        try:
            return self.env.step(own)
        except Exception as error:
            raise failed(self.env, f"at a step {_WHERE}", error) from error
