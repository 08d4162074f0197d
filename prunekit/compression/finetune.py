"""Fine-tuning on rewards in bursts, each of them judged, as returns fall and rise from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from prunekit.adapters.sb3_tuning import Tuner
from prunekit.compression.student import Student


@final
@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a student keeps, and whether that is safely enough."""

    retention: float
    enough: bool


Judge = Callable[[Student, float], Judgement]
"""Called with what a student became, and with the best retention that it had before."""


def fine_tuned(
    student: Student,
    reached: float,
    tuner: Tuner,
    judge: Judge,
    steps: int,
    patience: Callable[[], float],
    over: Callable[[], bool],
) -> tuple[Student, float]:
    """Return (the best that ``student`` became, its retention); ends with the first that is safely good enough.

    ``reached`` is its retention so far, ``steps`` the environment steps of a burst. Ends after so many bursts in a row
    that did not help as ``patience`` says, or when it is ``over``. What falls is not taken back: before it gets better
    than it ever was, a small network may fall for a dozen bursts.
    """
    best, vain, learning = student, 0, student.copied()
    tuner.take(learning.network)
    while vain < patience() and not over():
        tuner.tune(steps, over)
        vain += 1
        latest = learning.copied()
        latest.network.load_state_dict(tuner.latest.state_dict())
        for found in (learning.copied(), latest):
            judged = judge(found, reached)
            if judged.enough:
                return found, judged.retention
            if judged.retention > reached:
                best, reached, vain = found, judged.retention, 0
    return best, reached
