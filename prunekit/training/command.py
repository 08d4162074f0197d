"""From the words of the command line to a training request."""

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
from prunekit.environments import spaces_of
from prunekit.errors import InputError
from prunekit.files import RUNS
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Budget, Sparsity
from prunekit.simulators.spec import EnvironmentSpec, environment_spec
from prunekit.training.config import MAX_SEED, MAX_STEPS
from prunekit.training.presets import algorithms_of, check_schedule, preset_for
from prunekit.training.request import TrainingRequest, check_widths, request_of

DEFAULT_ENVIRONMENT = "CartPole-v1"
DEFAULT_SPARSITY = 0.93
MAX_PENALTY = 1e6
_UNFIT = re.compile(r"[^\w.-]+")
LINEAR = "linear"
"""The name of a policy without hidden layers."""


@final
@dataclass(frozen=True)
class Words:
    """The options of ``prunekit train`` as they were given; None where one was left out."""

    env: str | EnvironmentSpec | None = None
    algo: str | None = None
    steps: int | None = None
    sparsity: float | None = None
    budget: float | None = None
    penalty: float | None = None
    dense: bool = False
    hidden: str | None = None
    lr_schedule: str | None = None
    live_shrink: bool | None = None
    prune_critics: bool = False
    checkpoint_every: int | None = None
    seed: int | None = None
    out: Path | None = None


def prepare(words: Words, resume: bool = False) -> tuple[TrainingRequest, Path]:
    """Return the request and its folder. Raises InputError, naming the option, for anything that does not fit."""
    plan = _plan(words)
    widths = _widths(words.hidden)
    if words.seed is not None and not 0 <= words.seed <= MAX_SEED:
        raise InputError(f"`seed` must not be negative and at most {MAX_SEED}, got {words.seed}")
    for name, value in (("`steps`", words.steps), ("`checkpoint_every`", words.checkpoint_every)):
        if value is not None and not 1 <= value <= MAX_STEPS:
            raise InputError(f"{name} must be at least 1 and at most {MAX_STEPS}, got {value}")
    if isinstance(words.env, str) and not words.env.strip():
        raise InputError("`env` is empty; give the id of an environment")
    if words.dense and words.prune_critics:
        raise InputError("`dense` and `prune_critics` exclude each other; give one")
    if words.lr_schedule is not None:
        check_schedule(words.lr_schedule)
    if resume:
        return _as_begun(words, plan, widths)
    if words.out is not None and words.out.exists():
        raise InputError(f"`out` {words.out} exists already; give another folder or remove it, or go on with `resume`")
    spec = environment_spec(words.env or DEFAULT_ENVIRONMENT)
    env_id = spec.name
    environment = spec.make()
    spaces = spaces_of(environment)
    environment.close()
    fitting = [a.name for a in ALGORITHMS.values() if type(spaces.actions) in a.actions]
    usual = next((name for name in algorithms_of(env_id) if name in fitting), *fitting[:1])
    name = usual if words.algo is None else words.algo
    algorithm_for(name, spaces)
    preset = preset_for(env_id, name)
    if words.lr_schedule is not None:
        preset = replace(preset, learning_rate_schedule=words.lr_schedule)
    request = TrainingRequest(
        env_id,
        name,
        preset,
        words.seed or 0,
        words.steps,
        plan,
        widths,
        live_shrink=words.live_shrink is not False,
        prune_critics=words.prune_critics,
        env_kwargs=spec.kwargs,
        checkpoint_steps=words.checkpoint_every,
        maker=_maker(spec),
    )
    return request, words.out or _free_folder(request)


def _as_begun(words: Words, plan: PruningPlan | None, widths: tuple[int, ...] | None) -> tuple[TrainingRequest, Path]:
    """Return the request of the run to resume, with the options that were given again in place of its own.

    Training refuses to go on where the two differ, and says in what.
    """
    if words.out is None:
        raise InputError("`resume` needs the run's folder; name it with `out`")
    spec = None if words.env is None else environment_spec(words.env)
    begun = request_of(words.out, None if spec is None else spec.name)
    if plan is not None and begun.plan is not None:
        strength = begun.plan.strength if words.penalty is None else plan.strength
        threshold = plan.threshold if words.sparsity is not None or words.budget is not None else begun.plan.threshold
        plan = replace(begun.plan, threshold=threshold, strength=strength)
    pruned = words.dense or any(value is not None for value in (words.sparsity, words.budget, words.penalty))
    schedule = words.lr_schedule or begun.preset.learning_rate_schedule
    again = replace(
        begun,
        algorithm=begun.algorithm if words.algo is None else words.algo,
        preset=replace(begun.preset, learning_rate_schedule=schedule),
        seed=begun.seed if words.seed is None else words.seed,
        steps=words.steps or begun.steps,
        plan=plan if pruned else begun.plan,
        hidden=begun.hidden if widths is None else widths,
        live_shrink=begun.live_shrink if words.live_shrink is None else words.live_shrink,
        prune_critics=(words.prune_critics or begun.prune_critics) and not words.dense,
        env_kwargs=(spec and spec.kwargs) or begun.env_kwargs,
        checkpoint_steps=words.checkpoint_every or begun.checkpoint_steps,
        maker=None if spec is None else _maker(spec),
    )
    return again, words.out


def _maker(spec: EnvironmentSpec) -> Callable[[], gym.Env[Any, Any]] | None:
    return None if spec.source == spec.name else spec.make


def _plan(words: Words) -> PruningPlan | None:
    sparsity, budget, penalty = words.sparsity, words.budget, words.penalty
    given = [name for name, on in (("`sparsity`", sparsity is not None), ("`budget`", budget is not None),
                                   ("`dense`", words.dense)) if on]  # fmt: skip
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} exclude each other; give one")
    if words.dense and penalty is not None:
        raise InputError("`dense` and `penalty` exclude each other; give one")
    if penalty is not None and not 0.0 <= penalty <= MAX_PENALTY:
        raise InputError(f"`penalty` must be from 0 to {MAX_PENALTY:g}, got {penalty:g}")
    if words.dense:
        return None
    target = DEFAULT_SPARSITY if sparsity is None else sparsity
    threshold = Sparsity(target) if budget is None else Budget(budget)
    plan = PruningPlan(threshold=threshold)
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
        raise InputError(f"`hidden` {told} is no list of widths; write it as in `hidden` 18,18, or `hidden` {LINEAR}")
    try:
        check_widths(widths)
    except InputError as error:
        raise InputError(f"`hidden`: {error}") from error
    return widths


def _free_folder(request: TrainingRequest) -> Path:
    if request.plan is not None:
        kind = f"{type(request.plan.threshold).__name__.lower()}{request.plan.threshold.target:g}"
    else:
        kind = "dense" if request.hidden is None else size_name(request.hidden)
    stem = f"{_UNFIT.sub('-', request.env_id)}-{request.algorithm}-{kind}-seed{request.seed}"
    folder, number = RUNS / stem, 2
    while folder.exists():
        folder, number = RUNS / f"{stem}-{number}", number + 1
    return folder
