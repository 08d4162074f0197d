"""The code that runs inside Ray: the task of a job, and the mailbox between tasks and the main process."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import Any, final

from prunekit.executors.work import Outcome, Raised, perform

# Seconds for which an answer to "is it cancelled?" is reused, because asking takes about a millisecond.
_FRESH = 0.2
# The latest ``shared`` data of this process, by the id of Ray's object.
_SHARED: dict[str, bytes] = {}


@final
class Mailbox:
    """A Ray actor that keeps reports of tasks (number, worker, pickled event; None at their start) and cancelled
    numbers.
    """

    def __init__(self) -> None:
        self._mail: list[tuple[int, str, bytes | None]] = []
        self._cancelled: set[int] = set()

    def put(self, number: int, worker: str, event: bytes | None) -> None:
        """Store a report of a task."""
        self._mail.append((number, worker, event))

    def exchange(self, cancelled: set[int]) -> list[tuple[int, str, bytes | None]]:
        """Store which tasks are cancelled, and return the reports since the last call."""
        self._cancelled = cancelled
        mail, self._mail = self._mail, []
        return mail

    def is_cancelled(self, number: int) -> bool:
        """Return whether a task is cancelled."""
        return number in self._cancelled


def run(packed: bytes, seconds: float | None, shared: list[Any], mailbox: Any, number: int, path: list[str]) -> Outcome:
    """Run one job. ``path`` is the main process's ``sys.path``; ``shared`` holds Ray's reference to shared data, or is
    empty.
    """
    import ray

    sys.path += [folder for folder in path if folder not in sys.path]
    worker = f"{ray.util.get_node_ip_address()}:{os.getpid()}"
    post = _Post(ray, mailbox, number, worker)
    if post.cancelled():  # while it waited for a core
        return Raised(error="cancelled", traceback="")
    post.send(None)
    return perform(
        packed,
        shared=_once(ray, shared[0]) if shared else None,
        seconds=seconds,
        cancelled=post.cancelled,
        send=post.send,
    )


@final
class _Post:
    """A task's access to the mailbox. If the mailbox has died, reports are lost and the job continues."""

    def __init__(self, ray: Any, mailbox: Any, number: int, worker: str) -> None:
        self._ray, self._mailbox, self._number, self._worker = ray, mailbox, number, worker
        self._cancelled, self._asked = False, -_FRESH

    def send(self, event: bytes | None) -> None:
        """Send a report and wait until it is stored, so it is not lost if this process dies next."""
        with suppress(self._ray.exceptions.RayError):
            self._ray.get(self._mailbox.put.remote(self._number, self._worker, event))

    def cancelled(self) -> bool:
        if not self._cancelled and time.monotonic() - self._asked >= _FRESH:
            self._asked = time.monotonic()
            with suppress(self._ray.exceptions.RayError):
                self._cancelled = self._ray.get(self._mailbox.is_cancelled.remote(self._number))
        return self._cancelled


def _once(ray: Any, reference: Any) -> bytes:
    """Return the shared data, fetched once per process."""
    name = reference.hex()
    if name not in _SHARED:
        _SHARED.clear()
        _SHARED[name] = ray.get(reference)
    return _SHARED[name]
