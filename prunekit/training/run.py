"""A training run: it connects learner, pruner and guard, and writes the files."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import KVWriter, Logger

from prunekit.adapters.sb3 import actor_of, attach_pruner, learner_of
from prunekit.adapters.sb3_state import save_agent
from prunekit.console import removed, widths
from prunekit.environments import Spaces, episode_limit_of, id_of, spaces_of
from prunekit.errors import InputError
from prunekit.files import held, json_text, write_atomically
from prunekit.generators import undisturbed
from prunekit.lazy import is_installed
from prunekit.policy.artifact import Artifact, make_artifact, save
from prunekit.policy.program import lower
from prunekit.pruning.guard import ReturnGuard
from prunekit.pruning.pruner import Pruner
from prunekit.rollouts import random_returns
from prunekit.stats.claim import counted
from prunekit.training.checkpoint import (
    Checkpoint,
    check_same,
    checkpoints_in,
    read_checkpoint,
    require_finite,
    resume_,
    write_checkpoint,
)
from prunekit.training.config import NAME, read_config
from prunekit.training.deterministic import EPISODES, DeterministicReturns, play
from prunekit.training.failures import explained
from prunekit.training.fall import fall_in, last_return_in
from prunekit.training.recorder import Recorder, StoppedRun
from prunekit.training.request import TrainingRequest, build_learner
from prunekit.training.shortfall import shortfall
from prunekit.training.status import Display, MetricsFile, Status
from prunekit.versions import installed_versions

_RANDOM_EPISODES = 20
_OLD = 0.1
"""A summary says when the last episodes ended if that was before this last share of the run."""
METRICS = "metrics.csv"
FILES = (".lock", "config.json", METRICS, "agent.zip", "vec_normalize.pkl", "model.pt")
"""The files of a run."""
FOLDERS = ("checkpoint", "tensorboard")
"""Where a run has files of which it makes more as it goes on."""
CRITIC = "critic."
"""Prefix of the groups of critics in ``metrics.csv`` and ``Status.living``."""


@final
@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The result of a run: its folder, the artifact in ``model.pt``, the last status, and whether masks are final.

    ``played`` is what the deterministic policy earned at the end. ``last_episodes`` is the step of the last record in
    which training episodes ended; None if none did. ``notes`` say in plain words what a user should know of how the run
    went.
    """

    folder: Path
    artifact: Artifact
    status: Status
    complete: bool
    played: DeterministicReturns = field(default_factory=DeterministicReturns)
    last_episodes: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line with the living hidden units, the final returns with and without exploration, and the duration."""
        units = [entry for name, entry in self.status.living.items() if not name.startswith(CRITIC)]
        before, now = (widths(tuple(entry[index] for entry in units)) for index in (1, 0))
        hidden = f"hidden {before} -> {now} ({removed(self.status.sparsity)} removed)" if units else "no units removed"
        recent = self.artifact.provenance["returns"]["training_mean"]
        mean = "no episode ended" if recent is None else f"return {recent:,.1f} over the last training episodes"
        if self.last_episodes is not None and self.last_episodes < self.status.total_steps * (1 - _OLD):
            mean += f" (up to step {self.last_episodes:,})"
        if self.played.mean is not None:
            played = counted(len(self.played.returns), "episode")
            mean += f", {self.played.mean:,.1f} of the deterministic policy ({played})"
        return f"{hidden}, {mean}, {self.status.seconds:.0f} s"


def train(
    request: TrainingRequest,
    folder: Path,
    displays: Sequence[Display] = (),
    *,
    resume: bool = False,
    episodes: int = EPISODES,
) -> TrainingResult:
    """Train as requested, and write ``model.pt`` and the other files of ``docs/training.md`` to ``folder``.

    ``resume`` continues from the run's last checkpoint, or from the start if there is none. Law 5: the result equals
    that of a run that was never interrupted. Training uses one thread, which is fastest for networks of this size, and
    gives the same result on every machine of one kind.

    Once all files are written, the deterministic policy plays up to ``episodes`` episodes, and a note says where it
    earns far less than training did.

    Raises InputError, before anything is written, if ``folder`` exists, if the request fits no environment, or if the
    run to resume has another request or other versions. Raises CheckError if a return is not finite.
    """
    _check_folder(folder, resume)
    with undisturbed(), ExitStack() as stack:
        if resume:
            stack.enter_context(held(folder))
        return _train(request, folder, displays, resume, stack, episodes=episodes)


def train_until(request: TrainingRequest, folder: Path, steps: int, displays: Sequence[Display] = ()) -> Path:
    """Train as ``train`` does to the first checkpoint after ``steps`` environment steps; return that checkpoint.

    Continues with what is in ``folder``; ``train`` with ``resume`` would continue to the end. Raises InputError if the
    run ends before.
    """
    begun = (folder / NAME).is_file()
    found = checkpoints_in(folder) if begun else []
    if found and int(found[-1].stem) >= steps:
        return found[-1]
    with undisturbed(), ExitStack() as stack:
        if begun:
            stack.enter_context(held(folder))
        try:
            _train(request, folder, displays, begun, stack, steps)
        except StoppedRun as stopped:
            path: Path = stopped.args[0]
            return path
    raise InputError(f"{folder}: has no checkpoint after {steps} steps; write checkpoints more often")


def _train(
    request: TrainingRequest,
    folder: Path,
    displays: Sequence[Display],
    resume: bool,
    stack: ExitStack,
    stop_at: int | None = None,
    episodes: int = 0,
) -> TrainingResult:
    torch.set_num_threads(1)
    environment = request.environment()
    spaces = spaces_of(environment)
    description = description_of(request, environment)
    found = _last_checkpoint(folder, description) if resume else None
    model = build_learner(request, spaces)
    lower(actor_of(model, spaces))  # checked before hours of training: can the policy be deployed?
    floor = float(np.mean(random_returns(environment, range(_RANDOM_EPISODES))))
    short = _short_segments(request, episode_limit_of(environment))
    environment.close()
    guard = None if request.guard_share is None else ReturnGuard(floor=floor, share=request.guard_share)
    pruners = _pruners(request, model, guard)
    records = None if found is None else resume_(*found, model, list(pruners.values()))
    done = model.num_timesteps
    try:
        with explained(folder, model):
            if not resume:
                stack.enter_context(held(folder))
                if (folder / "config.json").exists():
                    raise InputError(f"{folder}: another process has begun a run in it; give another `out`")
            if found is None:
                write_config(folder, description)
            metrics = MetricsFile(folder / METRICS, None if found is None else done)
            recorder = Recorder(
                request.total_steps,
                request.trained_steps,
                request.seed,
                pruners,
                guard,
                [metrics, *displays],
                request.checkpoint_every,
                lambda records: write_checkpoint(folder, model, list(pruners.values()), description, records),
                stop_at,
            )
            if found is not None and records is not None:
                recorder.resume(records, found[1]["learner"])
            model.set_logger(Logger(folder=None, output_formats=_event_files(folder)))
            model.learn(request.total_steps - done, callback=recorder, reset_num_timesteps=found is None)
            status = recorder.record()
            require_finite(model)
            provenance = {**description, **_outcome(status, recorder.last_returns, floor), "spaces": spaces.to_dict()}
            artifact = _finish(request, model, pruners, spaces, provenance, folder)
    finally:
        for pruner in pruners.values():
            pruner.detach()
        _close(model)
    played = play(artifact.actor, request.environment, request.total_steps, episodes)
    return TrainingResult(
        folder=folder,
        artifact=artifact,
        status=status,
        complete=all(pruner.frozen for pruner in pruners.values()),
        played=played,
        last_episodes=last_return_in(folder / METRICS),
        notes=_notes(folder, played, recorder.last_returns, floor, short),
    )


def _short_segments(request: TrainingRequest, limit: int | None) -> str | None:
    """Return a note if checkpoints cut off episodes that are shorter than ``limit``, the environment's own."""
    every, enough = request.checkpoint_every, request.steps_of_episodes(limit or 0)
    if every >= min(enough, request.trained_steps):
        return None
    return (
        f"checkpoints every {every:,} steps reset the environments, which cuts off long episodes (up to {limit:,} "
        f"steps) and leaves them out of the training return; give `checkpoint_every` {enough:,} or more"
    )


