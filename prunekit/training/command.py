"""Conversion of command-line options into a training request."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import Any, final

import gymnasium as gym

from prunekit.adapters.sb3 import ALGORITHMS, algorithm_for
from prunekit.console import size_name
from prunekit.environments import episode_limit_of, spaces_of
from prunekit.errors import InputError
from prunekit.files import RUNS
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Budget, Sparsity
from prunekit.simulators.spec import EnvironmentSpec, environment_spec
from prunekit.training.config import MAX_DIVERGENCE, MAX_RECONSTRUCTION, MAX_SEED, MAX_STEPS
from prunekit.training.presets import algorithms_of, check_schedule, preset_for
from prunekit.training.request import TrainingRequest, check_widths, request_of

DEFAULT_ENVIRONMENT = "CartPole-v1"
DEFAULT_SPARSITY = 0.93
MAX_PENALTY = 1e6
_UNFIT = re.compile(r"[^\w.-]+")
LINEAR = "linear"
"""The name of a policy without hidden layers."""


@final
@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The options of ``prunekit train`` as given; None for one that was left out."""

    env: str | EnvironmentSpec | None = None
    algo: str | None = None
    steps: int | None = None
    sparsity: float | None = None
    budget: float | None = None
    penalty: float | None = None
    max_divergence: float | None = None
    reconstruction: int | None = None
    unpruned: bool = False
    hidden: str | None = None
    lr_schedule: str | None = None
    live_shrink: bool | None = None
    prune_critics: bool = False
    checkpoint_every: int | None = None
    seed: int | None = None
    out: Path | None = None


def prepare(options: TrainOptions, resume: bool = False) -> tuple[TrainingRequest, Path]:
    """Return the request and its folder; raises InputError, naming the option, for invalid or conflicting options."""
    plan = _plan(options)
    widths = _widths(options.hidden)
    if options.seed is not None and not 0 <= options.seed <= MAX_SEED:
        raise InputError(f"`seed` must not be negative and at most {MAX_SEED}, got {options.seed}")
    for name, value in (("`steps`", options.steps), ("`checkpoint_every`", options.checkpoint_every)):
        if value is not None and not 1 <= value <= MAX_STEPS:
            raise InputError(f"{name} must be at least 1 and at most {MAX_STEPS}, got {value}")
    if isinstance(options.env, str) and not options.env.strip():
        raise InputError("`env` is empty; give the id of an environment")
    if options.unpruned and options.prune_critics:
        raise InputError("`dense` and `prune_critics` exclude each other; give one")
    if options.lr_schedule is not None:
        check_schedule(options.lr_schedule)
    if resume:
        return _as_begun(options, plan, widths)
    if options.out is not None and options.out.exists():
        raise InputError(
            f"`out` {options.out} exists already; give another folder or remove it, or continue it with `resume`"
        )
    spec = environment_spec(options.env or DEFAULT_ENVIRONMENT)
    env_id = spec.name
    environment = spec.make()
    spaces, limit = spaces_of(environment), episode_limit_of(environment)
    environment.close()
    fitting = [a.name for a in ALGORITHMS.values() if type(spaces.actions) in a.actions]
    usual = next((name for name in algorithms_of(env_id) if name in fitting), *fitting[:1])
    name = usual if options.algo is None else options.algo
    algorithm_for(name, spaces)
    preset = preset_for(env_id, name)
    if options.lr_schedule is not None:
        preset = replace(preset, learning_rate_schedule=options.lr_schedule)
    request = TrainingRequest(
        env_id=env_id,
        algorithm=name,
        preset=preset,
        seed=options.seed or 0,
        steps=options.steps,
        plan=plan,
        hidden=widths,
        live_shrink=options.live_shrink is not False,
        prune_critics=options.prune_critics,
        env_kwargs=spec.kwargs,
        checkpoint_steps=options.checkpoint_every,
        episode_steps=limit,
        maker=_maker(spec),
    )
    return request, options.out or _free_folder(request)


