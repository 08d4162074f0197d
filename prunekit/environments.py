"""Gymnasium environments that an actor can serve: made, checked, and described in plain data."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import gymnasium as gym
from gymnasium import spaces

from prunekit.errors import UnusableEnvironmentError

_EXTRAS = {
    "mujoco": "gymnasium[mujoco]",
    "box2d": "gymnasium[box2d]",
    "atari": "gymnasium[atari]",
    "toy_text": "gymnasium[toy-text]",
    "classic_control": "gymnasium[classic-control]",
}


@final
@dataclass(frozen=True)
class Spaces:
    """What an actor has to know of an environment.

    ``observation`` is the width of an observation. Exactly one of ``discrete`` (number of actions, ``start``
    being the first) and ``low``/``high`` (bounds per action component) describes the actions.
    """

    observation: int
    discrete: int | None = None
    start: int = 0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def outputs(self) -> int:
        """How many scores an actor needs for these actions."""
        return len(self.low) if self.discrete is None else self.discrete

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the inverse of ``Spaces.from_dict``."""
        return {
            "observation": self.observation,
            "discrete": self.discrete,
            "start": self.start,
            "low": list(self.low),
            "high": list(self.high),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Spaces:
        """Return the spaces that ``to_dict`` wrote."""
        return Spaces(data["observation"], data["discrete"], data["start"], tuple(data["low"]), tuple(data["high"]))


def make_environment(env_id: str, kwargs: Mapping[str, Any] | None = None) -> gym.Env[Any, Any]:
    """Make the Gymnasium environment ``env_id``.

    Raises UnusableEnvironmentError, with the fix, where the id is unknown, its packages are missing or its
    arguments do not fit.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gymnasium warns of what the errors below say in one line
            return gym.make(env_id, **(kwargs or {}))
    except gym.error.NamespaceNotFound as error:
        raise UnusableEnvironmentError(
            f"environment '{env_id}' is in a namespace that nothing here registers; install its package "
            "(ALE: pip install 'gymnasium[atari]')"
        ) from error
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        raise UnusableEnvironmentError(
            f"environment '{env_id}' needs packages that are not installed ({_first_line(error)}); "
            f"run: pip install '{_extra(env_id)}'"
        ) from error
    except gym.error.Error as error:
        raise UnusableEnvironmentError(f"environment '{env_id}' cannot be made: {_first_line(error)}") from error
    except TypeError as error:
        raise UnusableEnvironmentError(
            f"environment '{env_id}' does not take these arguments ({_first_line(error)})"
        ) from error


def spaces_of(env: gym.Env[Any, Any]) -> Spaces:
    """Describe the spaces of ``env``; raises UnusableEnvironmentError for those that no actor can serve."""
    name = env.spec.id if env.spec is not None else type(env).__name__
    observation, action = env.observation_space, env.action_space
    if not isinstance(observation, spaces.Box) or len(observation.shape) != 1:
        shape = f" of shape {list(observation.shape)}" if isinstance(observation, spaces.Box) else ""
        raise UnusableEnvironmentError(
            f"environment '{name}' has {type(observation).__name__} observations{shape}, but an actor takes a flat "
            "vector (1-D Box); register a version wrapped in gymnasium.wrappers.FlattenObservation"
        )
    if isinstance(action, spaces.Discrete):
        return Spaces(observation.shape[0], discrete=int(action.n), start=int(action.start))
    if isinstance(action, spaces.Box) and len(action.shape) == 1:
        low, high = (tuple(float(bound) for bound in bounds) for bounds in (action.low, action.high))
        return Spaces(observation.shape[0], low=low, high=high)
    raise UnusableEnvironmentError(
        f"environment '{name}' has {type(action).__name__} actions; only Discrete and 1-D Box actions are supported"
    )


def _extra(env_id: str) -> str:
    try:
        entry = str(gym.spec(env_id).entry_point)
    except gym.error.Error:
        entry = ""
    family = next((name for name in _EXTRAS if re.search(rf"\b{name}\b", entry)), None)
    return _EXTRAS[family] if family else "gymnasium[all]"


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
