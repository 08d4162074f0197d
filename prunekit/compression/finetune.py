"""Fine-tuning on rewards, a phase at a time; each is judged, as returns fall and rise from one to the next."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import numpy as np

from prunekit.adapters.sb3_tuning import Tuner
from prunekit.compression.round_context import RoundContext
from prunekit.compression.student import Student
from prunekit.rollouts import StoppedError

# Fine-tuning phases in which a network that is good already may become safely good.
_SETTLING = 2


def tune(context: RoundContext) -> None:
    """Fine-tune for a phase; what is safely good, or good and no longer better, is what smaller ones learn from."""
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
    branch.without_improvement += 1
    for network in networks:
        candidate = context.judge(network, best=branch.reached, tuned=True)
        if candidate.good and candidate.retention >= settings.safe:
            branch.is_safe = True
            _follow(context, network, candidate.retention)
            return
        if candidate.retention > branch.reached:
            branch.best, branch.reached, branch.without_improvement = network, candidate.retention, 0
            if candidate.good:
                branch.good, branch.good_retention = network, candidate.retention
    is_good = branch.good is not None and branch.good is branch.best
    patience = settings.tuning_patience if context.round.anything_good else math.inf
    if branch.without_improvement >= (_SETTLING if is_good else patience):
        if is_good:
            assert branch.good is not None
            _follow(context, branch.good, branch.good_retention)
        else:
            context.give_up()


def _follow(context: RoundContext, student: Student, retention: float) -> None:
    """Have smaller ones learn from ``student``: what a small network does can be imitated by a smaller one."""
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
    """Return (what ``tuner`` is now, the average and the latest of what ``learning`` became, steps that were taken).

    ``saved`` is what the tuner was after the last phase of the branch, None where there was none; ``continued`` says
    that it was one of ``learning``, which becomes the average. What falls is not taken back: before it gets better than
    it ever was, a small network may fall for a dozen phases.
    """
    tuner.resume(learning.network if continued else None, tuner.initial if saved is None else saved)
    if not continued:
        tuner.take(learning.network)
    taken = tuner.tune(steps, stopped)
    latest = learning.copied()
    latest.network.load_state_dict(tuner.latest.state_dict())
    return tuner.saved(), (learning.copied(), latest), taken
