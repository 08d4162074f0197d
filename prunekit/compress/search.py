"""The search: students that start wide and are made smaller as long as they are good enough, one branch per start."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from prunekit.adapters.sb3_tuning import Tuner
from prunekit.bench.betting import Paired
from prunekit.bench.stats import Array
from prunekit.compress.arena import Arena, deployed
from prunekit.compress.finetune import fine_tuned
from prunekit.compress.student import Lessons, Scale, Student
from prunekit.compress.teacher import Teacher, teacher_of_actor
from prunekit.compress.tuning import tuner_of
from prunekit.errors import InputError
from prunekit.policy.actor import Actor
from prunekit.policy.program import Float32

# Episodes that are learned from and those that select have seeds from here on; certificates stay below.
FIRST_SEED = 1_000_000_000
_SEEDS_PER_SEARCH, _SELECTION, _CONFIRMATION = 100_000, 90_000, 95_000
_LARGEST_SEED = 10**9
# Standard errors by which a teacher has to beat the random policy, and a student to miss what is to be kept.
CLEARLY = 2.0
# Even a hopeless network plays so many episodes, while there is time: the best must not be a lucky one.
LEAST_PLAYED = 4
# Below this retention a network is too far from the teacher's behaviour to be fine-tuned in minutes.
_HOPE = 0.4


@final
@dataclass(frozen=True)
class SearchSettings:
    """How to search for networks that keep ``keep`` of the return, in ``seconds`` at most.

    ``starts`` are the hidden widths to begin with, one branch each. A student studies ``first_steps`` batches at first
    and ``steps`` whenever it is made smaller, by the share ``shrink_by`` of its units, or taught again, at most
    ``recoveries`` times. It is good enough with a retention of ``keep`` and ``margin`` on the selection's episodes.

    With ``tuning`` one that is not good enough yet goes on on rewards, in bursts of ``tuning_steps`` environment steps,
    until ``tuning_patience`` of them in a row have not helped; the critic learns alone for ``tuning_warmup`` steps at
    first. After the search, networks are looked at again on ``confirmation_episodes`` others.

    Raises InputError for values out of range.
    """

    keep: float = 0.95
    starts: tuple[tuple[int, ...], ...] = ((), (24,), (64, 64))
    first_steps: int = 6_000
    steps: int = 2_500
    teacher_episodes: int = 10
    lesson_episodes: int = 5
    selection_episodes: int = 40
    confirmation_episodes: int = 60
    recoveries: int = 3
    tuning: bool = True
    tuning_steps: int = 12_288
    tuning_warmup: int = 20_480
    tuning_patience: int = 6
    shrink_by: float = 0.3
    margin: float = 0.015
    seconds: float = 300.0
    seed: int = 0

    @property
    def selection_seeds(self) -> range:
        """The seeds of the episodes that select."""
        first = FIRST_SEED + _SEEDS_PER_SEARCH * self.seed + _SELECTION
        return range(first, first + self.selection_episodes)

    @property
    def confirmation_seeds(self) -> range:
        """The seeds of the episodes that have the second look."""
        first = FIRST_SEED + _SEEDS_PER_SEARCH * self.seed + _CONFIRMATION
        return range(first, first + self.confirmation_episodes)

    def __post_init__(self) -> None:
        if not 0.0 < self.keep <= 1.0:
            raise InputError(f"--keep must lie in (0, 1], got {self.keep:g}")
        if not self.seconds > 0.0:
            raise InputError(f"--minutes must be positive, got {self.seconds / 60.0:g}")
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise InputError(f"--seed must lie between 0 and {_LARGEST_SEED}, got {self.seed}")


@final
@dataclass(frozen=True)
class Baseline:
    """Returns of the teacher and of the random policy on the selection's seeds, [n] each."""

    dense: Array
    random: Array

    def paired(self, returns: Sequence[float]) -> Paired:
        """Return the first of them beside a student's ``returns``."""
        count = len(returns)
        return Paired(np.asarray(returns, np.float64), self.dense[:count], self.random[:count])

    @property
    def gain(self) -> float:
        """How much more the teacher earns than the random policy, on average."""
        return float((self.dense - self.random).mean())

    def require_a_policy(self, name: str) -> None:
        """Raise InputError unless the teacher called ``name`` is clearly better than the random policy."""
        gains = self.dense - self.random
        error = float(gains.std(ddof=1)) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
        if float(gains.mean()) <= CLEARLY * error:
            raise InputError(
                f"{name}: earns {self.dense.mean():.1f}, not clearly more than the random policy's "
                f"{self.random.mean():.1f}, so that there is nothing to keep; check --env and the normalizer"
            )


@final
@dataclass(frozen=True)
class Judged:
    """What there is to show of a network that was judged."""

    hidden: tuple[int, ...]
    parameters: int
    retention: float
    good: bool


@final
@dataclass(frozen=True)
class Point:
    """A network of the search: sizes, returns on the selection's seeds, and whether it was good enough.

    ``retention`` is estimated in terms of what the teacher gains over all of these seeds, of which a hopeless network
    has played some. ``tuned``: it, or a larger one that it comes from, learned from rewards too. ``batches`` and
    ``tuning_steps`` (of the environment) are what the branch had spent by then on imitation and fine-tuning.
    """

    actor: Actor
    hidden: tuple[int, ...]
    parameters: int
    played: Paired
    retention: float
    good: bool
    tuned: bool
    batches: int
    tuning_steps: int

    @property
    def judged(self) -> Judged:
        """What there is to show of it."""
        return Judged(self.hidden, self.parameters, self.retention, self.good)


Progress = Callable[[Judged], None]


