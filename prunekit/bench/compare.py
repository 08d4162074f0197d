"""The comparison behind ``prunekit bench``: any number of models side by side, the first being the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

import gymnasium as gym
import numpy as np

from prunekit.bench.host import host_facts
from prunekit.bench.latency import Percentiles
from prunekit.bench.models import BenchModel, read_model
from prunekit.bench.runtimes import Runtime
from prunekit.bench.stats import Retention, interquartile_mean, mean_interval, retention
from prunekit.environments import Spaces, id_of, make_environment, spaces_of
from prunekit.errors import CheckError, InputError
from prunekit.rollouts import episode_return, random_returns

FIRST_SEED = 10_000
LEAST_EPISODES = 20
Progress = Callable[[str], None]


@final
@dataclass(frozen=True)
class BenchSettings:
    """How much to measure. Episode seeds run from ``first_seed`` upwards, the same for every model."""

    episodes: int = 100
    first_seed: int = FIRST_SEED
    calls: int = 5_000
    paced_ticks: int = 250

    def __post_init__(self) -> None:
        for name, least in (("episodes", 1), ("calls", 1), ("paced_ticks", 1), ("first_seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(self, name)}")

    @property
    def seeds(self) -> range:
        """The episode seeds."""
        return range(self.first_seed, self.first_seed + self.episodes)

    def check_keep(self, keep: float) -> None:
        """Raise InputError where ``keep`` is no share or these episodes are too few for a bound."""
        if not 0.0 < keep <= 1.0:
            raise InputError(f"--keep must lie in (0, 1], got {keep:g}")
        if self.episodes < LEAST_EPISODES:
            raise InputError(f"--keep needs at least {LEAST_EPISODES} episodes for its bound, got {self.episodes}")


@final
@dataclass(frozen=True)
class DeviceFigures:
    """What a device tells of a model; None where it cannot."""

    latency_us: Percentiles | None
    paced_latency_us: Percentiles | None
    memory_bytes: int | None
    marginal_memory_bytes: int | None


class Device(Protocol):
    """Where models are measured."""

    @property
    def name(self) -> str:
        """The name on the command line."""

    def runtime(self, model: BenchModel, spaces: Spaces) -> Runtime:
        """Return what runs ``model`` there; raises InputError where it does not fit the environment."""

    def figures(
        self, models: Sequence[BenchModel], runtimes: Sequence[Runtime], settings: BenchSettings
    ) -> list[DeviceFigures]:
        """Measure the models together, so that noise hits all alike."""


@final
@dataclass(frozen=True)
class DeviceResult:
    """Figures and returns [episodes] of one model on one device."""

    figures: DeviceFigures
    returns: tuple[float, ...]
    ci95: tuple[float, float]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def iqm(self) -> float:
        """Interquartile mean of the returns."""
        return interquartile_mean(np.asarray(self.returns))


@final
@dataclass(frozen=True)
class BenchResult:
    """Everything that ``bench`` measured; ``docs/bench.md`` describes ``to_json``."""

    host: dict[str, Any]
    environment: tuple[str, dict[str, Any]]
    settings: BenchSettings
    models: tuple[BenchModel, ...]
    devices: tuple[dict[str, DeviceResult], ...]
    random: tuple[float, ...]
    retentions: tuple[Retention, ...]

    def require(self, keep: float) -> None:
        """Raise CheckError, naming the models, unless every lower bound of retention is at least ``keep``.

        ``keep`` lies in (0, 1] and needs ``LEAST_EPISODES``, as the bootstrap of a few returns bounds nothing; the
        command line checks both before it measures (``check_keep``).
        """
        failing = [
            f"{model.path} ({'undefined' if kept.lower95 is None else f'{kept.lower95:.3f}'})"
            for model, kept in zip(self.models, self.retentions, strict=True)
            if kept.lower95 is None or kept.lower95 < keep
        ]
        if failing:
            raise CheckError(f"retention is not shown to be at least {keep:g}: {', '.join(failing)}")

    def to_json(self) -> dict[str, Any]:
        """Return plain data in the form of ``docs/bench.md``."""
        env_id, kwargs = self.environment
        return {
            "host": self.host,
            "env": {"id": env_id, "kwargs": kwargs},
            "models": [
                _model_json(model, devices, self.settings)
                for model, devices in zip(self.models, self.devices, strict=True)
            ],
            "random": {"episodes": len(self.random), "mean": float(np.mean(self.random))},
            "retention": {
                str(model.path): kept.to_dict() for model, kept in zip(self.models, self.retentions, strict=True)
            },
        }


def run_bench(
    paths: Sequence[Path],
    devices: Sequence[Device],
    settings: BenchSettings,
    env_id: str | None = None,
    progress: Progress = lambda _: None,
) -> BenchResult:
    """Measure the models at ``paths`` on ``devices``, in the environment that they name or ``env_id``.

    Raises ArtifactError for files that cannot be read and InputError where models and environment do not fit.
    """
    models = tuple(read_model(path) for path in paths)
    name, kwargs = _environment(models, env_id)
    environment = make_environment(name, kwargs)
    try:
        return _measure(models, devices, settings, environment, (id_of(environment), kwargs), progress)
    finally:
        environment.close()


def _measure(
    models: tuple[BenchModel, ...],
    devices: Sequence[Device],
    settings: BenchSettings,
    environment: gym.Env[Any, Any],
    name: tuple[str, dict[str, Any]],
    progress: Progress,
) -> BenchResult:
    spaces = spaces_of(environment)
    runtimes = {device.name: [device.runtime(model, spaces) for model in models] for device in devices}
    progress("the random policy's return")
    random = np.asarray(random_returns(environment, settings.seeds))
    results: tuple[dict[str, DeviceResult], ...] = tuple({} for _ in models)
    for device in devices:
        progress(f"latency and memory on {device.name}")
        figures = device.figures(models, runtimes[device.name], settings)
        for model, runtime, figure, result in zip(models, runtimes[device.name], figures, results, strict=True):
            progress(f"{settings.episodes} episodes of {model.path} on {device.name}")
            returns = [episode_return(environment, runtime.act, seed) for seed in settings.seeds]
            interval = mean_interval(np.asarray(returns), np.random.default_rng(0))
            result[device.name] = DeviceResult(figure, tuple(returns), interval)
    returns_of = [np.asarray(result[devices[0].name].returns) for result in results]
    kept = tuple(retention(own, returns_of[0], random, np.random.default_rng(0)) for own in returns_of)
    return BenchResult(host_facts(environment), name, settings, models, results, tuple(random.tolist()), kept)


def _environment(models: Sequence[BenchModel], env_id: str | None) -> tuple[str, dict[str, Any]]:
    if env_id is not None:
        return env_id, next((kwargs for model in models if (kwargs := model.arguments_of(env_id)) is not None), {})
    named = [(model.path, model.environment) for model in models]
    for path, environment in named:
        if environment is None:
            raise InputError(f"{path}: names no environment; give one with --env")
        if environment != named[0][1]:
            raise InputError(
                f"{path} is of {environment[0]}, but {named[0][0]} of another environment; bench them one by one"
            )
    first = named[0][1]
    assert first is not None
    return first


def _model_json(model: BenchModel, devices: dict[str, DeviceResult], settings: BenchSettings) -> dict[str, Any]:
    return {
        "path": str(model.path),
        "hidden": list(model.hidden),
        "units": model.units,
        "parameters": model.parameters,
        "macs": model.macs,
        "size_bytes": model.size_bytes,
        "weight_bytes": model.weight_bytes,
        "devices": {
            name: {
                "latency_us": _percentiles_json(result.figures.latency_us),
                "paced_latency_us": _percentiles_json(result.figures.paced_latency_us),
                "memory_bytes": result.figures.memory_bytes,
                "marginal_memory_bytes": result.figures.marginal_memory_bytes,
                "return": {
                    "episodes": len(result.returns),
                    "mean": result.mean,
                    "iqm": result.iqm,
                    "ci95": list(result.ci95),
                    "seeds": list(settings.seeds),
                    "returns": list(result.returns),
                },
            }
            for name, result in devices.items()
        },
    }


def _percentiles_json(percentiles: Percentiles | None) -> dict[str, float] | None:
    return None if percentiles is None else percentiles.to_dict()
