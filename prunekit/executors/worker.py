"""A worker process: it runs one job after the other while its main process exists."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, TypeAlias, final

from prunekit.executors.starting import be_deaf, be_silent
from prunekit.executors.work import Outcome, perform

# Seconds between checks of which process is the parent.
_PATIENCE = 1.0


@final
@dataclass(frozen=True, kw_only=True)
class Shared:
    """The first message from the main process: the executor's ``shared``."""

    content: bytes | None


@final
@dataclass(frozen=True, kw_only=True)
class Order:
    """A job to run. ``number`` is different for every attempt."""

    number: int
    packed: bytes
    seconds: float | None


@final
@dataclass(frozen=True, kw_only=True)
class Cancel:
    """The result of the job with this number is no longer wanted."""

    number: int


@final
@dataclass(frozen=True, kw_only=True)
class End:
    """The worker must end, even during a job."""


@final
@dataclass(frozen=True, kw_only=True)
class Ready:
    """The first message of a worker."""


@final
@dataclass(frozen=True, kw_only=True)
class Begun:
    """The worker has begun its job."""


@final
@dataclass(frozen=True, kw_only=True)
class Reported:
    """A pickled report of the job's function."""

    event: bytes


ToWorker: TypeAlias = Shared | Order | Cancel | End
FromWorker: TypeAlias = Ready | Begun | Reported | Outcome


@final
@dataclass(kw_only=True)
class _Inbox:
    orders: SimpleQueue[Shared | Order] = field(default_factory=SimpleQueue)
    cancelled: set[int] = field(default_factory=set)


def begin(main: Connection, main_id: int) -> None:
    """Run jobs that arrive on ``main`` until its other end is closed, or ``main_id`` is no longer the parent process.

    The system closes the connection when the main process ends, but a process that it forked may keep it open.
    """
    be_deaf()
    be_silent()
    inbox = _Inbox()
    threading.Thread(target=_listen, args=(main, main_id, inbox), daemon=True).start()
    sending = threading.Lock()  # a job may report from several threads

    def send(message: FromWorker) -> None:
        with sending:
            main.send(message)

    shared: bytes | None = None
    send(Ready())
    while True:
        order = inbox.orders.get()
        if isinstance(order, Shared):
            shared = order.content
            continue
        send(Begun())
        outcome = perform(
            order.packed,
            shared=shared,
            seconds=order.seconds,
            cancelled=lambda number=order.number: number in inbox.cancelled,  # type: ignore[misc]
            send=lambda event: send(Reported(event=event)),
        )
        send(outcome)
        inbox.cancelled.discard(order.number)


def _listen(main: Connection, main_id: int, inbox: _Inbox) -> None:
    try:
        while True:
            if not main.poll(_PATIENCE):
                if os.getppid() != main_id:
                    break
                continue
            message: Any = main.recv()
            if isinstance(message, End):
                break
            if isinstance(message, Cancel):
                inbox.cancelled.add(message.number)
            else:
                inbox.orders.put(message)
    finally:
        os._exit(1)  # at once, also from this thread, whatever the job is doing
