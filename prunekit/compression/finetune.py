"""Fine-tuning on rewards, one phase at a time; every phase is judged, as returns rise and fall between them.

A phase and its judgement are rounds of their own, so that a worker without other work can tune ahead while another one
judges.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np

from prunekit.adapters.sb3_tuning import Tuner
from prunekit.compression.round_context import RoundContext
from prunekit.compression.student import Student
from prunekit.rollouts import StoppedError

# Phases without improvement in which a good network may still become safely good. It is the best of many on the same
# episodes, so that what is barely good there often is not on others.
_SETTLING = 4


def tune(context: RoundContext) -> None:
    """Fine-tune for one phase; its networks are judged in the next round."""
    branch, settings = context.branch, context.settings
    assert branch.learning is not None
    tuner = context.worker.tuner(branch.scale, settings.seed, settings.tuning_warmup)
    branch.tuner, networks, steps = burst(
        tuner, branch.tuner, branch.learning, settings.tuning_steps, context.stopped, continued=branch.is_tuning
    )
    branch.is_tuning = True
    context.tuned_steps += steps
    branch.tuning_steps += steps
    if context.stopped():
        raise StoppedError("stopped")
    branch.unjudged = networks


def settle(context: RoundContext) -> None:
    """Judge the networks of the last phase, and choose what the branch does next.

    Smaller students learn from a student that is safely good, or from a good one that no longer improves.
    """
    branch, settings = context.branch, context.settings
    networks, branch.unjudged = branch.unjudged, ()
    branch.without_improvement += 1
    branch.phases += 1
    for network in networks:
        candidate = context.judge(network, best=branch.reached, tuned=True)
        if context.is_safe(candidate):
            branch.is_safe = True
            _follow(context, network, candidate.retention)
            return
        if candidate.retention > branch.reached:
            branch.best, branch.reached, branch.without_improvement = network, candidate.retention, 0
            if candidate.good:
                branch.good, branch.good_retention = network, candidate.retention
    if branch.good is not None and branch.good is branch.best:
        if branch.without_improvement >= _SETTLING:
            _follow(context, branch.good, branch.good_retention)
        return
    is_long = branch.phases >= settings.max_tuning_phases and branch.reached < settings.keep
    is_tired = branch.without_improvement >= settings.tuning_patience or is_long
    if is_tired and context.round.anything_good:
        context.give_up()


def _follow(context: RoundContext, student: Student, retention: float) -> None:
    """Have smaller students learn from ``student``: what a small network does, a smaller one can imitate."""
    branch = context.branch
    branch.good, branch.good_retention = student, retention
    branch.guide = pickle.dumps(student.actor)
    guide = context.guide()
    assert guide is not None
    seen = context.own_episodes(student, context.settings.teacher_episodes)
    branch.dataset.follow(guide, np.concatenate(seen))
    context.next_target()


def burst(
    tuner: Tuner,
    saved: bytes | None,
    learning: Student,
    steps: int,
    stopped: Callable[[], bool],
    *,
    continued: bool,
) -> tuple[bytes, tuple[Student, Student], int]:
    """Fine-tune ``learning`` for one phase; return (tuner's state, (averaged student, latest student), steps taken).

    ``saved`` is the tuner's state after the branch's last phase, None before its first. ``continued`` says that this
    phase was one of ``learning`` too. ``learning`` is changed to the average of the latest networks. A phase that made
    it worse is not undone: a small network may get worse for a dozen phases before it is better than ever.
    """
    tuner.resume(learning.network if continued else None, tuner.initial if saved is None else saved)
    if not continued:
        tuner.take(learning.network)
    taken = tuner.tune(steps, stopped)
    latest = learning.copied()
    latest.network.load_state_dict(tuner.latest.state_dict())
    return tuner.saved(), (learning.copied(), latest), taken
