"""The interface between jobs and executors: jobs, their events, and the ``Executor`` protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, final


class Context(Protocol):
    """What a job's function can ask and report while it runs."""

    @property
    def shared(self) -> bytes | None:
        """The data given to the executor for all jobs; it is sent to a worker only once."""

    def seconds_left(self) -> float:
        """Return the remaining seconds of the job since it began here; 0 when they are used up, inf without a limit."""

    def cancelled(self) -> bool:
        """Return whether the job's result is no longer wanted; a function that asks can end early."""

    def report(self, event: Any) -> None:
        """Send a picklable ``event`` to the main process, which receives it as ``Progress``, in order."""


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """One call ``function(argument, context)`` of a function at the top level of a module.

    ``name`` is unique among unfinished jobs. ``argument`` and the result are picklable. ``seconds`` is the limit that
    ``context.seconds_left`` counts down; a function that does not ask for it is not stopped.
    """

    name: str
    function: Callable[[Any, Context], Any]
    argument: Any = None
    seconds: float | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Started:
    """A worker has begun a job; ``worker`` is its process id, on Ray preceded by the address of its node."""

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
    """A job has failed for good: ``error`` is one line; ``traceback`` is empty if no Python code raised it."""

    name: str
    error: str
    traceback: str


@final
@dataclass(frozen=True, kw_only=True)
class Lost:
    """The worker of a job's attempt (counted from 1) has died, and the job is queued again."""

    name: str
    attempt: int


@final
@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """A cancelled job has ended; its result, if any, is dropped."""

    name: str


Event: TypeAlias = Started | Progress | Finished | Failed | Lost | Cancelled
"""What happens to a job. ``Finished``, ``Failed`` and ``Cancelled`` end it; every job gets exactly one of them."""


class Executor(Protocol):
    """Runs jobs. Use it as a context manager, in one thread; leaving it cancels running jobs and ends the workers."""

    @property
    def slots(self) -> int:
        """The number of jobs that run at once."""

    def submit(self, job: Job) -> None:
        """Queue a job; raises InputError if it cannot be pickled or its name is taken."""

    def cancel(self, name: str) -> None:
        """Drop a queued job, or ask a running one to stop; unknown names are ignored, because the job may have just
        ended.
        """

    def events(self, timeout: float) -> list[Event]:
        """Return new events, waiting up to ``timeout`` seconds for one; without jobs, return at once."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
