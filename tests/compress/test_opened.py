"""Open branches: fine-tuning goes on while it is judged, and nothing else changes by that."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import points
import pytest

from prunekit.compression.branch import Branch, Phase, Round, RoundSettings
from prunekit.compression.candidates import Baseline
from prunekit.compression.opened import OpenBranch, RunningRound
from prunekit.compression.rounds import advance
from prunekit.compression.settings import SearchSettings
from prunekit.compression.student import ImitationDataset, Scale, Student
from prunekit.compression.task import Task, Worker
from prunekit.compression.teacher import Teacher
from prunekit.environments import Spaces
from prunekit.spaces.box import BoxActions
from prunekit.stats.clipping import ReturnRange

SPACES = Spaces(observation=2, actions=BoxActions(low=(-1.0,), high=(1.0,)))
TEACHER = Teacher(name="mine", spaces=SPACES, respond=points.steer)
SEARCH = SearchSettings(
    selection_episodes=4, fresh_episodes=0, teacher_episodes=2, tuning_steps=2_048, tuning_warmup=2_048
)
BASELINE = Baseline(teacher=np.full(4, 1_000.0), random=np.zeros(4))


def tuning(**told: Any) -> Branch:
    """Return a branch in fine-tuning."""
    lessons = ImitationDataset(TEACHER)
    lessons.add(np.random.default_rng(0).uniform(-1.0, 1.0, (500, 2)).astype(np.float32))
    student = Student((4,), Scale.of(lessons, SPACES), SPACES, 0)
    return Branch(
        start=(4,), number=0, scale=student.scale, dataset=lessons, target=(4,), phase=Phase.TUNE,
        learning=student, best=student.copied(), reached=-5.0, **told,
    )  # fmt: skip


def found(branch: Branch, **told: Any) -> Round:
    return Round(branch=branch, candidates=(), steps=7, **told)


def weights(branch: Branch) -> list[float]:
    assert branch.learning is not None
    return [one for value in branch.learning.network.parameters() for one in value.flatten().tolist()]


def test_a_phase_ahead_is_the_phase_after_the_judgement() -> None:
    """The same two rounds, one after the other and side by side, lead to the same branch."""
    worker = Worker(Task(env_id=points.CONTINUOUS, teacher_of=lambda _: TEACHER))
    settings = RoundSettings(search=SEARCH, baseline=BASELINE, clip_range=ReturnRange(low=0.0, high=1_000.0))
    ahead = RoundSettings(search=SEARCH, baseline=BASELINE, clip_range=settings.clip_range, ahead=True)

    def played(branch: Branch, given: RoundSettings) -> Round:
        return advance(worker, pickle.loads(pickle.dumps(branch)), given)

    first = played(tuning(), settings)
    assert (len(first.candidates), len(first.branch.unjudged), first.tuned_steps) == (0, 2, 4_096)
    judged = played(first.branch, settings)
    assert (len(judged.candidates), judged.branch.unjudged, judged.branch.phases) == (2, (), 1)
    in_turn = played(judged.branch, settings).branch

    opened = OpenBranch(branch=first.branch)
    opened.running, opened.ahead = RunningRound(job="0", began=0.0), RunningRound(job="1", began=0.0)
    opened.take_ahead(played(first.branch, ahead))
    assert opened.join() is None
    opened.take(judged, 1.0)
    assert opened.join() is None
    for one in (in_turn, opened.branch):
        assert (one.phases, one.tuning_steps, len(one.unjudged), one.phase) == (1, 6_144, 2, Phase.TUNE)
    assert weights(opened.branch) == weights(in_turn) != weights(judged.branch)
    again = [weights(played(one, ahead).branch) for one in (in_turn, opened.branch)]
    worker.close()
    assert again[0] == again[1] != weights(in_turn)
    assert [one.reached for one in (in_turn, opened.branch)] == [judged.branch.reached] * 2


def judging(**told: Any) -> OpenBranch:
    """Return a branch whose last phase is being judged while the next one is tuned."""
    opened = OpenBranch(branch=tuning(unjudged=(tuning().best,), tuner=b"first", **told))
    opened.running, opened.ahead = RunningRound(job="judge", began=0.0), RunningRound(job="tune", began=0.0)
    return opened


def after(opened: OpenBranch, **told: Any) -> Branch:
    changed = copy.deepcopy(opened.branch)
    for name, value in told.items():
        setattr(changed, name, value)
    return changed


@pytest.mark.parametrize("first", ["judgement", "phase"])
def test_whatever_ends_first(first: str) -> None:
    opened = judging()
    judged = found(after(opened, unjudged=(), phases=1, reached=0.5))
    tuned = found(after(opened, tuner=b"second", tuning_steps=9))
    if first == "judgement":
        opened.take(judged, 1.0)
        assert opened.join() is None
        assert [one.job for one in opened.rounds] == ["tune"]
        opened.take_ahead(tuned)
    else:
        opened.take_ahead(tuned)
        assert opened.join() is None
        assert not opened.may_tune_ahead  # one phase ahead, and no more
        opened.take(judged, 1.0)
    assert opened.join() is None
    assert not opened.rounds
    branch = opened.branch
    assert (branch.tuner, branch.tuning_steps, branch.reached, branch.phases) == (b"second", 9, 0.5, 1)
    assert len(branch.unjudged) == 1


@pytest.mark.parametrize("ended", [True, False])
def test_a_phase_ahead_is_dropped_where_the_judgement_ends_the_tuning(ended: bool) -> None:
    opened = judging()
    if ended:
        opened.take_ahead(found(after(opened, tuner=b"second")))
    opened.take(found(after(opened, unjudged=(), phase=Phase.SHRINK)), 1.0)
    in_vain = opened.join()
    assert (in_vain is None) == ended
    assert not opened.rounds
    assert (opened.branch.phase, opened.branch.tuner) == (Phase.SHRINK, b"first")
    opened.branch.phase = Phase.TUNE  # of another size
    assert opened.join() is None
    assert opened.branch.tuner == b"first"


def test_a_judgement_that_was_cut_short_is_made_again_without_a_phase_ahead() -> None:
    opened = judging()
    opened.take_ahead(found(after(opened, tuner=b"second")))
    opened.take(found(after(opened, unjudged=()), stopped=True), 1.0)
    assert opened.join() is None
    assert (len(opened.branch.unjudged), opened.branch.tuner) == (1, b"first")


def test_a_phase_ahead_that_was_cut_short_is_tuned_again() -> None:
    opened = judging()
    opened.take_ahead(found(after(opened, tuner=b"second"), stopped=True))
    opened.take(found(after(opened, unjudged=(), phases=1)), 1.0)
    assert opened.join() is None
    assert (opened.branch.tuner, opened.branch.unjudged) == (b"first", ())


def test_an_environment_that_fails_in_a_phase_ahead_ends_the_branch() -> None:
    opened = judging()
    opened.take_ahead(found(after(opened, failure="a reward is not finite", phase=Phase.DONE)))
    opened.take(found(after(opened, unjudged=(), phases=1, reached=0.5)), 1.0)
    assert opened.join() is None
    branch = opened.branch
    assert (branch.phase, branch.failure, branch.reached) == (Phase.DONE, "a reward is not finite", 0.5)


def test_a_phase_costs_what_tuning_and_judging_take() -> None:
    opened = OpenBranch(branch=tuning(), cost=5.0)
    opened.take(found(after(opened, unjudged=(tuning().best,))), 20.0)
    assert opened.cost == 5.0  # until it is judged
    opened.take(found(after(opened, unjudged=())), 10.0)
    assert opened.cost == 30.0
    opened.take(found(after(opened, phase=Phase.SHRINK)), 8.0)
    assert opened.cost == 8.0


def test_only_what_is_judged_now_is_tuned_ahead() -> None:
    opened = judging()
    opened.ahead = None
    assert opened.may_tune_ahead
    assert opened.stop() == [RunningRound(job="judge", began=0.0)]
    assert not opened.may_tune_ahead
    opened.running = RunningRound(job="tune", began=0.0)
    opened.branch.unjudged = ()
    assert not opened.may_tune_ahead


def test_what_rounds_take_of_a_budget_of_steps() -> None:
    opened = OpenBranch(branch=tuning())
    assert (opened.next_tuning_steps(SEARCH), opened.tuning_steps(SEARCH)) == (4_096, 0)
    opened.running = RunningRound(job="0", began=0.0)
    assert opened.tuning_steps(SEARCH) == 4_096
    opened.branch.tuner, opened.branch.unjudged = b"saved", (opened.branch.best,)  # type: ignore[assignment]
    opened.ahead = opened.running
    assert (opened.next_tuning_steps(SEARCH), opened.tuning_steps(SEARCH)) == (0, 2_048)
