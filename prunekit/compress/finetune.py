"""Fine-tuning on rewards in short bursts, each of them judged, as returns jump from one to the next."""

from __future__ import annotations

from collections.abc import Callable

from prunekit.adapters.sb3_tuning import Tuner
from prunekit.compress.student import Student, mean_of

Judge = Callable[[Student], tuple[float, bool]]
"""A student to (its retention, whether it is good enough)."""

# After so many bursts in vain the mean of their networks is judged, and one goes back to the best.
_ASTRAY = 3


def fine_tuned(
    student: Student,
    reached: float,
    tuner: Tuner,
    judge: Judge,
    steps: int,
    patience: Callable[[float], float],
    over: Callable[[], bool],
) -> tuple[Student, bool]:
    """Return (the best that ``student`` became, whether it is good enough), at the first that is.

    ``reached`` is its retention so far, ``steps`` the environment steps of a burst. Ends after so many bursts in a row
    that did not help as ``patience`` says of what is reached, or when it is ``over``.
    """
    best, vain, trail = student, 0, [student]
    while vain < patience(reached) and not over():
        if vain % _ASTRAY == 0:
            trail, student = [best], best.copied()
            tuner.take(student.network)
        tuner.tune(steps, over)
        vain += 1
        found = student.copied()
        retention, good = judge(found)
        trail.append(found)
        if not good and retention <= reached and vain % _ASTRAY == 0 and not over():
            found = mean_of(trail)
            retention, good = judge(found)
        if good:
            return found, True
        if retention > reached:
            best, reached, vain = found, retention, 0
    return best, False
