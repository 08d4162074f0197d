"""Fine-tuning on rewards, a phase at a time; each is judged, as returns fall and rise from one to the next."""

from __future__ import annotations

from collections.abc import Callable

from prunekit.adapters.sb3_tuning import Tuner
from prunekit.compression.student import Student


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
