"""Start and end of worker processes: they ignore the terminal's signals, use one thread, and never outlive the main
process.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

_DEAF_TO = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""The environment variables that numerical libraries read when they are imported."""


@contextmanager
def deaf_processes() -> Iterator[None]:
    """Start processes inside the context that ignore Ctrl-C and the end of the terminal from their first moment.

    The main process handles both signals and ends its workers; signals during the context reach it afterwards. SIGTERM
    still ends a worker, which is how a pool ends the remaining ones after one has died.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEAF_TO)
    try:
        with _environment(PYTHONWARNINGS=_without_leaks()):
            resource_tracker.ensure_running()  # multiprocessing's own process, whose start unblocks SIGINT
        signal.pthread_sigmask(signal.SIG_BLOCK, _DEAF_TO)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def single_threaded_processes() -> Iterator[None]:
    """Start processes inside the context whose numerical libraries use one thread; this process's environment is
    restored.
    """
    with _environment(**ONE_THREAD):
        yield


def _without_leaks() -> str:
    """Return warning filters that hide the resource warnings of workers that are ended; the main process cleans up
    after them.
    """
    before = os.environ.get("PYTHONWARNINGS")
    return f"{before}," * bool(before) + "ignore:resource_tracker:UserWarning"


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def be_deaf() -> None:
    """Ignore the signals of ``deaf_processes`` in this process and in those that it starts."""
    for number in _DEAF_TO:
        signal.signal(number, signal.SIG_IGN)


def be_silent() -> None:
    """Discard everything that this process prints, from Python or from C."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
