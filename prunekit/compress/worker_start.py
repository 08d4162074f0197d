"""How a worker process begins: what has to be so before it imports torch and all that takes seconds."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from typing import Any

_DEAF_TO = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]


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
        resource_tracker.ensure_running()  # a process of multiprocessing's own; beginning it unblocks SIGINT
        signal.pthread_sigmask(signal.SIG_BLOCK, _DEAF_TO)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin(site: bytes, judged: SimpleQueue[bytes], stopped: Any, main: Connection) -> None:
    """Make this process a worker at the pickled ``site``, which ends as soon as the other end of ``main`` is closed.

    The system closes it when the main process ends, however it ends. The site is unpickled here: with the other
    arguments it would be before this function is called, and import torch.
    """
    for number in _DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(main,), daemon=True).start()
    from prunekit.compress.workers import open_post

    open_post(pickle.loads(site), judged, stopped)  # of this program's own main process


def _end_with(main: Connection) -> None:
    with suppress(EOFError, OSError):
        main.recv_bytes()
    os._exit(1)
