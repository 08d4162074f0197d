"""Gymnasium environments that an actor can serve: made, checked, and described in plain data."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import gymnasium as gym
from gymnasium import spaces

from prunekit.errors import ArtifactError, UnusableEnvironmentError

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
        """Return plain data that JSON can hold (an infinite bound is None); the inverse of ``Spaces.from_dict``."""
        return {
            "observation": self.observation,
            "discrete": self.discrete,
            "start": self.start,
            "low": [bound if math.isfinite(bound) else None for bound in self.low],
            "high": [bound if math.isfinite(bound) else None for bound in self.high],
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Spaces:
        """Return the spaces that ``to_dict`` wrote."""
        low = tuple(-math.inf if bound is None else bound for bound in data["low"])
        high = tuple(math.inf if bound is None else bound for bound in data["high"])
        return Spaces(data["observation"], data["discrete"], data["start"], low, high)


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
            f"environment '{env_id}' needs what is not installed ({_first_line(error)}){_install_line(env_id)}"
        ) from error
    except gym.error.NameNotFound as error:
        raise UnusableEnvironmentError(
            f"environment '{env_id}' is not registered ({_first_line(error)}); where a module of yours registers it, "
            f"write MODULE:{env_id}"
        ) from error
    except gym.error.Error as error:
        raise UnusableEnvironmentError(f"environment '{env_id}' cannot be made: {_first_line(error)}") from error
    except TypeError as error:
        raise UnusableEnvironmentError(
            f"environment '{env_id}' does not take these arguments ({_first_line(error)})"
        ) from error
    except Exception as error:  # an environment's own checks of its arguments raise anything
        raise UnusableEnvironmentError(
            f"environment '{env_id}' cannot be made ({type(error).__name__}: {_first_line(error)})"
        ) from error


def named_by_file(path: Path, entry: object) -> tuple[str, dict[str, Any]]:
    """Return (id, arguments) of the environment that the file at ``path`` names in its metadata ``entry``.

    Gymnasium imports the module before a colon in an id; an id from a file must have none, so that reading a file
    runs no code (law 7). Raises ArtifactError, naming the file.
    """
    env_id = entry.get("id") if isinstance(entry, Mapping) else None
    if not isinstance(env_id, str):
        raise ArtifactError(f"{path}: the environment in its metadata is damaged; export the model again")
    if ":" in env_id:
        raise ArtifactError(
            f"{path}: names the environment '{env_id}', which would import a module; if you trust it, give it by --env"
        )
    return env_id, plain_arguments(path, entry)


def plain_arguments(path: Path, entry: object) -> dict[str, Any]:
    """Return the environment arguments in a file's ``entry``; raises ArtifactError unless they are plain values."""
    kwargs = entry.get("kwargs", {}) if isinstance(entry, Mapping) else None
    if not isinstance(kwargs, Mapping):
        raise ArtifactError(f"{path}: the environment's arguments in its metadata are damaged; export the model again")
    for name, value in kwargs.items():
        if not isinstance(value, bool | int | float | str | None):
            raise ArtifactError(f"{path}: the environment argument '{name}' in its metadata is no plain value")
    return {str(name): value for name, value in kwargs.items()}


def id_of(env: gym.Env[Any, Any]) -> str:
    """Return the id that ``env`` is registered under, version included; its class's name where it has none."""
    return env.spec.id if env.spec is not None else type(env).__name__


def spaces_of(env: gym.Env[Any, Any]) -> Spaces:
    """Describe the spaces of ``env``; raises UnusableEnvironmentError for those that no actor can serve."""
    name = id_of(env)
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


def _install_line(env_id: str) -> str:
    try:
        entry = str(gym.spec(env_id).entry_point)
    except gym.error.Error:
        entry = ""
    family = next((name for name in _EXTRAS if re.search(rf"\b{name}\b", entry)), None)
    return f"; run: pip install '{_EXTRAS[family]}'" if family else ""


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
