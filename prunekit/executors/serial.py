"""An executor that runs jobs one after the other in the calling process."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self, final

from prunekit.executors.jobs import Event, Job
from prunekit.executors.ledger import Entry, Ledger
from prunekit.executors.work import perform


@final
class SerialExecutor:
    """Runs the next job to its end in each call of ``events``, which therefore takes as long as the job."""

    slots = 1

    def __init__(self, shared: bytes | None = None) -> None:
        self._shared = shared
        self._ledger = Ledger(max_attempts=1)

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._ledger.add(job)

    def cancel(self, name: str) -> None:
        """Drop a queued job; a running job can only be cancelled from another thread."""
        self._ledger.cancel(name)

    def events(self, timeout: float) -> list[Event]:  # noqa: ARG002
        """Run one job and return the new events; ``timeout`` does not interrupt it."""
        if self._ledger.waiting:
            self._run(self._ledger.next())
        return self._ledger.take()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def _run(self, entry: Entry) -> None:
        self._ledger.started(entry, str(os.getpid()))
        outcome = perform(
            entry.packed,
            shared=self._shared,
            seconds=entry.seconds,
            cancelled=lambda: entry.cancelled,
            send=lambda event: self._ledger.progressed(entry, event),
        )
        self._ledger.ended(entry, outcome)
