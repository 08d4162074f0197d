"""The callback of a training run, which records its progress and has checkpoints written."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from prunekit.adapters.sb3_state import begin_segment_, restore_surroundings_
from prunekit.errors import CheckError
from prunekit.pruning.guard import ReturnGuard
from prunekit.pruning.pruner import Pruner
from prunekit.training.checkpoint import Records
from prunekit.training.status import Display, Status

_RECORDS = 200
_SPEED_RECORDS = 10


class StoppedRun(Exception):
    """Training has stopped where it was asked to; the argument is the path of the last checkpoint."""


@final
class Recorder(BaseCallback):
    """Updates the guard, the displays and TensorBoard about 200 times in a run, and has checkpoints written.

    The keys of ``pruners`` are prefixes for the names of their groups. ``checkpoint`` is called with the recorder's own
    state at the start of the first rollout after every ``checkpoint_every`` steps. Environments are reset there in
    every run, because their state cannot be saved. At the first checkpoint after ``stop_at`` steps training stops with
    ``StoppedRun``. ``trained_steps`` is ``total_steps`` in whole rollouts; the record there is the caller's, after the
    last updates.
    """

    def __init__(
        self,
        total_steps: int,
        trained_steps: int,
        seed: int,
        pruners: Mapping[str, Pruner],
        guard: ReturnGuard | None,
        displays: Sequence[Display],
        checkpoint_every: int,
        checkpoint: Callable[[Records], Path],
        stop_at: int | None = None,
    ) -> None:
        super().__init__()
        self._trained_steps, self._seed = trained_steps, seed
        self._pruners, self._guard, self._displays = pruners, guard, displays
        self._checkpoint_every, self._checkpoint = checkpoint_every, checkpoint
        self._next_checkpoint = checkpoint_every
        self._stop_at = stop_at
        self._interval = max(1, total_steps // _RECORDS)
        self._next = self._interval
        self._fresh: list[float] = []
        self._status: Status | None = None
        self.last_returns: list[float] = []
        self._seconds_before = 0.0
        self._began = time.perf_counter()
        self._times = deque([(0, self._began)], maxlen=_SPEED_RECORDS)
        self._resumed: Mapping[str, Any] | None = None

    def resume(self, records: Records, learner: Mapping[str, Any]) -> None:
        """Restore the records of a checkpoint and the learner's state."""
        self._next_checkpoint, self._next = records.next_checkpoint, records.next_record
        self._fresh, self.last_returns = list(records.fresh), list(records.last_returns)
        self._seconds_before = records.seconds
        self._resumed = learner

    def _on_training_start(self) -> None:
        self._began = time.perf_counter()
        self._times = deque([(self.model.num_timesteps, self._began)], maxlen=_SPEED_RECORDS)

    def _on_rollout_start(self) -> None:
        steps = self.model.num_timesteps
        if self._resumed is not None:
            restore_surroundings_(self.model, self._resumed)
            self._resumed = None
            begin_segment_(self.model, self._segment_seed(steps))
        elif steps >= self._next_checkpoint:
            self._next_checkpoint = (steps // self._checkpoint_every + 1) * self._checkpoint_every
            seconds = self._seconds(time.perf_counter())
            written = self._checkpoint(
                Records(
                    next_checkpoint=self._next_checkpoint,
                    next_record=self._next,
                    fresh=self._fresh,
                    last_returns=self.last_returns,
                    seconds=seconds,
                )
            )
            if self._stop_at is not None and steps >= self._stop_at:
                raise StoppedRun(written)
            begin_segment_(self.model, self._segment_seed(steps))

    def _segment_seed(self, steps: int) -> int:
        return int(np.random.SeedSequence([self._seed, steps]).generate_state(1)[0]) >> 1

    def _seconds(self, now: float) -> float:
        return self._seconds_before + now - self._began

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        last = (info["terminal_observation"] for info in infos if "terminal_observation" in info)
        if not all(np.isfinite(observation).all() for observation in (self.locals["new_obs"], *last)):
            raise CheckError("the environment gave an observation that is not finite")
        if not np.isfinite(self.locals["rewards"]).all():
            raise CheckError("the environment gave a reward that is not finite")
        for info in infos:
            if "episode" in info:
                self._fresh.append(float(info["episode"]["r"]))
        if self._next <= self.num_timesteps < self._trained_steps:
            self._next += self._interval
            self.record()
        return True

    def record(self) -> Status:
        """Report the current status to the guard and to every display, once per step.

        Raises CheckError for a return that is not finite.
        """
        if self._status is not None and self._status.steps == self.num_timesteps:
            return self._status
        mean_return = float(np.mean(self._fresh)) if self._fresh else None
        if mean_return is not None:
            if not np.isfinite(mean_return):
                raise CheckError(f"the return is {mean_return}")
            if self._guard is not None:
                self._guard.record(self._fresh)
        self.last_returns = [*self.last_returns, *self._fresh][-100:]
        self._fresh = []
        status = self._status = self._taken(mean_return)
        for display in self._displays:
            display.update(status)
        for name, value in status.to_row().items():
            if isinstance(value, int | float):
                self.logger.record(f"prunekit/{name}", value)
        self.logger.dump(self.num_timesteps)
        return status

    def _taken(self, mean_return: float | None) -> Status:
        now = time.perf_counter()
        steps_before, time_before = self._times[0]
        speed = (self.num_timesteps - steps_before) / max(now - time_before, 1e-9)
        self._times.append((self.num_timesteps, now))
        first = next(iter(self._pruners.values()), None)
        divergence, waiting = (None, None) if first is None else (first.divergence, first.waiting)
        if first is not None:
            first.reset_divergence_()
        return Status(
            steps=self.num_timesteps,
            total_steps=self._trained_steps,
            seconds=self._seconds(now),
            steps_per_second=speed,
            mean_return=mean_return,
            phase="dense" if first is None else first.phase,
            living={
                prefix + name: (int(keep.sum()), keep.numel())
                for prefix, pruner in self._pruners.items()
                for name, keep in pruner.keep.items()
            },
            sparsity=0.0 if first is None else first.sparsity,
            penalty=0.0 if first is None else first.penalty_strength,
            divergence=divergence,
            waiting=waiting,
        )
