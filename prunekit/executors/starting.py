"""How worker processes begin and end: deaf to the terminal, with one thread, and never outliving the main process."""

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
    """Begin processes that never hear Ctrl-C or the end of a terminal, not even before they run code of this module.

    Both are for the main process alone, which has its workers end; what comes meanwhile reaches it afterwards. SIGTERM
    ends a worker: that is how a pool ends those that are left when one has died.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEAF_TO)
    try:
        with _environment(PYTHONWARNINGS=_without_leaks()):
            resource_tracker.ensure_running()  # a process of multiprocessing's own; beginning it unblocks SIGINT
        signal.pthread_sigmask(signal.SIG_BLOCK, _DEAF_TO)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def single_threaded_processes() -> Iterator[None]:
    """Begin processes whose numerical libraries use one thread; this process's environment is as before afterwards."""
    with _environment(**ONE_THREAD):
        yield


def _without_leaks() -> str:
    """Return warning filters by which nothing is said of what workers leave that are ended; it is cleaned up then."""
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
    """Have this process ignore what ``deaf_processes`` holds back, and so the processes that it begins."""
    for number in _DEAF_TO:
        signal.signal(number, signal.SIG_IGN)


def be_silent() -> None:
    """Send what this process prints, from Python or from C, nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
