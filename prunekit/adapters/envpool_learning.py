"""EnvPool's environments as a vector environment of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from prunekit.adapters.envpool_twin import Array, flat, for_pool
from prunekit.errors import FailedEpisodeError


@final
class EnvPoolVecEnv(VecEnv):
    """A vector environment of ``copies`` EnvPool environments; ``make`` makes a pool from one seed per copy.

    After ``seed``, the next ``reset`` makes a new pool. ``seen`` maps observations [n, obs] to members of
    ``observation_space``. ``action`` maps members of ``action_space`` to what ``env.step`` takes. The last observation
    of an episode is reported as ``terminal_observation``, as Stable-Baselines3 expects. Raises FailedEpisodeError if a
    value is not finite.
    """

    def __init__(
        self,
        make: Callable[[Sequence[int]], Any],
        copies: int,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        seen: Callable[[Array], Array],
        action: Callable[[Any], Any],
    ) -> None:
        super().__init__(copies, observation_space, action_space)
        self._make, self._seen, self._action = make, seen, action
        self._pool: Any = None
        self._anew: Sequence[int] | None = range(copies)
        self._waiting: list[Any] = []

    def reset(self) -> Array:
        """Begin a new episode in every environment."""
        if self._anew is not None:
            self.close()
            self._pool, self._anew = self._make(self._anew), None
        return self._shown(self._pool.reset()[0])

    def step_async(self, actions: Any) -> None:
        """Store the actions."""
        self._waiting = [self._action(action) for action in actions]

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """Step every environment; where an episode ends, begin the next one."""
        observed, rewards, terminated, truncated, _ = self._pool.step(for_pool(self._pool, self._waiting))
        shown, over = self._shown(observed), terminated | truncated
        if not np.isfinite(rewards).all():
            raise FailedEpisodeError("EnvPool gives a reward that is not finite")
        told: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        ended = np.flatnonzero(over).astype(np.int32)
        if len(ended):
            last = shown[ended]
            shown[ended] = self._begun(ended)
            for index, row in zip(ended, last, strict=True):
                told[index] = {
                    "terminal_observation": row,
                    "TimeLimit.truncated": bool(truncated[index] and not terminated[index]),
                }
        return shown, np.asarray(rewards, np.float32), over, told

    def _begun(self, ended: Array) -> Array:
        """Return the first observations of new episodes, in the order of ``ended``."""
        observed, told = self._pool.reset(ended)
        order = np.argsort(np.asarray(told["env_id"]))
        return self._shown(observed)[order]

    def _shown(self, observed: Any) -> Array:
        shown = self._seen(flat(observed))
        if not np.isfinite(shown).all():
            raise FailedEpisodeError("EnvPool shows an observation that is not finite")
        return shown

    def close(self) -> None:
        """Close the environments."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Make the next reset begin with this seed and the following ones, and return these seeds."""
        if seed is None:
            return [None] * self.num_envs
        self._anew = range(seed, seed + self.num_envs)
        return list(self._anew)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:  # noqa: ARG002
        """Raise AttributeError, because there are no Python environments; ``render_mode`` is None."""
        if attr_name == "render_mode":
            return [None] * self.num_envs
        raise AttributeError(f"environments of EnvPool have no {attr_name}")

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:  # noqa: ARG002
        """Raise AttributeError."""
        raise AttributeError(f"environments of EnvPool have no {attr_name}")

    def env_method(self, method_name: str, *arguments: Any, indices: Any = None, **words: Any) -> list[Any]:  # noqa: ARG002
        """Raise AttributeError."""
        raise AttributeError(f"environments of EnvPool have no {method_name}")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Any = None) -> list[bool]:  # noqa: ARG002
        """Return that none is."""
        return [False] * self.num_envs
