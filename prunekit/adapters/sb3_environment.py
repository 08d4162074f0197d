"""A wrapper that adapts an environment to Stable-Baselines3: actions from 0, finite bounds, errors with its name."""

from __future__ import annotations

from typing import Any, final

import gymnasium as gym

from prunekit.environments import spaces_of
from prunekit.rollouts import failed

_WHERE = "in training"


@final
class LearnerEnvironment(gym.Wrapper[Any, Any, Any, Any]):
    """Takes a learner's actions, and passes the environment's own actions to ``environment``.

    The learner's choices begin at 0, and its Box has finite bounds, as Stable-Baselines3 requires; a missing bound
    becomes the largest float32. Raises UnusableEnvironmentError for unsupported spaces, and FailedEpisodeError, naming
    the environment, if it fails in a reset or a step.
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
