"""How a worker process begins: what has to be so before it imports torch and all that takes seconds."""

from __future__ import annotations

import os
import pickle
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from typing import Any

from prunekit.executors.starting import be_deaf


def begin(site: bytes, judged: SimpleQueue[bytes], stopped: Any, main: Connection) -> None:
    """Make this process a worker at the pickled ``site``, which ends as soon as the other end of ``main`` is closed.

    The system closes it when the main process ends, however it ends. The site is unpickled here: with the other
    arguments it would be before this function is called, and import torch.
    """
    be_deaf()
    threading.Thread(target=_end_with, args=(main,), daemon=True).start()
    from prunekit.compression.workers import open_post

    open_post(pickle.loads(site), judged, stopped)  # of this program's own main process


def _end_with(main: Connection) -> None:
    with suppress(EOFError, OSError):
        main.recv_bytes()
    os._exit(1)
