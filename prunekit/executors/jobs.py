"""What jobs are, what happens to them, and what runs them: the seam that every executor fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, final


class Context(Protocol):
    """What a job's function is told where it runs."""

    @property
    def shared(self) -> bytes | None:
        """What was given to the executor for all jobs; it reaches a worker once, whatever the number of its jobs."""

    def seconds_left(self) -> float:
        """Return what is left of the job's seconds since it began here; 0 when they are over, inf without a limit."""

    def cancelled(self) -> bool:
        """Return whether the job's result is no longer wanted: a function that asks now and then can end early."""

    def report(self, event: Any) -> None:
        """Send a picklable ``event`` to the main process, where it arrives as ``Progress``, in order."""


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """One call ``function(argument, context)``, of a function at the top level of a module.

    ``name`` is unique among the jobs that have not ended. ``argument`` and the result are picklable. ``seconds`` is
    what ``context.seconds_left`` counts down from; a function that does not ask is not stopped.
    """

    name: str
    function: Callable[[Any, Context], Any]
    argument: Any = None
    seconds: float | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Started:
    """A worker has begun with a job; ``worker`` says which: a process id, on Ray after its node's address."""

    name: str
    worker: str


@final
@dataclass(frozen=True, kw_only=True)
class Progress:
    """A job's function has reported ``event``."""

    name: str
    event: Any


@final
@dataclass(frozen=True, kw_only=True)
class Finished:
    """A job's function has returned ``result``."""

    name: str
    result: Any


@final
@dataclass(frozen=True, kw_only=True)
class Failed:
    """A job has failed for good: ``error`` in one line; ``traceback`` is empty where no Python code raised it."""

    name: str
    error: str
    traceback: str


@final
@dataclass(frozen=True, kw_only=True)
class Lost:
    """The worker of a job's attempt (from 1) has died, and the job is queued again."""

    name: str
    attempt: int


@final
@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """A job that was cancelled is over; what it may have returned is dropped."""

    name: str


Event: TypeAlias = Started | Progress | Finished | Failed | Lost | Cancelled
"""What happens to a job. ``Finished``, ``Failed`` and ``Cancelled`` end it; every job gets exactly one of them."""


class Executor(Protocol):
    """Runs jobs; used as a context manager, by one thread. Leaving it cancels what still runs, and ends the workers."""

    @property
    def slots(self) -> int:
        """How many jobs run at once."""

    def submit(self, job: Job) -> None:
        """Queue a job; raise InputError where it cannot be sent to a worker or its name is taken."""

    def cancel(self, name: str) -> None:
        """Drop a queued job, tell a running one; another name is no error, as its job may just have ended."""

    def events(self, timeout: float) -> list[Event]:
        """Return what has happened, after waiting at most ``timeout`` seconds for something; at once without jobs."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
