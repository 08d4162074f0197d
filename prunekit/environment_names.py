"""The meaning of an environment's name: a registered id, or a function that makes one."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

from prunekit.environment_functions import EnvironmentMaker, function_of, importable_name, is_module_name
from prunekit.lazy import gymnasium as gym


def meaning_of(name: str) -> EnvironmentMaker | str:
    """Return what an id, ``MODULE:ID`` or ``MODULE:FUNCTION`` means: a function, or the id to give to Gymnasium.

    Gymnasium imports the module and then takes an id of any package. Here ``MODULE:NAME`` is, in this order: an id of
    the module's own (its entry point is in the module, or is what the module calls NAME), the latest where NAME has no
    version; the module's function NAME; an id of any package.
    """
    module, _, called = name.rpartition(":")
    if not is_module_name(module):
        return name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a module that registers an id again is warned of it
            importlib.import_module(module)
    except Exception:  # what is wrong with the module is said when the environment is made
        return name
    function = function_of(name)
    own = [entry for entry in _entries(called) if _is_own(entry.entry_point, module, function)]
    if own:
        return f"{module}:{max(own, key=_version).id}"
    return name if function is None else function


def importable_maker(function: EnvironmentMaker) -> str | None:
    """Return MODULE:FUNCTION if that name means ``function`` in another process too, otherwise None."""
    name = importable_name(function)
    return name if name is not None and meaning_of(name) is function else None


def same_environment(env_id: str, named: str) -> bool:
    """Return whether ``env_id``, whose module may be imported, is the environment that a file calls ``named``.

    A module before an id makes no difference, and an id without a version is the latest, as for Gymnasium. A function
    is the one of its module alone.
    """
    if env_id == named:
        return True
    meant, called = meaning_of(env_id), named.rpartition(":")[2]
    if not isinstance(meant, str) or (called != named and called.isidentifier()):  # a file's function is one of these
        return False
    return _latest(meant.rpartition(":")[2]) == _latest(called)


def _latest(name: str) -> str:
    """Return the latest registered version of ``name`` if it has no version, otherwise ``name`` itself."""
    entries = _entries(name)
    return str(max(entries, key=_version).id) if entries else name


def _entries(name: str) -> list[Any]:
    """Return the registry's entries for ``name`` and its versions."""
    return [entry for entry in gym.registry.values() if entry.id in (name, f"{name}-v{entry.version}")]


def _version(entry: Any) -> int:
    return -1 if entry.version is None else int(entry.version)


def _is_own(entry_point: object, module: str, function: EnvironmentMaker | None) -> bool:
    """Return whether an ``entry_point`` is in the package ``module``, or is the ``function`` with the id's name."""
    place: object = getattr(entry_point, "__module__", None)
    if isinstance(entry_point, str):
        place, _, called = entry_point.partition(":")
        entry_point = getattr(sys.modules.get(place), called, None)
    inside = isinstance(place, str) and f"{place}.".startswith(f"{module}.")
    return inside or (function is not None and entry_point is function)