def _notes(
    folder: Path, played: DeterministicReturns, last_returns: Sequence[float], floor: float, short: str | None
) -> tuple[str, ...]:
    fall = fall_in(folder / METRICS, floor)
    failed = f"the deterministic policy could not be played to the end: {played.failure}" if played.failure else None
    found = (short, None if fall is None else fall.sentence, shortfall(played.returns, last_returns, floor), failed)
    return tuple(note for note in found if note is not None)


def _event_files(folder: Path) -> list[KVWriter]:
    """Return the writers for TensorBoard, if it is installed; metrics.csv has the same data."""
    if not is_installed("tensorboard"):
        return []
    from prunekit.training.events import EventsFile

    return [EventsFile(folder / "tensorboard")]


def description_of(request: TrainingRequest, environment: gym.Env[Any, Any]) -> dict[str, Any]:
    """Return the description of a run in ``environment``, for ``config.json`` and every checkpoint."""
    description = {**request.to_dict(), "env": {"id": id_of(environment), "kwargs": dict(request.env_kwargs)}}
    json_text(description, "the request")
    return description


def write_config(folder: Path, description: Mapping[str, Any]) -> None:
    """Write ``config.json``, which marks the start of a run."""
    config = {**description, "versions": installed_versions(), "started": _now()}
    write_atomically(folder / NAME, (json.dumps(config, indent=2) + "\n").encode())


