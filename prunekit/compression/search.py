"""The search: students that start wide and are made smaller as long as they are good enough, one branch per start."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import final

import numpy as np

from prunekit.adapters.sb3_tuning import Tuner
from prunekit.compression.arena import Arena, deployed
from prunekit.compression.finetune import Judgement, fine_tuned
from prunekit.compression.points import CLEARLY, MIN_PLAYED, Baseline, Point, Progress, Searched
from prunekit.compression.settings import FIRST_SEED, SEEDS_PER_SEARCH, SearchSettings
from prunekit.compression.student import Lessons, Scale, Student
from prunekit.compression.teacher import Teacher, teacher_of_actor
from prunekit.compression.tuning import tuner_of
from prunekit.errors import FailedEpisodeError
from prunekit.policy.program import Float32
from prunekit.rollouts import Act

# Below this retention a network is too far from the teacher's behaviour to be fine-tuned in minutes.
_HOPE = 0.4
# Rounds of imitation in vain, where the student is to be fine-tuned anyway.
_GUIDED_PATIENCE = 2


def search_branch(
    teacher: Teacher,
    arena: Arena,
    settings: SearchSettings,
    index: int,
    baseline: Baseline,
    over: Callable[[], bool] = lambda: False,
    progress: Progress = lambda _: None,
) -> Searched:
    """Return the networks judged on the way down from ``settings.starts[index]``: of the first branch at least one.

    A branch shares nothing with others, so that it finds the same wherever and whenever it is searched, until ``over``
    says that there is no time left, when nothing new is begun. It ends where the environment fails under a student;
    raises FailedEpisodeError where it fails under the teacher.
    """
    if index > 0 and over():
        return Searched(points=[], steps=0)
    failure, before = "", arena.steps
    branch = _Branch(teacher, arena, settings, index, baseline, over, progress)
    try:
        branch.descend()
    except FailedEpisodeError as error:
        failure = str(error)
    finally:
        branch.close()
    return Searched(points=branch.points, steps=arena.steps - before, failure=failure)


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
        self._next_lesson = FIRST_SEED + SEEDS_PER_SEARCH * settings.seed
        self._lessons = Lessons(teacher)
        for number in range(settings.teacher_episodes):
            if number and over():
                break
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

        Students of a tuned one are soon fine-tuned: they imitate it as well as their size allows.
        """
        best, reached, vain = student, -math.inf, 0
        patience = _GUIDED_PATIENCE if self._guided else self._settings.recoveries
        while True:
            if self._judge(student, self._lessons.add):
                return self._settled(student)
            vain += 1
            if self.points[-1].retention > reached:
                best, reached, vain = student.copied(), self.points[-1].retention, 0
            if self._over():
                return None
            if vain >= patience:
                break
            act = deployed(student.actor, self._teacher.spaces)
            for seen in self._played(act, self._settings.lesson_episodes, student.hidden):
                self._lessons.add(seen)
            self._study(student, self._settings.lesson_steps)
        hope = self._settings.tuning and reached > _HOPE and len(student.hidden) > 0
        return self._tuned(best, reached) if hope else None

    def _settled(self, student: Student) -> Student:
        """Return what ``student``, which imitation made good, becomes: safely good, if nothing of the branch is yet."""
        settled = any(point.good and point.retention >= self._settings.safe for point in self.points)
        if settled or not self._settings.tuning or len(student.hidden) == 0 or self._over():
            return student
        return self._tuned(student, self.points[-1].retention) or student

    def _tuned(self, student: Student, reached: float) -> Student | None:
        """Fine-tune ``student`` until it is safely good, or it is in vain. If it is good, smaller ones learn from it.

        A branch that has nothing good yet does not give up while there is time. None where it is no better, or not
        good, or there is no time for smaller ones.
        """
        settings = self._settings
        if self._tuner is None:
            self._tuner = tuner_of(student.scale, self._arena, self._seed(), settings.tuning_warmup)

        def judge(found: Student, best: float) -> Judgement:
            good, point = self._judge(found, tuned=True, best=best), self.points[-1]
            return Judgement(retention=point.retention, enough=good and point.retention >= settings.safe)

        before = self._tuner.steps
        try:
            found, kept = fine_tuned(
                student, reached, self._tuner, judge, settings.tuning_steps, self._patience, self._over
            )
        finally:
            self._arena.steps += self._tuner.steps - before
        if found is student or kept < settings.enough or self._over():
            return None
        guide = teacher_of_actor(found.actor, "a tuned student", self._teacher.spaces)
        self._lessons.follow(guide, np.concatenate(self._played(guide.act, settings.teacher_episodes, found.hidden)))
        self._guided = True
        return found

    def _played(self, act: Act, episodes: int, hidden: tuple[int, ...]) -> list[Float32]:
        """Return what a network that was judged sees in ``episodes`` of its own, to learn from.

        Where the environment fails, so do all networks of these widths: which of them it was is not kept.
        """
        try:
            return [self._arena.play(act, self._seed())[1] for _ in range(episodes)]
        except FailedEpisodeError as error:
            self.points = [
                replace(point, failure=str(error)) if point.hidden == hidden else point for point in self.points
            ]
            raise

    def _patience(self) -> float:
        """Return how many bursts in vain are too many."""
        return self._settings.tuning_patience if any(point.good for point in self.points) else math.inf

    def _judge(
        self, student: Student, seen: Callable[[Float32], object] = len, tuned: bool = False, best: float = -math.inf
    ) -> bool:
        """Play the selection's episodes; say what was ``seen`` in each.

        They end where the network can hardly be good, and half-way unless it is, as most are: the second half is for
        those that may be good by chance. Of a student that was as good as ``best`` before, only what is better yet
        counts.
        """
        actor, settings = student.actor, self._settings
        act = deployed(actor, self._teacher.spaces)
        wanted = max(settings.enough, best)
        half = settings.selection_episodes // 2
        returns: list[float] = []
        count, retention, played = 0, -math.inf, None
        for seed in settings.selection_seeds:
            total, states = self._arena.play(act, seed)
            returns.append(total)
            seen(states)
            count, played = len(returns), self._baseline.paired(returns)
            kept = self._baseline.kept(played)
            retention = float(kept.mean())
            error = float(kept.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf
            hopeless = retention + CLEARLY * error < settings.keep
            poor = retention + error < wanted and 4 * count >= half
            behind = retention < wanted and count >= half
            if self._over() or ((hopeless or poor or behind) and count >= MIN_PLAYED):
                break
        assert played is not None, "there is an episode at least"
        good = count == settings.selection_episodes and retention >= settings.enough
        point = Point(
            actor=actor,
            hidden=student.hidden,
            parameters=student.parameters,
            played=played,
            retention=retention,
            good=good,
            tuned=self._guided or tuned,
            batches=self._batches,
            tuning_steps=0 if self._tuner is None else self._tuner.steps,
        )
        self.points.append(point)
        self._progress(point.judged)
        return good

    def _study(self, student: Student, steps: int, fewer: int = 0) -> None:
        if steps:
            student.study(self._lessons, steps, fewer)
        student.refine(self._lessons, self._settings.refinements)
        self._batches += steps

    def _seed(self) -> int:
        self._next_lesson += 1
        return self._next_lesson
