"""Gymnasium environments for actors: creation, checks, and descriptions as plain data."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import prunekit.spaces  # noqa: F401  (registers the kinds of actions)
from prunekit.environment_functions import (
    EnvironmentMaker,
    first_line,
    function_name,
    functions_in,
    made_by,
    not_made,
    require_module_name,
)
from prunekit.environment_names import meaning_of, same_environment
from prunekit.environment_packages import newer_version, package_advice
from prunekit.errors import ArtifactError, InputError, UnusableEnvironmentError
from prunekit.lazy import gymnasium as gym
from prunekit.lazy import require
from prunekit.spaces.kind import ActionKind, kind_from_dict, kind_of_space

_LONGEST_NAME = 200
_EXTRAS = {
    "mujoco": "gymnasium[mujoco]",
    "box2d": "prunekit[box2d]",
    "atari": "gymnasium[atari]",
    "toy_text": "gymnasium[toy-text]",
    "classic_control": "gymnasium[classic-control]",
}

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SPEAKING_OF_FILES = {
    "asset", "assets", "config", "csv", "data", "dataset", "dir", "directory", "json", "location", "module", "pickle",
    "root", "scene", "script", "source", "uri", "urdf", "url", "xml", "yaml",
}  # fmt: skip
_LIMITS = {"max_episode_steps": 100_000, "frame_skip": 1000, "frameskip": 1000}


@final
@dataclass(frozen=True, kw_only=True)
class Spaces:
    """What an actor must know about an environment: the width of an observation, and the kind of its actions."""

    observation: int
    actions: ActionKind

    @property
    def outputs(self) -> int:
        """The number of outputs that an actor needs for these actions."""
        return self.actions.outputs

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; the inverse of ``Spaces.from_dict``."""
        return {"observation": self.observation, "actions": self.actions.to_dict()}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Spaces:
        """Return the spaces that ``to_dict`` wrote, or wrote before actions had kinds; raises InputError for others."""
        told = data.get("actions")
        if told is None:  # ``discrete``, or ``low`` and ``high``, said what they are
            discrete = data["discrete"]
            told = {**data, "kind": "box" if discrete is None else "discrete", "count": discrete}
        return Spaces(observation=data["observation"], actions=kind_from_dict(told))


def make_environment(environment: str | EnvironmentMaker, kwargs: Mapping[str, Any] | None = None) -> gym.Env[Any, Any]:
    """Make the Gymnasium environment of an id, ``MODULE:ID``, ``MODULE:FUNCTION``, or a function.

    The name after a colon is an id of the module itself, a function of the module that returns an environment, or an id
    of another package (``meaning_of``). Raises UnusableEnvironmentError, with the cure, if it is none of these, if
    packages are missing, or if its arguments do not fit.
    """
    require("gymnasium", "an environment")
    if not isinstance(environment, str):
        return made_by(environment, function_name(environment), kwargs)
    require_module_name(environment)
    meant = meaning_of(environment)
    return _registered(meant, kwargs) if isinstance(meant, str) else made_by(meant, environment, kwargs)


