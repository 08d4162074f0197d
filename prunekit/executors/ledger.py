"""What the main process knows of its jobs: which wait, which run, how often their workers died, what is to be told."""

from __future__ import annotations

import math
import pickle
from collections import deque
from dataclasses import dataclass
from typing import final

from prunekit.errors import InputError
from prunekit.executors.jobs import Cancelled, Event, Failed, Finished, Job, Lost, Progress, Started
from prunekit.executors.work import Outcome, Returned, in_one_line


@final
@dataclass(kw_only=True, eq=False)
class Entry:
    """A job that has not ended: as it is sent, and what has happened to it. ``attempt`` counts from 1."""

    name: str
    packed: bytes
    seconds: float | None
    attempt: int = 0
    cancelled: bool = False


@final
class Ledger:
    """The jobs of one executor, each of which gets exactly one last event."""

    def __init__(self, max_attempts: int) -> None:
        if max_attempts < 1:
            raise InputError(f"max_attempts must be at least 1, not {max_attempts}")
        self._max_attempts = max_attempts
        self._entries: dict[str, Entry] = {}
        self._queue: deque[Entry] = deque()
        self._events: list[Event] = []

    @property
    def unfinished(self) -> int:
        """How many jobs wait or run."""
        return len(self._entries)

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._queue)

    def add(self, job: Job) -> None:
        """Queue a job; raise InputError where it cannot be sent or its name is taken."""
        if job.name in self._entries:
            raise InputError(f"a job {job.name!r} is already running; give this one another name")
        if job.seconds is not None and not 0 < job.seconds < math.inf:
            raise InputError(f"the seconds of job {job.name!r} must be positive and finite, not {job.seconds}")
        try:
            packed = pickle.dumps((job.function, job.argument))
        except Exception as error:
            raise InputError(
                f"job {job.name!r} cannot be sent to a worker: {in_one_line(error)}; its function must be at the top "
                "level of a module, and its argument picklable"
            ) from error
        entry = Entry(name=job.name, packed=packed, seconds=job.seconds)
        self._entries[job.name] = entry
        self._queue.append(entry)

    def next(self) -> Entry:
        """Take the job that has waited longest for a new attempt."""
        entry = self._queue.popleft()
        entry.attempt += 1
        return entry

    def cancel(self, name: str) -> Entry | None:
        """Drop a job that waits; return one that runs, for its worker to be told."""
        entry = self._entries.get(name)
        if entry is None or entry.cancelled:
            return None
        entry.cancelled = True
        if entry not in self._queue:
            return entry
        self._queue.remove(entry)
        self.drop(entry)
        return None

    def drop(self, entry: Entry) -> None:
        """End a job that was cancelled."""
        self._end(entry, Cancelled(name=entry.name))

    def started(self, entry: Entry, worker: str) -> None:
        """Note that a worker has begun with a job."""
        self._events.append(Started(name=entry.name, worker=worker))

    def progressed(self, entry: Entry, event: bytes) -> None:
        """Note what a job has reported."""
        self._events.append(Progress(name=entry.name, event=pickle.loads(event)))  # of this program's own worker

    def ended(self, entry: Entry, outcome: Outcome) -> None:
        """Note what became of a job."""
        if entry.cancelled:
            self.drop(entry)
        elif isinstance(outcome, Returned):
            self._end(entry, Finished(name=entry.name, result=pickle.loads(outcome.result)))  # likewise
        else:
            self._end(entry, Failed(name=entry.name, error=outcome.error, traceback=outcome.traceback))

    def lost(self, entry: Entry, how: str) -> None:
        """Queue a job again whose worker has died, before those that have not begun, or end it after too many times."""
        if entry.cancelled:
            self.drop(entry)
        elif entry.attempt < self._max_attempts:
            self._events.append(Lost(name=entry.name, attempt=entry.attempt))
            self._queue.appendleft(entry)
        else:
            times = "" if entry.attempt == 1 else f" {entry.attempt} times"
            text = f"its worker died{times}: {how}"
            self._end(entry, Failed(name=entry.name, error=text, traceback=""))

    def take(self) -> list[Event]:
        """Return what has happened since this was last called."""
        events, self._events = self._events, []
        return events

    def _end(self, entry: Entry, event: Event) -> None:
        del self._entries[entry.name]
        self._events.append(event)
