"""What is compressed, where, and the worker that plays it: an environment, the teacher, episodes of both."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, TypeAlias, final

import numpy as np

from prunekit.adapters.envpool import EnvPoolRunner
from prunekit.adapters.sb3_tuning import Tuner
from prunekit.compression.playing import deployed, playing_teacher
from prunekit.compression.student import Scale
from prunekit.compression.teacher import Teacher
from prunekit.compression.tuning import tuner_of
from prunekit.disturbances.deviation import DEVIATION_SEEDS, Deviation
from prunekit.disturbances.environment import DisturbedEnvironment
from prunekit.disturbances.record import Disturbance
from prunekit.environments import Spaces
from prunekit.errors import FailedEpisodeError, InputError
from prunekit.policy.program import Float32
from prunekit.rollouts import EpisodeRunner

Policy: TypeAlias = Literal["teacher", "random"] | bytes
"""Who plays: the teacher, the random policy, or a pickled actor."""


@final
@dataclass(frozen=True, kw_only=True)
class Task:
    """An environment and its teacher. ``teacher_of`` must be picklable if workers are other processes.

    With ``fast`` students learn and are selected in EnvPool's twin of the environment; everything else is played in
    the environment itself.

    All episodes are played under ``disturbance``. If its noise is relative to the standard deviation of undisturbed
    observations, that is ``deviation`` [obs]: the first worker measures it, and the others get it with the task.
    """

    env_id: str
    teacher_of: Callable[[Spaces], Teacher]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    fast: bool = False
    disturbance: Disturbance = field(default_factory=Disturbance)
    deviation: tuple[float, ...] | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Played:
    """One episode: its return in ``total``, and its steps, which are 0 for the random policy.

    If the environment failed, ``failure`` says how.
    """

    total: float = 0.0
    steps: int = 0
    failure: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Worked:
    """How long some work took by the clock and in processor time, in seconds."""

    cpu_seconds: float = 0.0
    seconds: float = 0.0

    def faded(self, share: float) -> Worked:
        """Return both times multiplied by ``share``."""
        return Worked(cpu_seconds=share * self.cpu_seconds, seconds=share * self.seconds)

    def __add__(self, other: Worked) -> Worked:
        return Worked(cpu_seconds=self.cpu_seconds + other.cpu_seconds, seconds=self.seconds + other.seconds)


@final
class Stopwatch:
    """Measures the time of work since it was made."""

    def __init__(self) -> None:
        self._began, self._cpu = time.perf_counter(), time.process_time()

    @property
    def worked(self) -> Worked:
        """The time since the stopwatch was made."""
        return Worked(cpu_seconds=time.process_time() - self._cpu, seconds=time.perf_counter() - self._began)


@final
class Worker:
    """Works on a task, with its environment and its teacher, which are opened once.

    ``own`` plays in the user's environment. ``runner``, in which students learn and are selected, is the same, or plays
    in EnvPool's twin of the environment; if another worker has ``checked`` the twin, that is not done again. ``task``
    is the given one, with the deviation of observations if noise needs it. Raises InputError for a disturbance that is
    not possible in the environment, and for one combined with ``fast``.
    """

    def __init__(self, task: Task, max_batch: int = 16, *, checked: bool = False) -> None:
        self.own = EpisodeRunner(task.env_id, task.kwargs, max_batch)
        self.runner: EpisodeRunner | EnvPoolRunner = self.own
        try:
            if task.fast and not task.disturbance.is_none:
                raise InputError("`fast` cannot be combined with disturbances; leave one of the two out")
            if task.fast:
                self.runner = EnvPoolRunner(task.env_id, task.kwargs, max_copies=max_batch, checked=checked)
            self.teacher = task.teacher_of(self.runner.spaces)
            self.teacher_plays = playing_teacher(self.teacher)
            self.task = self._disturbed(task)
        except BaseException:
            self._close_runners()
            raise
        self._student = lru_cache(maxsize=8)(lambda content: deployed(pickle.loads(content), self.runner.spaces))
        self._tuner: tuple[bytes, Tuner] | None = None

    def _disturbed(self, task: Task) -> Task:
        """Wrap ``own`` in the task's disturbance, and return the task with the deviation that noise needs."""
        disturbance, deviation = task.disturbance, task.deviation
        if disturbance.is_none:
            return task
        # Refuses a disturbance that is not possible, before anything is played.
        DisturbedEnvironment(self.own.environment, replace(disturbance, observation_noise=0.0))
        if disturbance.observation_noise and deviation is None:
            self.teacher.probe()
            seen = Deviation(self.runner.spaces.observation)
            for observations in self.demonstrations(DEVIATION_SEEDS):
                for observation in observations:
                    seen.take(observation)
            deviation = tuple(seen.value.tolist())
        sizes = None if deviation is None else np.asarray(deviation)
        self.own.wrap(lambda made: DisturbedEnvironment(made, disturbance, sizes))
        return replace(task, deviation=deviation)

    def play(self, policy: Policy, seeds: Sequence[int], *, selecting: bool = False) -> list[Played]:
        """Return the episodes of ``seeds``; if the environment fails in one, the others are still played.

        They are played in the user's environment, or where students are selected if they are for ``selecting``.
        """
        found: list[Played] = []
        while len(found) < len(seeds):
            try:
                self._play(self.runner if selecting else self.own, policy, seeds[len(found) :], found)
            except FailedEpisodeError as error:
                found.append(Played(failure=str(error)))
        return found

    def _play(
        self, runner: EpisodeRunner | EnvPoolRunner, policy: Policy, seeds: Sequence[int], found: list[Played]
    ) -> None:
        if policy == "random":
            for seed in seeds:
                found.append(Played(total=runner.random(seed)))  # noqa: PERF401 (likewise)
            return
        plays = self.teacher_plays if policy == "teacher" else self._student(policy)
        for episode in runner.play_all(plays, seeds):
            found.append(Played(total=episode.total, steps=len(episode.observations)))  # noqa: PERF401 (it may raise)

    def demonstrations(self, seeds: Sequence[int]) -> list[Float32]:
        """Return the teacher's observations in the episodes of ``seeds``, one array [steps, obs] per episode."""
        return [episode.observations for episode in self.runner.play_all(self.teacher_plays, seeds)]

    def tuner(self, scale: Scale, seed: int, warmup: int) -> Tuner:
        """Return the tuner of students with this ``scale``; the next call gets the same one, with its environments."""
        named = pickle.dumps(scale)
        if self._tuner is None or self._tuner[0] != named:
            self._close_tuner()
            tuner = tuner_of(scale, self.runner, seed, warmup)
            self._tuner = named, tuner
        return self._tuner[1]

    def stop_when(self, stopped: Callable[[], bool]) -> None:
        """Have episodes raise StoppedError once ``stopped()`` is true."""
        self.own.stopped = self.runner.stopped = stopped

    def close(self) -> None:
        """Close all environments."""
        self._close_tuner()
        self._close_runners()

    def _close_runners(self) -> None:
        self.own.close()
        if self.runner is not self.own:
            self.runner.close()

    def _close_tuner(self) -> None:
        if self._tuner is not None:
            self._tuner[1].close()
            self._tuner = None