def _registered(env_id: str, kwargs: Mapping[str, Any] | None) -> gym.Env[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gymnasium warns of what the errors below say in one line
            return gym.make(env_id, **(kwargs or {}))
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        missing = _missing_module(env_id, error)
        if missing is not None:
            raise UnusableEnvironmentError(
                f"environment '{env_id}' needs the module '{missing}', which is not found; install it, or put its "
                "folder on PYTHONPATH (PYTHONPATH=. for this one)"
            ) from error
        raise UnusableEnvironmentError(
            f"environment '{env_id}' needs a package that is not installed ({first_line(error)}){_cure(env_id)}"
        ) from error
    except gym.error.Error as error:
        raise _unknown(env_id, error) from error
    except Exception as error:  # an environment's own checks of its arguments raise anything
        raise not_made(env_id, error) from error


def require_registered(env_id: str) -> None:
    """Raise UnusableEnvironmentError, as ``make_environment`` does, if ``env_id`` names no registered environment.

    It makes none. Names with a module are not checked, because that would import the module.
    """
    require("gymnasium", "an environment")
    if ":" in env_id:
        return
    try:
        gym.spec(env_id)
    except (gym.error.UnregisteredEnv, gym.error.DeprecatedEnv) as error:
        raise _unknown(env_id, error) from error
    except gym.error.Error:  # an id without a version, which stands for the newest one
        return


def _unknown(env_id: str, error: Exception) -> UnusableEnvironmentError:
    """Return the error for an id that Gymnasium does not know."""
    if isinstance(error, gym.error.NamespaceNotFound):
        return UnusableEnvironmentError(
            f"environment '{env_id}' is in a namespace that no installed package registers; install its package "
            "(ALE: pip install 'gymnasium[atari]')"
        )
    if not isinstance(error, gym.error.NameNotFound):
        return UnusableEnvironmentError(f"environment '{env_id}' cannot be made: {first_line(error)}")
    module, _, name = env_id.rpartition(":")
    own = f"if your own module registers it or has a function that makes it, write MODULE:{name}"
    advice = package_advice(env_id) or own
    if module:
        neither = f" and has no function of that name{functions_in(module)}" if name.isidentifier() else ""
        advice = f"the module '{module}' was imported and registers no '{name}'{neither}, so check the id"
    return UnusableEnvironmentError(f"environment '{env_id}' is not registered ({first_line(error)}); {advice}")


def named_by_file(path: Path, entry: object) -> tuple[str, dict[str, Any]]:
    """Return (id, arguments) of the environment that the file at ``path`` names in its metadata ``entry``.

    Gymnasium imports the module before a colon in an id; an id from a file must have none, so that reading a file
    runs no code (law 7). Raises ArtifactError, naming the file.
    """
    env_id = entry.get("id") if isinstance(entry, Mapping) else None
    if not isinstance(env_id, str) or len(env_id) > _LONGEST_NAME:
        raise ArtifactError(f"{path}: the environment in its metadata is damaged; export the model again")
    if ":" in env_id:
        raise ArtifactError(
            f"{path}: names the environment '{env_id}', which would import a module; if you trust it, give it as `env`"
        )
    return env_id, plain_arguments(path, entry)


def arguments_for(env_id: str, path: Path, entry: object) -> dict[str, Any] | None:
    """Return the arguments that the file at ``path`` gives to the environment ``env_id`` in its metadata ``entry``.

    None if it names another environment (``same_environment``). Imports the module of ``env_id``, which a user gave,
    but never one that a file names (law 7). Raises ArtifactError, naming the file, for arguments that are not plain
    values.
    """
    named = entry.get("id") if isinstance(entry, Mapping) else None
    if not isinstance(named, str) or not same_environment(env_id, named):
        return None
    return plain_arguments(path, entry)


def plain_arguments(path: Path, entry: object) -> dict[str, Any]:
    """Return the environment arguments in a file's ``entry``; raises ArtifactError unless they are plain values."""
    kwargs = entry.get("kwargs", {}) if isinstance(entry, Mapping) else None
    if not isinstance(kwargs, Mapping) or any(len(str(name)) > _LONGEST_NAME for name in kwargs):
        raise ArtifactError(f"{path}: the environment's arguments in its metadata are damaged; export the model again")
    for name, value in kwargs.items():
        if not isinstance(value, bool | int | float | str | None):
            raise ArtifactError(f"{path}: the environment argument '{name}' in its metadata is not a plain value")
        refused = refused_argument(str(name), value)
        if refused is not None:
            raise ArtifactError(
                f"{path}: the environment argument '{name}' in its metadata is {_shown(value)}, {refused}; if you "
                "trust it, register the environment with it in your own module, and give that by `env` MODULE:ID"
            )
    return {str(name): value for name, value in kwargs.items()}


def refused_argument(name: str, value: object) -> str | None:
    """Return why a file may not give the plain ``value`` to an environment as its argument ``name``; None if it may.

    Text may be one plain word, such as map_name="4x4", under a name that does not refer to a file: anything else could
    make the environment read another file or import code (law 7). The length of steps and episodes is limited.
    """
    if isinstance(value, str):
        lower = name.lower()
        of_files = _SPEAKING_OF_FILES.intersection(re.split(r"[^a-z]+", lower)) or any(
            word in lower for word in ("file", "folder", "path")
        )
        if of_files or not _PLAIN_WORD.fullmatch(value) or Path(value).exists():
            return "which could name a file or a module"
    limit = _LIMITS.get(name)
    if limit is not None and isinstance(value, int | float) and value > limit:
        return f"more than {limit:,}, which could run forever"
    return None


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def id_of(env: gym.Env[Any, Any]) -> str:
    """Return the id of ``env``, with its version, or the name of the function that made it, or else the name of its
    class.
    """
    from prunekit.made_environment import MadeEnvironment

    if isinstance(env, MadeEnvironment):
        return env.name
    return env.spec.id if env.spec is not None else type(env).__name__


def episode_limit_of(env: gym.Env[Any, Any]) -> int | None:
    """Return the number of steps after which ``env`` cuts an episode off; None if it does not say."""
    return None if env.spec is None else env.spec.max_episode_steps


def episode_limit_named(env_id: str, kwargs: Mapping[str, Any]) -> int | None:
    """Return ``episode_limit_of`` the environment of a registered id, without making it or importing its module.

    None if the id names a module, or is not registered.
    """
    try:
        own = None if ":" in env_id else gym.spec(env_id).max_episode_steps
    except gym.error.Error:  # what is wrong with the id is said when the environment is made
        return None
    given = kwargs.get("max_episode_steps")
    return given if isinstance(given, int) and given > 0 else own


def spaces_of(env: gym.Env[Any, Any]) -> Spaces:
    """Return the spaces of ``env``; raises UnusableEnvironmentError if actors do not support them."""
    return described_spaces(id_of(env), env.observation_space, env.action_space)


def described_spaces(name: str, observation: gym.Space[Any], action: gym.Space[Any]) -> Spaces:
    """Return the spaces of the environment ``name``; raises as ``spaces_of`` does."""
    if not isinstance(observation, gym.spaces.Box) or len(observation.shape) != 1:
        shape = f" of shape {list(observation.shape)}" if isinstance(observation, gym.spaces.Box) else ""
        raise UnusableEnvironmentError(
            f"environment '{name}' has {type(observation).__name__} observations{shape}, but an actor takes a flat "
            "vector (1-D Box); register a version wrapped in gymnasium.wrappers.FlattenObservation"
        )
    if observation.shape[0] == 0:
        raise UnusableEnvironmentError(f"environment '{name}' has empty observations; give them at least one value")
    try:
        return Spaces(observation=observation.shape[0], actions=kind_of_space(action))
    except InputError as error:
        raise UnusableEnvironmentError(f"environment '{name}' {error}") from error


def _missing_module(env_id: str, error: Exception) -> str | None:
    """Return the module (or its package) before the colon of ``env_id`` that does not exist."""
    missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else None
    module = env_id.rpartition(":")[0]
    return missing if missing is not None and f"{module}.".startswith(f"{missing}.") else None


def _cure(env_id: str) -> str:
    try:
        entry = str(gym.spec(env_id).entry_point)
    except gym.error.Error:
        entry = ""
    family = next((name for name in _EXTRAS if re.search(rf"\b{name}\b", entry)), None)
    if family is not None:
        return f"; run: pip install '{_EXTRAS[family]}'"
    newer = newer_version(env_id)
    return "" if newer is None else f"; did you mean {newer}? (the sizes of its observations may differ)"
