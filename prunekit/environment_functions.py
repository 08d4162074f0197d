"""Environments made by functions: finding the function by name, calling it, and naming the result after it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

from prunekit.errors import UnusableEnvironmentError
from prunekit.lazy import gymnasium as gym

_LONGEST_LINE = 300
_LISTED = 8
EnvironmentMaker = Callable[..., "gym.Env[Any, Any]"]
"""A function that makes an environment, from the arguments that it is given by name."""


def function_name(function: EnvironmentMaker) -> str:
    """Return MODULE:FUNCTION for a function, or the closest description if it has no such name."""
    module = getattr(function, "__module__", None) or type(function).__module__
    return f"{module}:{getattr(function, '__qualname__', None) or type(function).__qualname__}"


def importable_name(function: EnvironmentMaker) -> str | None:
    """Return MODULE:FUNCTION if another process can import ``function`` by it, otherwise None."""
    name = function_name(function)
    module, _, called = name.partition(":")
    there = sys.modules.get(module)
    found = module != "__main__" and called.isidentifier() and getattr(there, called, None) is function
    return name if found else None


def require_module_name(env_id: str) -> None:
    """Raise UnusableEnvironmentError if the text before the colon of ``env_id`` is not a module name."""
    module, colon, name = env_id.rpartition(":")
    if not colon or is_module_name(module):
        return
    stem = Path(module).name.removesuffix(".py")
    example = f"{stem if is_module_name(stem) else 'MODULE'}:{name}"
    raise UnusableEnvironmentError(
        f"environment '{env_id}' begins with '{module}', which is not the name of a module; write {example} "
        "and put the folder of the module on PYTHONPATH"
    )


def is_module_name(text: str) -> bool:
    """Return whether ``text`` may stand after ``import``."""
    return all(part.isidentifier() for part in text.split("."))


def function_of(name: str) -> EnvironmentMaker | None:
    """Return the function MODULE:FUNCTION after importing its module; None if there is none."""
    module, _, called = name.rpartition(":")
    if not module or not called.isidentifier():
        return None
    try:
        found = getattr(importlib.import_module(module), called, None)
    except Exception:  # what is wrong with the module, the making of an id says
        return None
    return found if callable(found) else None


def made_by(function: EnvironmentMaker, name: str, kwargs: Mapping[str, Any] | None) -> gym.Env[Any, Any]:
    """Return the environment that ``function`` makes; raises UnusableEnvironmentError, with ``name``, if it is not
    one.
    """
    try:
        made = function(**(kwargs or {}))
    except UnusableEnvironmentError:
        raise
    except Exception as error:  # a function of a user's raises anything
        raise not_made(name, error) from error
    from prunekit.made_environment import MadeEnvironment

    if isinstance(made, MadeEnvironment):
        return made
    if isinstance(made, gym.Env):
        return MadeEnvironment(made, name)
    what = f"a {type(made).__name__}"
    if isinstance(made, gym.vector.VectorEnv):
        what = "a vector environment; return one of its environments, or give the vector environment itself in Python"
    else:
        what += ", which is not a gymnasium.Env; return one"
    raise UnusableEnvironmentError(f"environment '{name}': the function returned {what}")


def not_made(name: str, error: Exception) -> UnusableEnvironmentError:
    """Return an error that says that making the environment ``name`` raised ``error``."""
    if isinstance(error, TypeError):
        return UnusableEnvironmentError(f"environment '{name}' does not take these arguments ({first_line(error)})")
    return UnusableEnvironmentError(
        f"environment '{name}' cannot be made ({type(error).__name__}: {first_line(error)})"
    )


def functions_in(module: str) -> str:
    """Return a hint about the functions of an imported module."""
    found = sys.modules.get(module)
    own = [
        name
        for name, value in vars(found or object).items()
        if isinstance(value, FunctionType) and value.__module__ == module and not name.startswith("_")
    ]
    return f" (functions: {', '.join(own[:_LISTED])})" if own else ""


def first_line(error: Exception) -> str:
    """Return the first line of ``error``, at most 300 characters, or its type if it has no text."""
    text = str(error).strip()
    line = text.splitlines()[0].rstrip(".") if text else type(error).__name__
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."
