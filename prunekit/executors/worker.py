"""A worker process: it runs one job after the other for as long as its main process is there."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, TypeAlias, final

from prunekit.executors.starting import be_deaf, be_silent
from prunekit.executors.work import Outcome, perform

# Seconds between looks at whose child this process is.
_PATIENCE = 1.0


@final
@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the main process sends first: the executor's ``shared``."""

    content: bytes | None


@final
@dataclass(frozen=True, kw_only=True)
class Order:
    """A job to run. ``number`` is another one for every attempt."""

    number: int
    packed: bytes
    seconds: float | None


@final
@dataclass(frozen=True, kw_only=True)
class Cancel:
    """The job of this number is no longer wanted."""

    number: int


@final
@dataclass(frozen=True, kw_only=True)
class End:
    """The worker is no longer wanted, whatever it does."""


@final
@dataclass(frozen=True, kw_only=True)
class Ready:
    """What a worker says first."""


@final
@dataclass(frozen=True, kw_only=True)
class Begun:
    """The worker has begun with its job."""


@final
@dataclass(frozen=True, kw_only=True)
class Reported:
    """A job's function has reported what is pickled here."""

    event: bytes


ToWorker: TypeAlias = Shared | Order | Cancel | End
FromWorker: TypeAlias = Ready | Begun | Reported | Outcome


@final
@dataclass(kw_only=True)
class _Inbox:
    orders: SimpleQueue[Shared | Order] = field(default_factory=SimpleQueue)
    cancelled: set[int] = field(default_factory=set)


def begin(main: Connection, main_id: int) -> None:
    """Run what arrives on ``main`` until its other end is closed, or the process ``main_id`` is no longer the parent.

    The system closes it when the main process ends, however it ends; a process that it had forked may hold it open.
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
        os._exit(1)  # at once, from this thread too, whatever the job does
