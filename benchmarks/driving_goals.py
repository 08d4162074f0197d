"""EnvPool's parking-v0 as Stable-Baselines3 learns in it with hindsight: goals apart, and rewards for other goals."""

from __future__ import annotations

from typing import Any, final

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

Array = np.ndarray[Any, Any]
Goals = dict[str, Array]


@final
class ApartGoals(VecEnvWrapper):
    """Flat observations of ``learner`` as the Dict of ``own``, highway-env's environment, whose formula gives rewards.

    ``own`` leaves what a crash costs out of the reward for another goal, so that hindsight alone would teach to end an
    episode by one. Here it is told which steps crashed, and costs the same whatever the goal.
    """

    def __init__(self, learner: VecEnv, own: gym.Env[Any, Any]) -> None:
        assert isinstance(own.observation_space, gym.spaces.Dict)
        super().__init__(learner, own.observation_space, own.action_space)
        inside: Any = own.unwrapped
        self._widths = {name: space.shape[0] for name, space in own.observation_space.items() if space.shape}
        self._for_goal, self._crash = inside.compute_reward, float(inside.config["collision_reward"])
        self._is_near = -float(inside.config["success_goal_reward"])

    def reset(self) -> Goals:
        """Begin an episode everywhere."""
        rows = self.venv.reset()
        assert isinstance(rows, np.ndarray)
        return self.apart(rows)

    def step_wait(self) -> tuple[Goals, Array, Array, list[dict[str, Any]]]:
        """Take a step everywhere; say of each whether it ended an episode parked, or by a crash."""
        rows, rewards, over, told = self.venv.step_wait()
        assert isinstance(rows, np.ndarray)
        for index in np.flatnonzero(over):
            last = self.apart(told[index]["terminal_observation"])
            told[index]["terminal_observation"] = last
            near = float(self._for_goal(last["achieved_goal"], last["desired_goal"], {}))
            told[index]["is_success"] = near > self._is_near
            told[index]["crashed"] = rewards[index] - near < self._crash / 2
        return self.apart(rows), rewards, over, told

    def apart(self, rows: Array) -> Goals:
        """Return flat observations [..., obs] by name, in the order in which Gymnasium flattens a Dict."""
        ends = np.cumsum(list(self._widths.values()))[:-1]
        return dict(zip(self._widths, np.split(rows, ends, axis=-1), strict=True))

    def env_method(self, method_name: str, *arguments: Any, indices: Any = None, **words: Any) -> list[Any]:
        """Return the rewards for other goals, where ``compute_reward`` is asked for."""
        if method_name != "compute_reward":
            return self.venv.env_method(method_name, *arguments, indices=indices, **words)
        achieved, desired, told = arguments
        crashed = np.array([bool(one.get("crashed")) for one in told])
        return [self._for_goal(achieved, desired, {}) + self._crash * crashed]