def _check_folder(folder: Path, resume: bool) -> None:
    if resume:
        read_config(folder)
        if (folder / "model.pt").exists():
            raise InputError(f"{folder}: this run is complete; give another `out` for a new one")
    elif folder.exists():
        raise InputError(f"{folder}: exists already; give another `out` or remove it, or continue it with `resume`")


def _last_checkpoint(folder: Path, description: Mapping[str, Any]) -> tuple[Path, Checkpoint] | None:
    """Return the newest checkpoint and its path, or None; raises InputError if it belongs to another run."""
    asked = _without_module(description)
    check_same(folder, _without_module(read_config(folder)), asked)
    found = checkpoints_in(folder)
    if not found:
        return None
    checkpoint = read_checkpoint(found[-1])
    check_same(found[-1], _without_module(checkpoint["request"]), asked)
    return found[-1], checkpoint


def _without_module(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``request`` without the module before an environment's id. The module of a function stays."""
    entry = request.get("env")
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        return request
    called = entry["id"].rpartition(":")[2]
    return request if called.isidentifier() else {**request, "env": {**entry, "id": called}}


def _pruners(request: TrainingRequest, model: BaseAlgorithm, guard: ReturnGuard | None) -> dict[str, Pruner]:
    """Return the actor's pruner, and the critic's if asked for, by the prefix of their groups' names."""
    learner = learner_of(model)
    if request.plan is None:
        return {}
    prunables = {"": learner.actor}
    if request.prune_critics:
        if learner.critic is None:
            raise InputError(f"`prune_critics`: {request.algorithm} has no critic; leave the option out")
        prunables[CRITIC] = learner.critic
    pruners = {}
    for prefix, prunable in prunables.items():
        updates = prunable.updates(request.total_steps)
        if updates < 1:
            raise InputError(f"`steps` {request.total_steps} is too few for one optimizer step; give more")
        plan = replace(request.plan, max_divergence=None) if prefix == CRITIC else request.plan
        pruners[prefix] = attach_pruner(model, prunable, updates, plan, guard=guard, live_shrink=request.live_shrink)
    return pruners


def _finish(
    request: TrainingRequest,
    model: BaseAlgorithm,
    pruners: Mapping[str, Pruner],
    spaces: Spaces,
    provenance: Mapping[str, Any],
    folder: Path,
) -> Artifact:
    """Write the whole, physically shrunk agent for users of Stable-Baselines3, and then the policy.

    The policy comes last: a run with a ``model.pt`` has ended, and one that was stopped before can be resumed.
    """
    masks = pruners[""].masks if pruners else None
    if pruners and request.live_shrink:
        original = [keep.numel() for keep in pruners[""].keep.values()]
        provenance = {**provenance, "original_hidden": original}
    artifact = copy.deepcopy(make_artifact(actor_of(model, spaces), masks, dict(provenance)))
    for pruner in pruners.values():
        pruner.shrink_()
    save_agent(model, request.preset.model["learning_rate"], folder)
    save(artifact, folder / "model.pt")
    return artifact


def _outcome(status: Status, last_returns: Sequence[float], floor: float) -> dict[str, Any]:
    recent = float(np.mean(last_returns)) if last_returns else None
    returns: Mapping[str, Any] = {
        "training_mean": recent,
        "training_episodes": len(last_returns),
        "random_mean": floor,
        "random_episodes": _RANDOM_EPISODES,
    }
    return {
        "trained_steps": status.steps,
        "seconds": round(status.seconds, 3),
        "returns": returns,
        "versions": installed_versions(),
        "date": _now(),
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _close(model: BaseAlgorithm) -> None:
    environment = model.get_env()
    if environment is not None:
        environment.close()
