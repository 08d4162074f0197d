"""The command line: one file per command, which parses options, calls the library, and prints."""

import atexit
import signal
import threading
from contextlib import suppress
from functools import cache
from typing import NoReturn

from prunekit.cli.signals import Terminated, raising_signals


def main() -> NoReturn:
    """Run the command line and exit: 0 success, 1 a claim or check failed, 2 bad input, 130 interrupted.

    If the signal N (SIGTERM or SIGHUP) ended it, the exit code is 128 + N.
    """
    with raising_signals() as signals:
        try:
            try:
                from prunekit.cli.app import run  # here, where its end by a signal is in order already

                signals.check()
                run(signals)
            finally:
                signals.end()  # a signal that arrives from here on must not break into the end of the process
        except (KeyboardInterrupt, Terminated) as error:
            from prunekit.cli.ending import ended_by, fail, number_of

            fail(*ended_by(number_of(error)))
        finally:
            atexit.unregister(_end_silently)
            atexit.register(_end_silently)  # what is registered last comes first
            _end_silently_before_threads()


@cache
def _end_silently_before_threads() -> None:
    """Make Ctrl-C end the process silently while it waits for threads, which happens before the functions of atexit.

    Python has no public hook for that; without this one, Ctrl-C would print a traceback there.
    """
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        with suppress(RuntimeError):  # the process ends already
            register(_end_silently)


def _end_silently() -> None:
    """Make Ctrl-C end the process silently during its exit, where Python would print a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


__all__ = ["main"]
