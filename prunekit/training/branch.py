"""Shared beginnings of runs: a trunk is trained once, and each run continues from its checkpoint.

A pruned run and its controls are identical until units are first measured. A run that continues from a trunk ends with
the same bits as one that ran alone (law 5). Its ``metrics.csv`` begins with the trunk's rows, and its seconds include
the trunk's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from prunekit.adapters.sb3 import learner_of
from prunekit.environments import spaces_of
from prunekit.errors import EmptyGroupError, InputError
from prunekit.generators import isolated
from prunekit.pruning.plan import PruningPlan
from prunekit.training.checkpoint import copy_checkpoint
from prunekit.training.request import TrainingRequest, build_learner
from prunekit.training.run import METRICS, description_of, write_config
from prunekit.training.status import copy_rows


@final
@dataclass(frozen=True, kw_only=True)
class Trunk:
    """The shared beginning of several runs, up to its first checkpoint after ``steps`` environment steps."""

    request: TrainingRequest
    steps: int


def trunk_of(request: TrainingRequest, known: dict[str, int], plan: PruningPlan | None = None) -> Trunk | None:
    """Return the beginning that ``request`` shares with requests that differ only in pruning; None if there is none.

    ``known`` caches results for requests that differ only in the seed; start with an empty dictionary. A trunk has the
    plan ``plan`` (default PruningPlan()), and ends before the plan has any effect.
    """
    own = plan or PruningPlan()
    if request.prune_critics or request.guard_share is None or not _prunable(request.widths, own):
        return None
    shared = replace(request, plan=own, live_shrink=True)
    steps = _untouched(shared, known)
    if steps < 1 or (request.plan is not None and _untouched(request, known) < steps):
        return None
    return Trunk(request=shared, steps=steps)


def metrics_beside(checkpoint: Path) -> Path:
    """Return the ``metrics.csv`` of the run to which a checkpoint belongs."""
    return checkpoint.parent.parent / METRICS


def branch(checkpoint: Path, request: TrainingRequest, folder: Path) -> None:
    """Make ``folder`` an interrupted run of ``request`` at a trunk's ``checkpoint``, ready to be resumed.

    Raises InputError if ``folder`` already holds a run, and ArtifactError if the checkpoint is damaged.
    """
    if (folder / "config.json").exists():
        raise InputError(f"{folder}: holds a run already; name another")
    environment = request.environment()
    description = description_of(request, environment)
    environment.close()
    copy_checkpoint(checkpoint, folder, description, 0 if request.plan is None else 1)
    copy_rows(
        metrics_beside(checkpoint),
        folder / METRICS,
        int(checkpoint.stem),
        living=request.plan is not None,
        limited=request.plan is not None and request.plan.max_divergence is not None,
    )
    write_config(folder, description)  # last, because this file marks the start of the run


def _prunable(widths: tuple[int, ...], plan: PruningPlan) -> bool:
    """Return whether a trunk can have ``plan``, though it ends before the plan has any effect."""
    try:
        plan.check_widths(widths)
    except EmptyGroupError:
        return False
    return bool(widths)


def _untouched(request: TrainingRequest, known: dict[str, int]) -> int:
    """Return the environment steps of the last checkpoint before the plan has any effect; 0 if there is none.

    A checkpoint is written at the start of the first rollout after its step.
    """
    plan = request.plan or PruningPlan()
    parts = {key: value for key, value in request.to_dict().items() if key not in ("seed", "plan")}
    key = json.dumps([parts, plan.phases.start, plan.states], sort_keys=True, default=str)
    if key not in known:
        known[key] = _last_untouched(request)
    return known[key]


def _last_untouched(request: TrainingRequest) -> int:
    plan = request.plan or PruningPlan()
    environment = request.environment()
    with isolated(request.seed):  # building a learner seeds the global generators
        model = build_learner(request, spaces_of(environment))
    environment.close()
    updates, rollout = learner_of(model).actor.updates, model.n_envs * getattr(model, "n_steps", 1)
    begins = plan.phases.start * updates(request.total_steps) - plan.states
    every = request.checkpoint_every
    steps = range(every, request.total_steps, every)
    opened = model.get_env()
    if opened is not None:
        opened.close()
    return max((step for step in steps if updates(step + rollout) <= begins), default=0)
