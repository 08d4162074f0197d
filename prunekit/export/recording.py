"""Recording of a policy's own observations, for ranges and self-tests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.environment_functions import EnvironmentMaker, first_line
from prunekit.environments import Spaces, id_of, make_environment, spaces_of
from prunekit.errors import InputError
from prunekit.files import require_file
from prunekit.graph.graph import Graph, Port, specs_of
from prunekit.graph.op import name_of
from prunekit.graph.reference import run_step
from prunekit.rollouts import episode_return
from prunekit.spaces.kind import kind_of_head

# No return is measured and nothing certified on these seeds.
FIRST_SEED = 5_000_000
_MAX_EPISODES = 100_000


def require_place(name: str, graph: Graph, spaces: Spaces, place: str) -> None:
    """Raise InputError unless ``graph``, named ``name``, takes observations and gives actions of ``spaces``."""
    fix = "give the model's own environment with `env`"
    specs = specs_of(graph)
    sizes = sum(math.prod(port.shape) for port in graph.inputs), math.prod(specs["outputs"].shape)
    wanted = spaces.observation, spaces.outputs
    if sizes != wanted:
        raise InputError(
            f"{name}: takes {sizes[0]} values and gives {sizes[1]}, but {place} needs {wanted[0]} and {wanted[1]}; "
            f"{fix}"
        )
    head = next(node.op for node in graph.nodes if "action" in node.outputs)
    if not spaces.actions.takes(head):
        given = kind_of_head(head, sizes[1])
        gives = f"what {name_of(head)} gives" if given is None else given.words
        raise InputError(f"{name}: gives {gives}, but {place} needs {spaces.actions.words}; {fix}")


def recorded_observations(
    graph: Graph, source: str | EnvironmentMaker, kwargs: Mapping[str, Any], episodes: int
) -> NDArray[np.float32]:
    """Return the observations float32 [n, inputs] of ``episodes`` episodes of the policy ``graph``.

    ``source`` and ``kwargs`` are those of ``make_environment``. Raises InputError if the environment does not fit the
    policy, or if ``episodes`` is less than one.
    """
    require_episodes(episodes)
    port = only_input(graph)
    environment = make_environment(source, kwargs)
    try:
        spaces = spaces_of(environment)
        require_place("the policy", graph, spaces, id_of(environment))
        seen: list[NDArray[np.float32]] = []

        def act(observation: Any) -> Any:
            seen.append(np.array(observation, np.float32))  # a copy: some environments write into one buffer
            given = {port.name: seen[-1].astype(np.float64).reshape(1, *port.shape)}
            return spaces.actions.action(run_step(graph, given, {})[0]["action"][0])

        for seed in range(FIRST_SEED, FIRST_SEED + episodes):
            episode_return(environment, act, seed)
        return np.stack(seen)
    finally:
        environment.close()


def read_observations(path: Path, graph: Graph) -> NDArray[np.float32]:
    """Return the observations float32 [n, inputs] in the .npy file at ``path``, for the policy ``graph``.

    Raises InputError, naming the file, for another shape or dtype, and for observations that are not finite.
    """
    require_file(path)
    inputs = math.prod(only_input(graph).shape)
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped, it is no larger than the file
    except Exception as error:  # numpy's reader raises many types for what is no file of its own
        raise InputError(
            f"{path}: is not a .npy file of numbers ({first_line(error)}); write one with numpy.save"
        ) from error
    if not isinstance(found, np.ndarray):
        raise InputError(f"{path}: holds several arrays; write one of observations with numpy.save")
    if found.ndim < 2 or not len(found) or math.prod(found.shape[1:]) != inputs or found.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: holds {found.dtype} of shape {list(found.shape)}, but the policy's observations are numbers of "
            f"shape {['n', inputs]}"
        )
    seen = found.astype(np.float32).reshape(len(found), inputs)
    if not np.isfinite(seen).all():
        raise InputError(f"{path}: holds observations that are not finite; leave them out")
    return seen


def only_input(graph: Graph) -> Port:
    """Return the only input of ``graph``; raises InputError if there are several."""
    if len(graph.inputs) != 1:
        names = ", ".join(port.name for port in graph.inputs)
        raise InputError(f"the policy has several inputs ({names}), but observations are recorded for only one")
    return graph.inputs[0]


def require_episodes(episodes: int) -> None:
    """Raise InputError if ``episodes`` is less than one, or more than memory should hold."""
    if episodes < 1:
        raise InputError(f"`episodes` must be at least 1, got {episodes}")
    if episodes > _MAX_EPISODES:
        raise InputError(f"`episodes` must be at most {_MAX_EPISODES}, got {episodes}")


def spread_over(observations: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return at most ``count`` of ``observations`` [n, inputs], evenly spread from the first to the last."""
    return observations[np.unique(np.linspace(0, len(observations) - 1, count).astype(np.int64))]
