"""The command line, one file per command: parse, call, print; nothing else."""

import atexit
import signal
import threading
from contextlib import suppress
from functools import cache
from typing import NoReturn

from prunekit.cli.signals import Terminated, raising_signals


def main() -> NoReturn:
    """Run the command line and exit: 0 good, 1 a claim or check failed, 2 bad input, 130 interrupted.

    128 + N where the signal N ended it: SIGTERM or SIGHUP.
    """
    with raising_signals() as signals:
        try:
            from prunekit.cli.app import run  # here, where its end by a signal is in order already

            signals.check()
            run(signals)
        except (KeyboardInterrupt, Terminated) as error:
            from prunekit.cli.ending import ended_by, fail, number_of

            fail(*ended_by(number_of(error)))
        finally:
            atexit.unregister(_end_silently)
            atexit.register(_end_silently)  # what is registered last comes first
            _end_silently_before_threads()


@cache
def _end_silently_before_threads() -> None:
    """Have Ctrl-C end the process silently while it waits for threads too, which comes before what atexit runs.

    Python has no public place for that; without this one, a Ctrl-C there prints a traceback.
    """
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        with suppress(RuntimeError):  # the process ends already
            register(_end_silently)


def _end_silently() -> None:
    """Let Ctrl-C end the process as it ends: Python would print a traceback of what it interrupts there."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


__all__ = ["main"]
