"""The search: a student that starts wide and is made smaller as long as it is good enough."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from prunekit.bench.betting import Array, Paired, span_of
from prunekit.compress.arena import Arena, deployed
from prunekit.compress.student import Lessons, Scale, Student
from prunekit.compress.teacher import Teacher
from prunekit.errors import InputError
from prunekit.policy.actor import Actor

# Seeds of episodes that are learned from, and of those that select. A certificate uses others.
_LESSONS, _SELECTION = 1_000_000, 2_000_000
# Standard errors by which a teacher has to beat the random policy.
_CLEARLY = 2.0


@final
@dataclass(frozen=True)
class SearchSettings:
    """How to search for networks that keep ``keep`` of the return, in ``seconds`` at most.

    ``starts`` are the hidden widths to begin with, one branch each. A student studies ``first_steps`` batches at first
    and ``steps`` whenever it is made smaller, by the share ``shrink_by`` of its units, or taught again, at most
    ``recoveries`` times before it is given up. It is good enough with a retention of ``keep`` and ``margin`` on the
    selection's episodes. Raises InputError for values out of range.
    """

    keep: float = 0.95
    starts: tuple[tuple[int, ...], ...] = ((), (32,), (64, 64))
    first_steps: int = 6_000
    steps: int = 2_500
    teacher_episodes: int = 10
    lesson_episodes: int = 5
    selection_episodes: int = 20
    recoveries: int = 3
    shrink_by: float = 0.25
    margin: float = 0.01
    seconds: float = 300.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.keep <= 1.0:
            raise InputError(f"--keep must lie in (0, 1], got {self.keep:g}")
        if not self.seconds > 0.0:
            raise InputError(f"--minutes must be positive, got {self.seconds / 60.0:g}")
        if self.seed < 0:
            raise InputError(f"--seed must not be negative, got {self.seed}")


@final
@dataclass(frozen=True)
class Point:
    """A network of the search: sizes, returns on the selection's seeds, and whether it was good enough."""

    actor: Actor
    hidden: tuple[int, ...]
    parameters: int
    played: Paired
    good: bool

    @property
    def retention(self) -> float:
        """The estimate on the selection's seeds."""
        return self.played.retention


Progress = Callable[[Point], None]


@final
class Search:
    """One search; ``points`` are all networks that were judged, in order."""

    def __init__(
        self, teacher: Teacher, arena: Arena, settings: SearchSettings, progress: Progress = lambda _: None
    ) -> None:
        self.teacher, self.arena, self.settings, self._progress = teacher, arena, settings, progress
        self.points: list[Point] = []
        self.lessons = Lessons(teacher)
        self._began = time.perf_counter()
        self._next_lesson = _LESSONS + 10_000 * settings.seed
        selection = _SELECTION + 10_000 * settings.seed
        self._seeds = range(selection, selection + settings.selection_episodes)
        self.dense: Array = np.array([arena.play(teacher.act, seed)[0] for seed in self._seeds])
        self.random: Array = np.array([arena.random(seed) for seed in self._seeds])
        self._require_better_than_random()
        for _ in range(settings.teacher_episodes):
            self.lessons.add(arena.play(teacher.act, self._seed())[1])
        self._scale = Scale.of(self.lessons, teacher.spaces)

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.perf_counter() - self._began > self.settings.seconds

    @property
    def span(self) -> float:
        """How much an episode can lose, from all that was seen."""
        return span_of([self.dense, self.random, *(point.played.small for point in self.points)])

    @property
    def frontier(self) -> list[Point]:
        """The good networks that no other good one beats in both size and retention, the largest first."""
        good = sorted(
            (point for point in self.points if point.good), key=lambda point: (point.parameters, -point.retention)
        )
        best, found = -math.inf, []
        for point in good:
            if point.retention > best:
                best = point.retention
                found.append(point)
        return found[::-1]

    def run(self) -> None:
        """Search along every branch."""
        for index, hidden in enumerate(self.settings.starts):
            if index == 0 or not self.over:
                self._branch(Student(hidden, self._scale, self.teacher.spaces, self.settings.seed + index))

    def _require_better_than_random(self) -> None:
        gains = self.dense - self.random
        error = float(gains.std(ddof=1)) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
        if float(gains.mean()) <= _CLEARLY * error:
            raise InputError(
                f"{self.teacher.name}: earns {self.dense.mean():.1f}, not clearly more than the random policy's "
                f"{self.random.mean():.1f}, so that there is nothing to keep; check --env and the normalizer"
            )

    def _branch(self, student: Student) -> None:
        student.study(self.lessons, self.settings.first_steps)
        if self._improve(student) is None:
            return
        share = self.settings.shrink_by
        while sum(student.hidden) > len(student.hidden) and not self.over:
            smaller = student.copied()
            fewer = max(1, round(share * sum(student.hidden)))
            fewer = min(fewer, sum(student.hidden) - len(student.hidden))
            smaller.study(self.lessons, self.settings.steps, fewer)
            if self._improve(smaller) is not None:
                student = smaller
            elif fewer == 1:
                return
            else:
                share /= 2.0

    def _improve(self, student: Student) -> Point | None:
        """Judge ``student`` and teach it more on what it sees, until it is good or no longer gets better."""
        for attempt in range(self.settings.recoveries + 1):
            point = self._judge(student)
            if point.good:
                return point
            if self.over or attempt == self.settings.recoveries:
                break
            self._teach(student)
            student.study(self.lessons, self.settings.steps)
        return None

    def _teach(self, student: Student) -> None:
        act = deployed(student.actor, self.teacher.spaces)
        for _ in range(self.settings.lesson_episodes):
            self.lessons.add(self.arena.play(act, self._seed())[1])

    def _judge(self, student: Student) -> Point:
        """Play the selection's episodes, fewer where it is hopeless, and learn from what was seen."""
        actor = student.actor
        act = deployed(actor, self.teacher.spaces)
        returns: list[float] = []
        for seed in self._seeds:
            total, seen = self.arena.play(act, seed)
            returns.append(total)
            self.lessons.add(seen)
            if len(returns) >= 5 and self._paired(returns).retention < self.settings.keep - 0.15:
                break
        played = self._paired(returns)
        good = len(returns) == len(self._seeds) and played.retention >= self.settings.keep + self.settings.margin
        point = Point(actor, student.hidden, student.parameters, played, good)
        self.points.append(point)
        self._progress(point)
        return point

    def _paired(self, returns: list[float]) -> Paired:
        count = len(returns)
        return Paired(np.asarray(returns), self.dense[:count], self.random[:count])

    def _seed(self) -> int:
        self._next_lesson += 1
        return self._next_lesson