def _as_begun(
    options: TrainOptions, plan: PruningPlan | None, widths: tuple[int, ...] | None
) -> tuple[TrainingRequest, Path]:
    """Return the request of the run to resume, updated by the options that were given again.

    Training refuses to continue if the two differ, and names the difference.
    """
    if options.out is None:
        raise InputError("`resume` needs the run's folder; name it with `out`")
    spec = None if options.env is None else environment_spec(options.env)
    begun = request_of(options.out, None if spec is None else spec.name)
    if plan is not None and begun.plan is not None:
        strength = begun.plan.strength if options.penalty is None else plan.strength
        limit = begun.plan.max_divergence if options.max_divergence is None else plan.max_divergence
        threshold = (
            plan.threshold if options.sparsity is not None or options.budget is not None else begun.plan.threshold
        )
        steps = begun.plan.reconstruction if options.reconstruction is None else plan.reconstruction
        plan = replace(begun.plan, threshold=threshold, strength=strength, max_divergence=limit, reconstruction=steps)
    changes = (options.sparsity, options.budget, options.penalty, options.max_divergence, options.reconstruction)
    pruned = options.unpruned or any(value is not None for value in changes)
    schedule = options.lr_schedule or begun.preset.learning_rate_schedule
    again = replace(
        begun,
        algorithm=begun.algorithm if options.algo is None else options.algo,
        preset=replace(begun.preset, learning_rate_schedule=schedule),
        seed=begun.seed if options.seed is None else options.seed,
        steps=options.steps or begun.steps,
        plan=plan if pruned else begun.plan,
        hidden=begun.hidden if widths is None else widths,
        live_shrink=begun.live_shrink if options.live_shrink is None else options.live_shrink,
        prune_critics=(options.prune_critics or begun.prune_critics) and not options.unpruned,
        env_kwargs=(spec and spec.kwargs) or begun.env_kwargs,
        checkpoint_steps=options.checkpoint_every or begun.checkpoint_steps,
        maker=None if spec is None else _maker(spec),
    )
    return again, options.out


def _maker(spec: EnvironmentSpec) -> Callable[[], gym.Env[Any, Any]] | None:
    return None if spec.source == spec.name else spec.make


def _plan(options: TrainOptions) -> PruningPlan | None:
    sparsity, budget, penalty, limit = options.sparsity, options.budget, options.penalty, options.max_divergence
    given = [name for name, on in (("`sparsity`", sparsity is not None), ("`budget`", budget is not None),
                                   ("`dense`", options.unpruned)) if on]  # fmt: skip
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} exclude each other; give one")
    reconstruction = options.reconstruction
    for name, value in (("penalty", penalty), ("max_divergence", limit), ("reconstruction", reconstruction)):
        if options.unpruned and value is not None:
            raise InputError(f"`dense` and `{name}` exclude each other; give one")
    if penalty is not None and not 0.0 <= penalty <= MAX_PENALTY:
        raise InputError(f"`penalty` must be from 0 to {MAX_PENALTY:g}, got {penalty:g}")
    if limit is not None and not 0.0 < limit <= MAX_DIVERGENCE:
        raise InputError(f"`max_divergence` must be above 0 and at most {MAX_DIVERGENCE:g}, got {limit:g}")
    if reconstruction is not None and not 0 <= reconstruction <= MAX_RECONSTRUCTION:
        raise InputError(f"`reconstruction` must be from 0 to {MAX_RECONSTRUCTION}, got {reconstruction}")
    if options.unpruned:
        return None
    goal = DEFAULT_SPARSITY if sparsity is None else sparsity
    threshold = Sparsity(goal) if budget is None else Budget(budget)
    plan = PruningPlan(threshold=threshold, max_divergence=limit, reconstruction=reconstruction or 0)
    return plan if penalty is None else replace(plan, strength=penalty)


def _widths(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    if text == LINEAR:
        return ()
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        widths = ()
    if not widths or min(widths) < 1:
        told = shorten(text, 60, placeholder="...")
        raise InputError(
            f"`hidden` {told} is not a list of widths; write it as in `hidden` 18,18, or `hidden` {LINEAR}"
        )
    try:
        check_widths(widths)
    except InputError as error:
        raise InputError(f"`hidden`: {error}") from error
    return widths


def _free_folder(request: TrainingRequest) -> Path:
    if request.plan is not None:
        kind = f"{type(request.plan.threshold).__name__.lower()}{request.plan.threshold.goal:g}"
    else:
        kind = "dense" if request.hidden is None else size_name(request.hidden)
    stem = f"{_UNFIT.sub('-', request.env_id)}-{request.algorithm}-{kind}-seed{request.seed}"
    folder, number = RUNS / stem, 2
    while folder.exists():
        folder, number = RUNS / f"{stem}-{number}", number + 1
    return folder
