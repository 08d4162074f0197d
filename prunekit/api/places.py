"""Where a policy plays: in the given environment, or in the one that the policy names."""

from __future__ import annotations

import ast
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from prunekit.api.policy import PathLike, Policy
from prunekit.benching.models import read_model
from prunekit.environments import arguments_for, named_by_file
from prunekit.errors import InputError
from prunekit.readers.read import policy_kind
from prunekit.readers.zoo import env_advice
from prunekit.simulators.batch import Simulator
from prunekit.simulators.spec import EnvironmentSpec, environment_spec

Environment = str | Callable[..., gym.Env[Any, Any]] | VectorEnv[Any, Any, Any] | Simulator | EnvironmentSpec
"""An id, a function that makes one, a vector environment, a batched simulator, or a record of any of them."""

_MAX_WORKERS = 8


def place_of(
    policy: PathLike | Policy | Callable[..., Any], env: Environment | None, kwargs: Mapping[str, Any] | None
) -> EnvironmentSpec:
    """Return where ``policy`` plays: in ``env``, or in the environment that it names.

    If ``env`` is the id that it names, and there are no ``kwargs``, its arguments are used too. Raises InputError if
    neither is given.
    """
    if isinstance(policy, Policy):
        path, entry = Path(str(policy)), policy.metadata.get("env")
    elif isinstance(policy, str | os.PathLike):
        path = Path(policy)
        entry = read_model(path).metadata.get("env") if policy_kind(path) in ("model", "onnx") else None
    else:
        path, entry = Path(), None
    if env is None:
        if entry is None:
            if not path.name:
                raise InputError("a function names no environment; give one with `env`")
            raise InputError(f"{path}: names no environment; {env_advice(path)}")
        env_id, own = named_by_file(path, entry)
        return environment_spec(env_id, own if kwargs is None else kwargs)
    if isinstance(env, str) and kwargs is None and entry is not None:
        kwargs = arguments_for(env, path, entry)
    return environment_spec(env, kwargs)


def workers_for(workers: int | None, portable: bool) -> int:
    """Return the number of processes: ``workers``, or as many as can be started without running the caller's script
    again.

    Every new process imports the script, which needs ``if __name__ == "__main__":`` for that. Raises InputError if
    several are requested and the policy or environment cannot be sent to them.
    """
    if workers is not None and workers < 1:
        raise InputError(f"`workers` must be at least 1, got {workers}")
    if workers is not None and workers > 1 and not portable:
        raise InputError(
            f"`workers` {workers} is not possible: other processes have to import environment and policy by "
            "their names; "
            "write them as functions of a module, or leave `workers` out"
        )
    if workers is not None:
        return workers
    if not portable or multiprocessing.current_process().daemon or not _begins_again(sys.modules.get("__main__")):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MAX_WORKERS)


def _begins_again(script: object) -> bool:
    """Return whether another process may import ``script``: there is none, or it has a main guard."""
    path = getattr(script, "__file__", None)
    if path is None:
        return True
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    return any(isinstance(node, ast.If) and "__name__" in ast.unparse(node.test) for node in tree.body)
