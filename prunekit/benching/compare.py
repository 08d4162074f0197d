"""The comparison behind ``prunekit bench``: any number of models, with the first as the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from prunekit.benching.alone import measured_alone
from prunekit.benching.figures import Device, DeviceResult, Place
from prunekit.benching.host import host_facts
from prunekit.benching.models import BenchModel, read_model
from prunekit.benching.result import BenchResult
from prunekit.benching.runtimes import Runtime
from prunekit.benching.settings import BenchSettings
from prunekit.disturbances.deviation import Deviation
from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.export.recording import recorded_observations
from prunekit.graph.graph import Graph
from prunekit.lazy import is_installed, require
from prunekit.readers.policy_file import PolicyOptions
from prunekit.rollouts import Act
from prunekit.stats.betting import Paired
from prunekit.stats.bootstrap import Array, Retention, mean_interval, retention
from prunekit.stats.certificate import Certificate
from prunekit.stats.certify import Candidate, certify
from prunekit.stats.claim import Claim, counted
from prunekit.stats.clipping import range_of

if TYPE_CHECKING:
    from prunekit.simulators.episodes import ActOf, Episodes
    from prunekit.simulators.spec import EnvironmentSpec

Progress = Callable[[str], None]


def run_bench(
    paths: Sequence[Path],
    devices: Sequence[Device],
    settings: BenchSettings,
    environment: str | EnvironmentSpec | None = None,
    progress: Progress = lambda _: None,
    options: PolicyOptions | None = None,
) -> BenchResult:
    """Measure the models at ``paths`` on ``devices``, in ``environment`` or in the one that they name.

    ``options`` supply what files do not say about themselves. Without an environment only latency and memory are
    measured, and the result says so.

    Raises ArtifactError for files that cannot be read. Raises InputError if models and environment do not fit, if
    ``keep`` is given with a single model, and if a requested measurement needs an environment that is missing.
    """
    _require_two(settings, len(paths))
    return bench_models([read_model(path, options) for path in paths], devices, settings, environment, progress)


def bench_models(
    models: Sequence[BenchModel],
    devices: Sequence[Device],
    settings: BenchSettings,
    environment: str | EnvironmentSpec | None = None,
    progress: Progress = lambda _: None,
) -> BenchResult:
    """Measure ``models``, which were already read, as ``run_bench`` does."""
    _require_two(settings, len(models))
    _require_stateless(models)
    spec = _environment(models, environment)
    if isinstance(spec, str):
        return measured_alone(tuple(models), devices, settings, spec, progress)
    episodes = spec.episodes()
    try:
        return _measure(tuple(models), devices, settings, spec, episodes, progress)
    finally:
        episodes.close()


def _require_two(settings: BenchSettings, count: int) -> None:
    if settings.keep is not None and count < 2:
        raise InputError("`keep` compares models with the first one, the reference; name at least two models")


def _require_stateless(models: Sequence[BenchModel]) -> None:
    for model in models:
        if model.graph is not None and model.graph.states:
            raise InputError(
                f"{model.path}: keeps a state, but bench measures only policies without one; certify and export take it"
            )


def _measure(
    models: tuple[BenchModel, ...],
    devices: Sequence[Device],
    settings: BenchSettings,
    spec: EnvironmentSpec,
    episodes: Episodes,
    progress: Progress,
) -> BenchResult:
    spaces = episodes.spaces

    def observe(graph: Graph, episodes: int) -> NDArray[np.float32]:
        return recorded_observations(graph, spec.single, spec.kwargs, episodes)

    def played(act_of: ActOf, seeds: Sequence[int]) -> tuple[float, ...]:
        return_of = episodes.returns(act_of)
        return tuple(return_of(seed) for seed in seeds)

    place = Place(spaces=spaces, observe=observe)
    results: tuple[dict[str, DeviceResult], ...] = tuple({} for _ in models)
    deviation = Deviation(spaces.observation)
    disturbed_returns: list[dict[str, tuple[float, ...]]] = [{} for _ in models]
    with ExitStack() as opened:
        runtimes = {device.name: [_opened(device, model, place, opened) for model in models] for device in devices}
        progress("the random policy's return")
        random_return = episodes.random()
        random = np.asarray([random_return(seed) for seed in settings.seeds])
        for device in devices:
            returns = []
            for model, runtime in zip(models, runtimes[device.name], strict=True):
                seeds = device.seeds(settings)
                progress(f"{counted(len(seeds), 'episode')} of {model.path} on {device.name}")
                act = None if runtime is None else _fitting(runtime.act, spaces)
                if act is not None and model is models[0] and device is devices[0]:
                    act = deviation.watching(act)
                returns.append(() if act is None else played(_always(act), seeds))
            progress(f"cost of the models on {device.name}")
            figures = device.figures(models, runtimes[device.name], settings)
            for own, figure, result in zip(returns, figures, results, strict=True):
                interval = mean_interval(np.asarray(own), np.random.default_rng(0)) if own else None
                result[device.name] = DeviceResult(figures=figure, returns=own, ci95=interval)
        for name_, entry in settings.disturbances.items():
            from prunekit.simulators.disturbed import episodes_under

            with episodes_under(episodes, entry, deviation.value) as disturbed:
                for model, runtime, kept in zip(models, runtimes[devices[0].name], disturbed_returns, strict=True):
                    if runtime is not None:
                        seeds = devices[0].seeds(settings)
                        progress(f"{counted(len(seeds), 'episode')} of {model.path} under {name_}")
                        return_of = disturbed.returns(_always(_fitting(runtime.act, spaces)))
                        kept[name_] = tuple(return_of(seed) for seed in seeds)
        certificates: tuple[Certificate | None, ...] = (None,) * len(models)
        earned = [np.asarray(result[devices[0].name].returns) for result in results]
        if settings.keep is not None:
            reference = runtimes[devices[0].name][0]
            act = None if reference is None else _fitting(reference.act, spaces)
            progress("the range that returns are clipped to")
            ground = None if act is None else _ground(settings, settings.keep, episodes, act)
            certificates = (None, *(_certificate(own, earned[0], random, ground, settings) for own in earned[1:]))
    return BenchResult(
        host=host_facts(episodes.registered),
        environment=(episodes.name, dict(spec.kwargs)),
        seeding=episodes.seeding,
        settings=settings,
        models=models,
        devices=results,
        random=tuple(random.tolist()),
        retentions=_retentions(models, devices[0].name, earned, random),
        certificates=certificates,
        disturbed=tuple(disturbed_returns),
    )


def _ground(settings: BenchSettings, keep: float, episodes: Episodes, act: Act) -> tuple[Claim, Paired]:
    """Return the claim, and the earlier returns from which the bets start, from episodes that the claim does not use.

    These episodes fix the range, unless the user gave one.
    """
    return_of, random_return = episodes.returns(_always(act)), episodes.random()
    reference = np.asarray([return_of(seed) for seed in settings.range_seeds])
    random = np.asarray([random_return(seed) for seed in settings.range_seeds])
    clip_range = settings.clip_range or range_of(reference, random)
    claim = Claim(keep=keep, clip_range=clip_range, max_failures=settings.max_failures)
    return claim, Paired(small=reference, teacher=reference, random=random)


def _certificate(
    own: Array, reference: Array, random: Array, ground: tuple[Claim, Paired] | None, settings: BenchSettings
) -> Certificate | None:
    """Return what the played episodes show of a model; None if it or the reference played none."""
    if ground is None or not len(own):
        return None
    claim, before = ground
    first = settings.first_seed
    (found,) = certify(
        [Candidate(name="model", play=lambda seed: float(own[seed - first]), before=before)],
        lambda seed: float(reference[seed - first]),
        lambda seed: float(random[seed - first]),
        claim,
        range(first, first + len(own)),
    )
    return found


def _always(act: Act) -> ActOf:
    return lambda _: act


def _fitting(act: Act, spaces: Spaces) -> Act:
    """Return ``act`` with actions in the form that the environment takes, because C gives float32 or a number."""
    return lambda observation: spaces.actions.action(act(observation))


def _opened(device: Device, model: BenchModel, place: Place, opened: ExitStack) -> Runtime | None:
    runtime = device.runtime(model, place)
    if runtime is not None:
        opened.callback(runtime.close)
    return runtime


def _retentions(
    models: Sequence[BenchModel], device: str, returns: Sequence[Array], random: Array
) -> tuple[Retention, ...]:
    kept = []
    for model, own in zip(models, returns, strict=True):
        absent = next((m.path for m, found in ((models[0], returns[0]), (model, own)) if not len(found)), None)
        if absent is not None:
            kept.append(Retention(estimate=None, reason=f"{absent} does not run on {device}, the first device"))
        else:
            kept.append(retention(own, returns[0], random[: len(own)], np.random.default_rng(0)))
    return tuple(kept)


def _environment(models: Sequence[BenchModel], given: str | EnvironmentSpec | None) -> EnvironmentSpec | str:
    """Return the given environment, with the arguments from a file that names it, or the one that all files name.

    If there is none, return the reason as text.
    """
    if given is not None:
        require("gymnasium", "an environment")
    if isinstance(given, str):
        from prunekit.simulators.spec import environment_spec

        named = (model.arguments_of(given) for model in models)
        return environment_spec(given, next((kwargs for kwargs in named if kwargs is not None), {}))
    if given is not None:
        return given
    named_by = [(model.path, model.environment) for model in models]
    if all(environment is None for _, environment in named_by):
        return "no policy names an environment, and none was given"
    told = next(f"{path} names {environment[0]}" for path, environment in named_by if environment is not None)
    for path, environment in named_by:
        if environment is None:
            raise InputError(f"{path}: names no environment; give one with `env` ({told})")
        if environment != named_by[0][1]:
            raise InputError(
                f"{path} was made for {environment[0]}, but {named_by[0][0]} for another environment; bench them "
                "one by one"
            )
    first = named_by[0][1]
    assert first is not None
    if not is_installed("gymnasium"):
        return "gymnasium is not installed"
    from prunekit.simulators.spec import environment_spec

    return environment_spec(*first)
