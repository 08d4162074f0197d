"""Rounds of imitation: a student learns its teacher's answers, and is accepted, taught again or given up."""

from __future__ import annotations

from prunekit.compression.branch import Phase, begin_tuning
from prunekit.compression.candidates import Candidate
from prunekit.compression.round_context import RoundContext
from prunekit.compression.sizes import largest_below, shrunk
from prunekit.compression.student import Student

# A student that is too large for Gauss-Newton steps learns for so many times as many batches.
_BATCHES_INSTEAD = 2
# A copy already knows what others have to learn: it learns for so many times fewer batches.
_COPY_BATCHES = 2
# Below this retention a network is too far from the teacher's behaviour to be fine-tuned in minutes.
_HOPE = 0.4
# A size that is still below it after so many rounds of imitation is given up.
_MIN_TAUGHT = 3
# Rounds without improvement in a branch that was fine-tuned before, as it will be fine-tuned again.
_GUIDED_RECOVERIES = 2
# The same for a copy while nothing is good, as a larger copy is good sooner.
_COPY_RECOVERIES = 1


def start(context: RoundContext) -> None:
    """Make the branch's first student, and judge what it learns from the teacher's own episodes."""
    branch, settings = context.branch, context.settings
    student = Student(branch.start, branch.scale, context.spaces, settings.seed)
    _fit(context, student, settings.first_steps)
    _judge(context, student)


def teach(context: RoundContext) -> None:
    """Have the branch's student play, learn what its teacher would have done there, and be judged again."""
    branch, settings = context.branch, context.settings
    assert branch.student is not None
    for seen in context.own_episodes(branch.student, settings.lesson_episodes):
        branch.dataset.add(seen)
    _fit(context, branch.student, settings.lesson_steps)
    _judge(context, branch.student)


def shrink(context: RoundContext) -> None:
    """Judge a copy of the branch's good student that has lost units, down to the target, while it learned.

    The layers with the least important units lose most of them, so the student may have more parameters than planned;
    it then loses more units, until it has few enough.
    """
    branch, maximum = context.branch, context.round.max_parameters
    assert branch.good is not None
    smaller = branch.good.copied()
    _fit(context, smaller, context.settings.steps, sum(smaller.hidden) - sum(branch.target))
    while smaller.parameters >= maximum:
        units = largest_below(smaller.hidden, branch.hopeless_units, lambda hidden: context.counted(hidden) < maximum)
        if units is None:
            context.give_up()
            return
        branch.target = shrunk(smaller.hidden, units)
        _fit(context, smaller, context.settings.steps, sum(smaller.hidden) - units)
    _judge(context, smaller)


def _fit(context: RoundContext, student: Student, batches: int, fewer: int = 0) -> None:
    branch = context.branch
    if branch.copies:
        batches //= _COPY_BATCHES
    elif not student.takes_gauss_newton:
        batches *= _BATCHES_INSTEAD
    if batches:
        student.fit(branch.dataset, batches, fewer, stopped=context.stopped)
    student.fit_gauss_newton(branch.dataset, context.settings.refinements)
    branch.batches += batches


def _judge(context: RoundContext, student: Student) -> None:
    """Judge ``student``, and choose what the branch does next."""
    branch, settings = context.branch, context.settings
    branch.student = student
    candidate = context.judge(student, branch.dataset.add)
    if candidate.good:
        _accept(context, student, candidate)
        return
    branch.without_improvement += 1
    if candidate.retention > branch.reached:
        branch.best, branch.reached, branch.without_improvement = student.copied(), candidate.retention, 0
    branch.taught += 1
    patience = settings.recoveries if branch.guide is None else _GUIDED_RECOVERIES
    quick = _is_quick(context)
    if quick:
        patience = _COPY_RECOVERIES
    if branch.reached < _HOPE and branch.taught >= _MIN_TAUGHT and context.round.anything_good:
        context.give_up()
    elif branch.without_improvement < patience:
        branch.phase = Phase.TEACH
    elif settings.tuning and branch.reached > _HOPE and len(student.hidden) > 0 and not quick:
        assert branch.best is not None
        begin_tuning(branch, branch.best)
    else:
        context.give_up()


def _accept(context: RoundContext, student: Student, candidate: Candidate) -> None:
    """Keep ``student``, which imitation made good; fine-tune it if nothing in the branch is safely good."""
    branch, settings = context.branch, context.settings
    branch.good, branch.good_retention = student, candidate.retention
    if _is_quick(context):
        branch.hopeless_units = 0  # they were given up early, to have something good soon
    branch.is_safe = branch.is_safe or context.is_safe(candidate)
    if branch.is_safe or not settings.tuning or len(student.hidden) == 0:
        context.next_target()
    else:
        branch.best, branch.reached, branch.without_improvement = student, candidate.retention, 0
        begin_tuning(branch, student)


def _is_quick(context: RoundContext) -> bool:
    """Return whether a larger size will be good sooner: that is so for copies, while nothing is good."""
    return context.branch.copies and not context.round.anything_good
