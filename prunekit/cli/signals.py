"""SIGTERM and SIGHUP as exceptions, like Ctrl-C, so a command that is told to end cleans up first.

Libraries can lose such exceptions: some abort the process if one is raised during their import, others catch it. So
none is raised inside an import, and one that was caught is raised again.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, final

# Seconds in which a second signal does not break off what the first one has begun: a terminal that closes sends two.
_CALM = 5.0
# Seconds between looks at whether an exception can be raised now, or was lost.
_LOOKS = 0.01
_IMPORTS = "<frozen importlib._bootstrap>"


@final
class Interrupted(KeyboardInterrupt):
    """Ctrl-C was pressed."""


@final
class Terminated(BaseException):
    """The signal ``number`` told the process to end. It is not an Exception, so no code mistakes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@final
class Signals:
    """The signals received in ``raising_signals``, and the last exception that was raised for them."""

    def __init__(self, max_import_seconds: float) -> None:
        self.max_import_seconds = max_import_seconds
        self.came: list[int] = []
        self.over = False
        self._looks = False
        self._began = self._raised_at = 0.0
        self._raised: Callable[[], BaseException | None] = lambda: None

    def check(self) -> None:
        """Raise the exception of a signal that arrived where none could be raised."""
        if self.came and not self.over and self._raised() is None:
            self._raise()

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        now = time.monotonic()
        if not self.came:
            self._began = now
            self._look_often()
        self.came.append(number)
        if now > self._raised_at + _CALM:
            self._raised = lambda: None
        self.look(number, frame)

    def look(self, _: int, frame: FrameType | None) -> None:
        """Raise the exception, unless one is already being raised or an import is running."""
        if not _importing(frame) or time.monotonic() > self._began + self.max_import_seconds:
            self.check()

    def end(self) -> None:
        """Stop raising exceptions."""
        self.over = True
        if self._looks:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _look_often(self) -> None:
        """Check again at short intervals from now on, unless someone else uses the system's timer."""
        if not hasattr(signal, "setitimer") or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
            return
        if signal.getitimer(signal.ITIMER_REAL)[0] == 0.0:
            self._looks = True
            signal.signal(signal.SIGALRM, self.look)
            signal.setitimer(signal.ITIMER_REAL, _LOOKS, _LOOKS)

    def _raise(self) -> None:
        number = self.came[-1]
        error = Interrupted() if number == signal.SIGINT else Terminated(number)
        self._raised, self._raised_at = weakref.ref(error), time.monotonic()
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: it would live for ever


@contextmanager
def raising_signals(max_import_seconds: float = 15.0) -> Iterator[Signals]:
    """Raise Terminated on SIGTERM and SIGHUP, and Interrupted on SIGINT, inside the context.

    This applies only to signals with Python's default handlers, and only in the main thread: handlers of others, and
    ignored signals as under ``nohup``, are kept. The defaults are restored afterwards. An import that takes longer than
    ``max_import_seconds`` is interrupted anyway, because a user's module may hang.
    """
    signals = Signals(max_import_seconds)
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    handlers: dict[str, tuple[Any, Any]] = {
        "SIGINT": (signal.default_int_handler, signals.hear),
        "SIGTERM": (signal.SIG_DFL, signals.hear),
        "SIGHUP": (signal.SIG_DFL, signals.hear),
    }
    numbers = {int(getattr(signal, name)): entry for name, entry in handlers.items() if hasattr(signal, name)}
    changed = {number: entry for number, entry in numbers.items() if signal.getsignal(number) is entry[0]}
    told = sys.unraisablehook

    def tell(lost: sys.UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, Interrupted | Terminated):  # which are raised again
            told(lost)

    sys.unraisablehook = tell
    try:
        for number, (_, handler) in changed.items():
            signal.signal(number, handler)
        yield signals
    finally:
        known = len(signals.came)
        signals.end()
        sys.unraisablehook = told
        for number, (before, _) in changed.items():
            signal.signal(number, before)
        if known == 0 and signals.came:  # between these lines
            signal.raise_signal(signals.came[0])


def _importing(frame: FrameType | None) -> bool:
    """Return whether ``frame`` is inside the import of a module."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTS:
            return True
        frame = frame.f_back
    return False
