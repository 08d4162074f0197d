"""The returns of a deployed policy, undisturbed and disturbed, on the same episode seeds as all other policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from prunekit.benching.models import read_model
from prunekit.benching.runtimes import OnnxRuntime
from prunekit.disturbances.deviation import Deviation
from prunekit.disturbances.environment import under
from prunekit.disturbances.record import Disturbance
from prunekit.environments import make_environment, spaces_of
from prunekit.generators import isolated
from prunekit.rollouts import episode_return, random_returns


@final
@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Returns per episode; ``disturbed`` by the name of the disturbance."""

    returns: tuple[float, ...]
    disturbed: Mapping[str, tuple[float, ...]]


def evaluate(
    policy: Path,
    environment: tuple[str, Mapping[str, Any]],
    seeds: Sequence[int],
    disturbances: Mapping[str, Disturbance],
) -> Evaluation:
    """Return the returns of the ONNX file ``policy`` in ``environment`` (id, arguments), one episode per seed.

    The global random generators are seeded, because some environments use them, and restored afterwards. Raises
    ArtifactError and InputError if file and environment do not fit, and FailedEpisodeError if the environment fails.
    """
    opened = make_environment(environment[0], dict(environment[1]))
    try:
        spaces = spaces_of(opened)
        runtime = OnnxRuntime(read_model(policy), spaces)
        deviation = Deviation(spaces.observation)
        watched = deviation.watching(runtime.act)
        with isolated(seeds[0]):
            returns = tuple(episode_return(opened, watched, seed) for seed in seeds)
        found = {}
        for name, entry in disturbances.items():
            with isolated(seeds[0]), under(opened, entry, deviation.value) as disturbed:
                found[name] = tuple(episode_return(disturbed, runtime.act, seed) for seed in seeds)
        runtime.close()
        return Evaluation(returns=returns, disturbed=found)
    finally:
        opened.close()


def random_evaluation(environment: tuple[str, Mapping[str, Any]], seeds: Sequence[int]) -> tuple[float, ...]:
    """Return the random policy's returns on the same seeds."""
    opened = make_environment(environment[0], dict(environment[1]))
    try:
        with isolated(seeds[0]):
            return tuple(random_returns(opened, seeds))
    finally:
        opened.close()


def summarized(returns: Sequence[float]) -> list[float]:
    """Return returns rounded to a thousandth, as result files store them."""
    return [round(float(value), 3) for value in np.asarray(returns, dtype=np.float64)]