def search_branch(
    teacher: Teacher,
    arena: Arena,
    settings: SearchSettings,
    index: int,
    baseline: Baseline,
    over: Callable[[], bool] = lambda: False,
    progress: Progress = lambda _: None,
) -> list[Point]:
    """Return the networks judged on the way down from ``settings.starts[index]``, at least one.

    A branch shares nothing with others, so that it finds the same wherever and whenever it is searched, until ``over``
    says that there is no time left, when nothing new is begun.
    """
    branch = _Branch(teacher, arena, settings, index, baseline, over, progress)
    try:
        branch.descend()
    finally:
        branch.close()
    return branch.points


@final
class _Branch:
    def __init__(
        self,
        teacher: Teacher,
        arena: Arena,
        settings: SearchSettings,
        index: int,
        baseline: Baseline,
        over: Callable[[], bool],
        progress: Progress,
    ) -> None:
        self._teacher, self._arena, self._settings, self._baseline = teacher, arena, settings, baseline
        self._over, self._progress = over, progress
        self.points: list[Point] = []
        self._tuner: Tuner | None = None
        self._guided = False
        self._batches = 0
        self._next_lesson = FIRST_SEED + _SEEDS_PER_SEARCH * settings.seed
        self._lessons = Lessons(teacher)
        for _ in range(settings.teacher_episodes):
            self._lessons.add(arena.play(teacher.act, self._seed())[1])
        scale = Scale.of(self._lessons, teacher.spaces)
        self._student = Student(settings.starts[index], scale, teacher.spaces, settings.seed)

    def descend(self) -> None:
        """Make the student smaller until it cannot be, or is no longer good enough however little is removed."""
        settings = self._settings
        self._study(self._student, settings.first_steps)
        student = self._improve(self._student)
        share = settings.shrink_by
        while student is not None and sum(student.hidden) > len(student.hidden) and not self._over():
            smaller = student.copied()
            removable = sum(student.hidden) - len(student.hidden)
            fewer = min(max(1, round(share * sum(student.hidden))), removable)
            self._study(smaller, settings.steps, fewer)
            improved = self._improve(smaller)
            if improved is not None:
                student = improved
            elif fewer == 1:
                return
            else:
                share /= 2.0

    def close(self) -> None:
        """Close what was opened on the way."""
        if self._tuner is not None:
            self._tuner.close()

    def _improve(self, student: Student) -> Student | None:
        """Judge ``student``, and teach it more on what it sees until it is good or there is no hope or time left.

        Students of a tuned one are fine-tuned at once: they imitate it as well as their size allows.
        """
        best, reached = student, -math.inf
        recoveries = 0 if self._guided else self._settings.recoveries
        for attempt in range(recoveries + 1):
            if attempt:
                act = deployed(student.actor, self._teacher.spaces)
                for _ in range(self._settings.lesson_episodes):
                    self._lessons.add(self._arena.play(act, self._seed())[1])
                self._study(student, self._settings.steps)
            if self._judge(student, self._lessons.add):
                return student
            if self.points[-1].retention > reached:
                best, reached = student.copied(), self.points[-1].retention
            if self._over():
                return None
        hope = self._settings.tuning and reached > _HOPE and len(student.hidden) > 0
        return self._tuned(best, reached) if hope else None

    def _tuned(self, student: Student, reached: float) -> Student | None:
        """Fine-tune ``student`` until it is good, or it is in vain. Once it is good, smaller ones learn from it."""
        settings = self._settings
        if self._tuner is None:
            self._tuner = tuner_of(student.scale, self._arena, self._seed(), settings.tuning_warmup)
        seen: list[Float32] = []

        def judge(found: Student) -> tuple[float, bool]:
            seen.clear()
            good = self._judge(found, seen.append, tuned=True)
            return self.points[-1].retention, good

        before = self._tuner.steps
        found, good = fine_tuned(
            student, reached, self._tuner, judge, settings.tuning_steps, settings.tuning_patience, self._over
        )
        self._arena.steps += self._tuner.steps - before
        if not good:
            return None
        guide = teacher_of_actor(found.actor, "a tuned student", self._teacher.spaces)
        self._lessons.follow(guide, np.concatenate(seen))
        self._guided = True
        return found

    def _judge(self, student: Student, seen: Callable[[Float32], None], tuned: bool = False) -> bool:
        """Play the selection's episodes, fewer where they hardly show a good network; say what was ``seen`` in each."""
        actor, settings = student.actor, self._settings
        act = deployed(actor, self._teacher.spaces)
        wanted = settings.keep + settings.margin
        returns: list[float] = []
        for seed in settings.selection_seeds:
            total, states = self._arena.play(act, seed)
            returns.append(total)
            seen(states)
            played = self._baseline.paired(returns)
            lost = (played.small - played.dense) / self._baseline.gain
            error = float(lost.std(ddof=1)) / math.sqrt(len(lost)) if len(lost) > 1 else math.inf
            hopeless = 1.0 + float(lost.mean()) + CLEARLY * error < settings.keep
            poor = 1.0 + float(lost.mean()) + error < wanted and 4 * len(returns) >= settings.selection_episodes
            if self._over() or ((hopeless or poor) and len(returns) >= LEAST_PLAYED):
                break
        retention = 1.0 + float(lost.mean())
        good = len(returns) == settings.selection_episodes and retention >= wanted
        point = Point(
            actor,
            student.hidden,
            student.parameters,
            played,
            retention,
            good,
            self._guided or tuned,
            self._batches,
            0 if self._tuner is None else self._tuner.steps,
        )
        self.points.append(point)
        self._progress(point.judged)
        return good

    def _study(self, student: Student, steps: int, fewer: int = 0) -> None:
        student.study(self._lessons, steps, fewer)
        self._batches += steps

    def _seed(self) -> int:
        self._next_lesson += 1
        return self._next_lesson
