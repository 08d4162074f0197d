"""A training run: learner, pruner and guard tied together, and the files that they leave."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from prunekit.adapters.sb3 import actor_of, learner_of
from prunekit.environments import id_of, make_environment, spaces_of
from prunekit.errors import CheckError, InputError
from prunekit.files import write_atomically
from prunekit.policy.artifact import Artifact, make_artifact, save
from prunekit.pruning.guard import ReturnGuard
from prunekit.pruning.pruner import Pruner
from prunekit.rollouts import random_returns
from prunekit.training.request import TrainingRequest, build_learner
from prunekit.training.status import Display, MetricsFile, Status
from prunekit.versions import installed_versions

_RANDOM_EPISODES = 20
_RECORDS = 200
_SPEED_RECORDS = 10


@final
@dataclass(frozen=True)
class TrainingResult:
    """What a run left: its folder, the artifact in ``model.pt``, the last status, and whether masks are final."""

    folder: Path
    artifact: Artifact
    status: Status
    complete: bool

    @property
    def summary(self) -> str:
        """One line: hidden units that live, the return at the end, and how long it took."""
        masks = self.artifact.masks.values()
        hidden = "x".join(f"{int(keep.sum())}/{keep.numel()}" for keep in masks)
        recent = self.artifact.provenance["returns"]["training_mean"]
        mean = "no episode ended" if recent is None else f"return {recent:.1f} over the last training episodes"
        return f"hidden {hidden} ({self.status.sparsity:.1%} removed), {mean}, {self.status.seconds:.0f} s"


def train(request: TrainingRequest, folder: Path, displays: Sequence[Display] = ()) -> TrainingResult:
    """Train as asked and write ``model.pt``, ``config.json``, ``metrics.csv`` and TensorBoard events to ``folder``.

    Runs on one thread, which is fastest for networks of this size and the same on every machine of one kind.
    Raises InputError where ``folder`` exists or the request fits no environment, before anything is written.
    """
    if folder.exists():
        raise InputError(f"{folder}: exists already; give another --out or remove it")
    torch.set_num_threads(1)
    environment = make_environment(request.env_id, request.env_kwargs)
    spaces = spaces_of(environment)
    description = {**request.to_dict(), "env": {"id": id_of(environment), "kwargs": dict(request.env_kwargs)}}
    model = build_learner(request, spaces)
    learner = learner_of(model)
    floor = float(np.mean(random_returns(environment, range(_RANDOM_EPISODES))))
    environment.close()
    updates = learner.updates(request.total_steps)
    if request.plan is not None and updates < 1:
        raise InputError(f"--steps {request.total_steps} ends before the first optimizer step; give it more")
    guard = None if request.guard_share is None else ReturnGuard(floor, request.guard_share)
    pruner = None
    if request.plan is not None:
        pruner = Pruner(
            learner.network,
            learner.optimizer,
            updates,
            request.plan,
            twins=learner.twins,
            observe=learner.observe,
            guard=guard,
        )
    config = {**description, "versions": installed_versions(), "started": _now()}
    write_atomically(folder / "config.json", (json.dumps(config, indent=2) + "\n").encode())
    model.set_logger(configure(str(folder / "tensorboard"), ["tensorboard"]))
    recorder = _Recorder(request.total_steps, pruner, guard, [MetricsFile(folder / "metrics.csv"), *displays])
    try:
        model.learn(request.total_steps, callback=recorder)
        status = recorder.record()
        masks = None if pruner is None else pruner.masks
        provenance = {**description, **_outcome(status, recorder.last_returns, floor), "spaces": spaces.to_dict()}
        artifact = make_artifact(actor_of(model, spaces), masks, provenance)
        save(artifact, folder / "model.pt")
    finally:
        if pruner is not None:
            pruner.detach()
        _close(model)
    return TrainingResult(folder, artifact, status, pruner is None or pruner.frozen)


@final
class _Recorder(BaseCallback):
    """Feeds the guard, the displays and TensorBoard about 200 times in a run."""

    def __init__(
        self, total_steps: int, pruner: Pruner | None, guard: ReturnGuard | None, displays: Sequence[Display]
    ) -> None:
        super().__init__()
        self._total_steps, self._pruner, self._guard, self._displays = total_steps, pruner, guard, displays
        self._interval = max(1, total_steps // _RECORDS)
        self._next = self._interval
        self._fresh: list[float] = []
        self.last_returns: list[float] = []
        self._began = time.perf_counter()
        self._times = deque([(0, self._began)], maxlen=_SPEED_RECORDS)

    def _on_training_start(self) -> None:
        self._began = time.perf_counter()
        self._times = deque([(0, self._began)], maxlen=_SPEED_RECORDS)

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self._fresh.append(float(info["episode"]["r"]))
        if self.num_timesteps >= self._next:
            self._next += self._interval
            self.record()
        return True

    def record(self) -> Status:
        """Take stock: report to the guard and to every display."""
        mean_return = float(np.mean(self._fresh)) if self._fresh else None
        if mean_return is not None:
            if not np.isfinite(mean_return):
                raise CheckError(f"the return is {mean_return} at step {self.num_timesteps}; training was stopped")
            if self._guard is not None:
                self._guard.record(self._fresh)
        self.last_returns = [*self.last_returns, *self._fresh][-100:]
        self._fresh = []
        status = self._status(mean_return)
        for display in self._displays:
            display.update(status)
        for name, value in status.to_row().items():
            if isinstance(value, int | float):
                self.logger.record(f"prunekit/{name}", value)
        self.logger.dump(self.num_timesteps)
        return status

    def _status(self, mean_return: float | None) -> Status:
        now = time.perf_counter()
        steps_before, time_before = self._times[0]
        speed = (self.num_timesteps - steps_before) / max(now - time_before, 1e-9)
        self._times.append((self.num_timesteps, now))
        pruner = self._pruner
        return Status(
            steps=self.num_timesteps,
            total_steps=self._total_steps,
            seconds=now - self._began,
            steps_per_second=speed,
            mean_return=mean_return,
            phase="dense" if pruner is None else pruner.phase,
            living={} if pruner is None else {name: (int(k.sum()), k.numel()) for name, k in pruner.masks.items()},
            sparsity=0.0 if pruner is None else pruner.sparsity,
            penalty=0.0 if pruner is None else pruner.penalty_strength,
        )


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
    model.logger.close()
    environment = model.get_env()
    if environment is not None:
        environment.close()
