"""SIGTERM and SIGHUP as exceptions: a command that is told to end cleans up as after Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, final

# Seconds in which a second signal does not break off what the first one has begun: a terminal that closes sends two.
_CALM = 5.0


@final
class Terminated(BaseException):
    """The process was told to end by the signal ``number``; no Exception, as no part may take it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def raising_signals() -> Iterator[list[int]]:
    """Raise Terminated on SIGTERM and SIGHUP for a while, and yield the list of those that came so far.

    Only where their default, the end of the process, was in force, and only in the main thread: who handles or ignores
    them, as under ``nohup``, goes on doing so. Afterwards the default is in force again.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    calm_until, over = 0.0, False

    def hear(number: int, _: FrameType | None) -> None:
        nonlocal calm_until
        came.append(number)
        if not over and time.monotonic() > calm_until:
            calm_until = time.monotonic() + _CALM
            raise Terminated(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
    heard = [number for number in numbers if before[number] is signal.SIG_DFL]
    try:
        for number in heard:
            signal.signal(number, hear)
        yield came
    finally:
        known, over = len(came), True
        for number in heard:
            signal.signal(number, signal.SIG_DFL)
        if known == 0 and came:  # between these lines
            signal.raise_signal(came[0])
