"""The rounds of a branch: what it does in each, and when a size is good, goes on or is given up."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import final

import numpy as np

from prunekit.compression.branch import Branch, Phase, Round, RoundSettings, retarget, seed_of
from prunekit.compression.candidates import BranchResult, Candidate
from prunekit.compression.finetune import burst
from prunekit.compression.judging import judged
from prunekit.compression.playing import deployed
from prunekit.compression.student import ImitationDataset, Scale, Student
from prunekit.compression.task import Worker
from prunekit.compression.teacher import Teacher, teacher_of_actor
from prunekit.errors import FailedEpisodeError
from prunekit.policy.actor import Actor
from prunekit.policy.program import Float32
from prunekit.rollouts import StoppedError

# Batches of a student that is too large for Gauss-Newton steps, in terms of those of one that is not.
_BATCHES_INSTEAD = 2
# A copy knows already what others have to learn: it takes so many times fewer batches.
_COPY_BATCHES = 2
# Below this retention a network is too far from the teacher's behaviour to be fine-tuned in minutes.
_HOPE = 0.4
# A size that is so far after so many rounds of imitation is given up.
_MIN_TAUGHT = 3
# Rounds of imitation without improvement, where the student is to be fine-tuned anyway.
_GUIDED_RECOVERIES = 2
# The same of a copy, while nothing is good: a larger copy is sooner.
_COPY_RECOVERIES = 1
# Fine-tuning phases in which a network that is good already may become safely good.
_SETTLING = 2


def advance(worker: Worker, branch: Branch, settings: RoundSettings) -> Round:
    """Let ``branch``, which is changed, go on by one round."""
    run = _Run(worker, branch, settings)
    before = worker.runner.steps
    stopped = False
    try:
        run.go()
    except StoppedError:
        stopped = True
    except FailedEpisodeError as error:
        branch.failure, branch.phase = str(error), Phase.DONE
    steps = worker.runner.steps - before + run.tuned_steps
    return Round(
        branch=branch,
        candidates=tuple(run.candidates),
        steps=steps,
        tuned_steps=run.tuned_steps,
        stopped=stopped,
        failed=run.failed,
    )


@final
class _Run:
    def __init__(self, worker: Worker, branch: Branch, settings: RoundSettings) -> None:
        self._worker, self._branch, self._round = worker, branch, settings
        self._settings, self._spaces = settings.search, worker.runner.spaces
        self._stopped: Callable[[], bool] = (lambda: False) if settings.in_any_case else worker.runner.stopped
        self._over = worker.runner.stopped
        if settings.in_any_case:
            worker.runner.stopped = lambda: False
        self.candidates: list[Candidate] = []
        self.tuned_steps = 0
        self.failed: tuple[int, ...] | None = None
        branch.dataset.taught_by(self._guide() or worker.teacher)

    def go(self) -> None:
        """Do what is next."""
        branch, settings = self._branch, self._settings
        match branch.phase:
            case Phase.START:
                student = Student(branch.start, branch.scale, self._spaces, settings.seed)
                self._fit(student, settings.first_steps)
                self._judge_taught(student)
            case Phase.TEACH:
                assert branch.student is not None
                for seen in self._own_episodes(branch.student, settings.lesson_episodes):
                    branch.dataset.add(seen)
                self._fit(branch.student, settings.lesson_steps)
                self._judge_taught(branch.student)
            case Phase.SHRINK:
                assert branch.good is not None
                smaller = branch.good.copied()
                self._fit(smaller, settings.steps, sum(branch.good.hidden) - sum(branch.target))
                self._judge_taught(smaller)
            case Phase.TUNE:
                self._tune()
            case Phase.DONE:
                raise AssertionError("a branch that is done has no round")

    def _fit(self, student: Student, batches: int, fewer: int = 0) -> None:
        if self._branch.copies:
            batches //= _COPY_BATCHES
        elif not student.takes_gauss_newton:
            batches *= _BATCHES_INSTEAD
        if batches:
            student.fit(self._branch.dataset, batches, fewer, stopped=self._stopped)
        student.fit_gauss_newton(self._branch.dataset, self._settings.refinements)
        self._branch.batches += batches

    def _judge_taught(self, student: Student) -> None:
        branch, settings = self._branch, self._settings
        branch.student = student
        candidate = self._judge(student, branch.dataset.add)
        if candidate.good:
            self._accept(student, candidate.retention)
            return
        branch.without_improvement += 1
        if candidate.retention > branch.reached:
            branch.best, branch.reached, branch.without_improvement = student.copied(), candidate.retention, 0
        branch.taught += 1
        patience = settings.recoveries if branch.guide is None else _GUIDED_RECOVERIES
        if self._quick:
            patience = _COPY_RECOVERIES
        if branch.reached < _HOPE and branch.taught >= _MIN_TAUGHT and self._round.anything_good:
            self._give_up()
        elif branch.without_improvement < patience:
            branch.phase = Phase.TEACH
        elif settings.tuning and branch.reached > _HOPE and len(student.hidden) > 0 and not self._quick:
            assert branch.best is not None
            self._begin_tuning(branch.best)
        else:
            self._give_up()

    @property
    def _quick(self) -> bool:
        """Whether a larger size is sooner good than this one: copies are, and nothing is good yet."""
        return self._branch.copies and not self._round.anything_good

    def _accept(self, student: Student, retention: float) -> None:
        """Take ``student``, which imitation made good; it is fine-tuned where nothing of the branch is safely good."""
        branch, settings = self._branch, self._settings
        branch.good, branch.good_retention = student, retention
        if self._quick:
            branch.hopeless_units = 0  # these were given up soon, for the sake of something good
        branch.is_safe = branch.is_safe or retention >= settings.safe
        if branch.is_safe or not settings.tuning or len(student.hidden) == 0:
            self._next_target()
        else:
            branch.best, branch.reached, branch.without_improvement = student, retention, 0
            self._begin_tuning(student)

    def _begin_tuning(self, student: Student) -> None:
        self._branch.learning, self._branch.phase = student.copied(), Phase.TUNE
        self._branch.without_improvement, self._branch.is_tuning = 0, False

    def _tune(self) -> None:
        """Fine-tune for a phase; what is safely good, or good and no longer better, is what smaller ones learn from."""
        branch, settings = self._branch, self._settings
        assert branch.learning is not None
        tuner = self._worker.tuner(branch.scale, settings.seed, settings.tuning_warmup)
        branch.tuner, networks, steps = burst(
            tuner, branch.tuner, branch.learning, settings.tuning_steps, self._stopped, continued=branch.is_tuning
        )
        branch.is_tuning = True
        self.tuned_steps += steps
        branch.tuning_steps += steps
        if self._stopped():
            raise StoppedError("stopped")
        branch.without_improvement += 1
        for network in networks:
            candidate = self._judge(network, best=branch.reached, tuned=True)
            if candidate.good and candidate.retention >= settings.safe:
                branch.is_safe = True
                self._follow(network, candidate.retention)
                return
            if candidate.retention > branch.reached:
                branch.best, branch.reached, branch.without_improvement = network, candidate.retention, 0
                if candidate.good:
                    branch.good, branch.good_retention = network, candidate.retention
        is_good = branch.good is not None and branch.good is branch.best
        patience = settings.tuning_patience if self._round.anything_good else math.inf
        if branch.without_improvement >= (_SETTLING if is_good else patience):
            if is_good:
                assert branch.good is not None
                self._follow(branch.good, branch.good_retention)
            else:
                self._give_up()

    def _follow(self, student: Student, retention: float) -> None:
        """Have smaller ones learn from ``student``: what a small network does can be imitated by a smaller one."""
        branch = self._branch
        branch.good, branch.good_retention = student, retention
        branch.guide = pickle.dumps(student.actor)
        guide = self._guide()
        assert guide is not None
        seen = self._own_episodes(student, self._settings.teacher_episodes)
        branch.dataset.follow(guide, np.concatenate(seen))
        self._next_target()

    def _give_up(self) -> None:
        branch = self._branch
        branch.hopeless_units = max(branch.hopeless_units, sum(branch.target or branch.start))
        self._next_target()

    def _next_target(self) -> None:
        branch = self._branch
        retarget(branch, self._spaces.outputs, self._spaces.observation, self._round.max_parameters)

    def _own_episodes(self, student: Student, count: int) -> list[Float32]:
        act = deployed(student.actor, self._spaces)
        try:
            return [one.observations for one in self._worker.runner.play_all(act, self._seeds(count))]
        except FailedEpisodeError:
            self.failed = student.hidden
            raise

    def _judge(
        self,
        student: Student,
        seen: Callable[[Float32], object] = len,
        *,
        best: float = -math.inf,
        tuned: bool = False,
    ) -> Candidate:
        actor, branch, given = student.actor, self._branch, self._round
        over = self._over if given.in_any_case else lambda: False
        found = judged(
            deployed(actor, self._spaces), self._worker.runner, given.search, given.baseline, given.clip_range,
            best=best, seen=seen, over=over,
        )  # fmt: skip
        self.candidates.append(
            Candidate(
                actor=actor,
                hidden=student.hidden,
                parameters=student.parameters,
                played=found.played,
                retention=found.retention,
                good=found.good,
                tuned=tuned or branch.guide is not None,
                batches=branch.batches,
                tuning_steps=branch.tuning_steps,
            )
        )
        return self.candidates[-1]

    def _guide(self) -> Teacher | None:
        if self._branch.guide is None:
            return None
        actor = pickle.loads(self._branch.guide)  # of this program's own worker
        assert isinstance(actor, Actor)
        return teacher_of_actor(actor, "a tuned student", self._spaces)

    def _seeds(self, count: int) -> range:
        first = seed_of(self._settings, self._branch.number, self._branch.seeds_used)
        self._branch.seeds_used += count
        return range(first, first + count)


def search_branch(
    worker: Worker,
    settings: RoundSettings,
    index: int = 0,
    over: Callable[[], bool] = lambda: False,
) -> BranchResult:
    """Return what one branch of the search's ``starts`` finds when it is searched alone, to its end or until ``over``.

    Raises FailedEpisodeError where the environment fails under the teacher.
    """
    search, before = settings.search, worker.runner.steps
    dataset = ImitationDataset(worker.teacher)
    for observations in worker.demonstrations(range(search.first_seed, search.first_seed + search.teacher_episodes)):
        dataset.add(observations)
    start = search.starts[index]
    scale = Scale.of(dataset, worker.runner.spaces)
    branch = Branch(start=start, number=index, scale=scale, dataset=dataset, target=start)
    found: list[Candidate] = []
    tuned_steps = 0
    worker.runner.stopped = over
    while branch.phase is not Phase.DONE and not (found and over()):
        round_ = advance(worker, branch, replace(settings, in_any_case=not found))
        tuned_steps += round_.tuned_steps
        worker.runner.stopped = over
        found += round_.candidates
        if round_.failed is not None:
            found = [replace(one, failure=branch.failure) if one.hidden == round_.failed else one for one in found]
        if round_.stopped:
            break
    return BranchResult(candidates=found, steps=worker.runner.steps - before + tuned_steps, failure=branch.failure)
