"""The main process's record of its jobs: queued, running, how often their workers died, and events to deliver."""

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
    """An unfinished job in its pickled form, and its history. ``attempt`` counts from 1."""

    name: str
    packed: bytes
    seconds: float | None
    attempt: int = 0
    cancelled: bool = False


@final
class Ledger:
    """The jobs of one executor; each job gets exactly one final event."""

    def __init__(self, max_attempts: int) -> None:
        if max_attempts < 1:
            raise InputError(f"max_attempts must be at least 1, not {max_attempts}")
        self._max_attempts = max_attempts
        self._entries: dict[str, Entry] = {}
        self._queue: deque[Entry] = deque()
        self._events: list[Event] = []

    @property
    def unfinished(self) -> int:
        """The number of queued and running jobs."""
        return len(self._entries)

    @property
    def waiting(self) -> int:
        """The number of queued jobs."""
        return len(self._queue)

    def add(self, job: Job) -> None:
        """Queue a job; raises InputError if it cannot be pickled or its name is taken."""
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
        """Take the job that has waited longest, for a new attempt."""
        entry = self._queue.popleft()
        entry.attempt += 1
        return entry

    def cancel(self, name: str) -> Entry | None:
        """Drop a queued job; return a running one, so its worker can be told."""
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
        """End a cancelled job."""
        self._end(entry, Cancelled(name=entry.name))

    def started(self, entry: Entry, worker: str) -> None:
        """Record that a worker has begun a job."""
        self._events.append(Started(name=entry.name, worker=worker))

    def progressed(self, entry: Entry, event: bytes) -> None:
        """Record a report of a job."""
        self._events.append(Progress(name=entry.name, event=pickle.loads(event)))  # of this program's own worker

    def ended(self, entry: Entry, outcome: Outcome) -> None:
        """Record the outcome of a job."""
        if entry.cancelled:
            self.drop(entry)
        elif isinstance(outcome, Returned):
            self._end(entry, Finished(name=entry.name, result=pickle.loads(outcome.result)))  # likewise
        else:
            self._end(entry, Failed(name=entry.name, error=outcome.error, traceback=outcome.traceback))

    def lost(self, entry: Entry, how: str) -> None:
        """Queue a job whose worker has died in front of all waiting jobs, or end it after too many attempts."""
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
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events

    def _end(self, entry: Entry, event: Event) -> None:
        del self._entries[entry.name]
        self._events.append(event)
