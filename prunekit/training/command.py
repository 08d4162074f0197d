"""From the words of the command line to a training request."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from prunekit.adapters.sb3 import ALGORITHMS, algorithm_for
from prunekit.environments import make_environment, spaces_of
from prunekit.errors import InputError
from prunekit.files import RUNS
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Budget, Sparsity
from prunekit.training.presets import algorithms_of, check_schedule, preset_for
from prunekit.training.request import TrainingRequest

DEFAULT_SPARSITY = 0.93


def prepare(
    env_id: str,
    algorithm: str | None,
    steps: int | None,
    sparsity: float | None,
    budget: float | None,
    dense: bool,
    hidden: str | None,
    lr_schedule: str | None,
    seed: int,
    out: Path | None,
) -> tuple[TrainingRequest, Path]:
    """Return the request and its folder. Raises InputError, naming the option, for anything that does not fit."""
    plan = _plan(sparsity, budget, dense)
    widths = _widths(hidden)
    if seed < 0:
        raise InputError(f"--seed must not be negative, got {seed}")
    if steps is not None and steps < 1:
        raise InputError(f"--steps must be at least 1, got {steps}")
    if out is not None and out.exists():
        raise InputError(f"--out {out} exists already; give another folder or remove it")
    environment = make_environment(env_id)
    spaces = spaces_of(environment)
    environment.close()
    fitting = [a.name for a in ALGORITHMS.values() if (a.continuous if spaces.discrete is None else a.discrete)]
    name = algorithm or next((name for name in algorithms_of(env_id) if name in fitting), fitting[0])
    algorithm_for(name, spaces)
    preset = preset_for(env_id, name)
    if lr_schedule is not None:
        check_schedule(lr_schedule)
        preset = replace(preset, learning_rate_schedule=lr_schedule)
    request = TrainingRequest(env_id, name, preset, seed, steps, plan, widths)
    return request, out or _free_folder(request)


def _plan(sparsity: float | None, budget: float | None, dense: bool) -> PruningPlan | None:
    given = [name for name, on in (("--sparsity", sparsity is not None), ("--budget", budget is not None),
                                   ("--dense", dense)) if on]  # fmt: skip
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} exclude each other; give one")
    if dense:
        return None
    if budget is not None:
        return PruningPlan(threshold=Budget(budget))
    return PruningPlan(threshold=Sparsity(DEFAULT_SPARSITY if sparsity is None else sparsity))


def _widths(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        widths = ()
    if not widths or min(widths) < 1:
        raise InputError(f"--hidden {text} is no list of widths; write it as in --hidden 18,18")
    return widths


def _free_folder(request: TrainingRequest) -> Path:
    if request.plan is not None:
        kind = f"{type(request.plan.threshold).__name__.lower()}{request.plan.threshold.target:g}"
    else:
        kind = "dense" if request.hidden is None else "x".join(str(width) for width in request.hidden)
    stem = f"{request.env_id.replace('/', '-')}-{request.algorithm}-{kind}-seed{request.seed}"
    folder, number = RUNS / stem, 2
    while folder.exists():
        folder, number = RUNS / f"{stem}-{number}", number + 1
    return folder
