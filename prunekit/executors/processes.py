"""An executor with one worker process per slot; a worker that dies is replaced without affecting the others."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Self, final

from prunekit.errors import InputError
from prunekit.executors.jobs import Event, Job
from prunekit.executors.ledger import Entry, Ledger
from prunekit.executors.starting import deaf_processes, single_threaded_processes
from prunekit.executors.work import Raised, Returned
from prunekit.executors.worker import Begun, Cancel, End, Order, Ready, Reported, Shared, ToWorker, begin

# Messages read from a worker at a time, so a worker that reports all the time delays no other.
_AT_A_TIME = 100
# Seconds between checks that workers are alive: a dead worker's child may hold its pipes open, which hides the death.
_PATIENCE = 1.0
# Seconds within which a worker must end after it was told to.
_ENDING = 2.0
_KILL = 9
_UNREADY = " while it began; a script that uses workers needs 'if __name__ == \"__main__\":'"


@final
@dataclass(kw_only=True, eq=False)
class _Worker:
    process: SpawnProcess
    connection: Connection
    ready: bool = False
    entry: Entry | None = None
    number: int = 0


@final
class ProcessExecutor:
    """Runs ``slots`` jobs at once, each in a process that is started when it is first needed.

    A job whose worker dies is run again, up to ``max_attempts`` times in all. On leaving, running jobs have
    ``grace_seconds`` to notice that they are cancelled; they have none if the main process was told to end.
    """

    def __init__(
        self, slots: int, shared: bytes | None = None, *, max_attempts: int = 3, grace_seconds: float = 5.0
    ) -> None:
        if slots < 1:
            raise InputError(f"slots must be at least 1, not {slots}")
        self.slots = slots
        self._shared = shared
        self._grace_seconds = grace_seconds
        self._ledger = Ledger(max_attempts)
        self._workers: list[_Worker] = []
        self._numbers = itertools.count(1)

    def submit(self, job: Job) -> None:
        """Queue a job, and start it if a slot is free."""
        self._ledger.add(job)
        self._fill()

    def cancel(self, name: str) -> None:
        """Drop a queued job, or ask a running one to stop."""
        entry = self._ledger.cancel(name)
        for worker in self._workers:
            if entry is not None and worker.entry is entry:
                if worker.ready:
                    _send(worker, Cancel(number=worker.number))
                else:  # it has not been sent yet
                    worker.entry = None
                    self._ledger.drop(entry)

    def events(self, timeout: float) -> list[Event]:
        """Return new events, waiting up to ``timeout`` seconds for one; without jobs, return at once."""
        deadline = time.monotonic() + timeout
        while True:
            self._look()
            self._fill()
            events = self._ledger.take()
            left = deadline - time.monotonic()
            if events or left <= 0 or not self._ledger.unfinished:
                return events
            self._wait(left)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Exception | None):
                self._let_end()
        finally:
            self._end_all()

    def _fill(self) -> None:
        for worker in self._idle():
            if self._ledger.waiting:
                self._give(worker, self._ledger.next())
        while self._ledger.waiting and len(self._workers) < self.slots:
            worker = _begun()
            self._workers.append(worker)
            self._give(worker, self._ledger.next())

    def _idle(self) -> Iterator[_Worker]:
        return (worker for worker in self._workers if worker.entry is None)

    def _give(self, worker: _Worker, entry: Entry) -> None:
        worker.entry, worker.number = entry, next(self._numbers)
        if worker.ready:  # sending a large job to a starting process would block
            _send(worker, Order(number=worker.number, packed=entry.packed, seconds=entry.seconds))

    def _wait(self, seconds: float) -> None:
        connections = [worker.connection for worker in self._workers]
        sentinels = [worker.process.sentinel for worker in self._workers]
        wait([*connections, *sentinels], min(seconds, _PATIENCE))

    def _look(self) -> None:
        for worker in list(self._workers):
            alive = worker.process.is_alive()  # checked before reading, because messages sent before the death count
            if not self._heard_all(worker):
                continue
            if not alive or worker.connection.closed:
                self._workers.remove(worker)
                how = _buried(worker)
                if worker.entry is not None:
                    self._ledger.lost(worker.entry, how if worker.ready else how + _UNREADY)

    def _heard_all(self, worker: _Worker) -> bool:
        """Receive a worker's messages; return False if there may be more. A pipe that has ended is closed."""
        try:
            for _ in range(_AT_A_TIME):
                if not worker.connection.poll(0):
                    return True
                self._hear(worker, worker.connection.recv())
        except (EOFError, OSError):
            worker.connection.close()
            return True
        return False

    def _hear(self, worker: _Worker, message: Any) -> None:
        entry = worker.entry
        if isinstance(message, Ready):
            worker.ready = True
            _send(worker, Shared(content=self._shared))
            if entry is not None:
                self._give(worker, entry)
        elif entry is None:
            pass  # it has been told to end
        elif isinstance(message, Begun):
            self._ledger.started(entry, str(worker.process.pid))
        elif isinstance(message, Reported):
            self._ledger.progressed(entry, message.event)
        elif isinstance(message, Returned | Raised):
            worker.entry = None
            self._ledger.ended(entry, message)

    def _let_end(self) -> None:
        """Tell running jobs that they are cancelled, and give them time to notice."""
        deadline = time.monotonic() + self._grace_seconds
        for worker in self._workers:
            if worker.entry is not None and worker.ready:
                _send(worker, Cancel(number=worker.number))
        while any(worker.entry is not None and worker.ready for worker in self._workers):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._wait(left)
            self._look()

    def _end_all(self) -> None:
        for worker in self._workers:
            _send(worker, End())  # sent too, because a process forked from this one may hold the pipe open
            worker.connection.close()
        while self._workers:
            _buried(self._workers.pop())


def _begun() -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    try:
        # Not a daemon, because daemons cannot start processes, and a job may need its own workers.
        process = context.Process(target=begin, args=(theirs, os.getpid()), daemon=False)
        with deaf_processes(), single_threaded_processes():
            process.start()
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return _Worker(process=process, connection=ours)


def _send(worker: _Worker, message: ToWorker) -> None:
    with suppress(OSError):  # a dead worker is noticed at the next check
        worker.connection.send(message)


def _buried(worker: _Worker) -> str:
    """Wait for the end of a worker that has died or was told to end, and return how it died."""
    worker.connection.close()
    process = worker.process
    process.join(_ENDING)
    if process.is_alive():
        process.kill()
        process.join()
    code = process.exitcode or 0
    process.close()
    if code == -_KILL:
        return "killed, perhaps because memory ran out"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
