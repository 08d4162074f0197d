"""Where jobs run: in the calling process, or in processes of their own."""

from __future__ import annotations

import os

from prunekit.errors import InputError
from prunekit.executors.jobs import (
    Cancelled,
    Context,
    Event,
    Executor,
    Failed,
    Finished,
    Job,
    Lost,
    Progress,
    Started,
)

__all__ = [
    "ENGINES", "Cancelled", "Context", "Event", "Executor", "Failed", "Finished", "Job", "Lost", "Progress", "Started",
    "executor_named",
]  # fmt: skip

ENGINES = ("serial", "processes")


def executor_named(engine: str, slots: int | None = None, shared: bytes | None = None) -> Executor:
    """Return the executor called ``engine`` for ``slots`` jobs at once; None stands for as many as there are cores.

    Raises InputError for an unknown engine, and for what does not belong to it.
    """
    if engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}; choose one of {', '.join(ENGINES)}")
    if engine == "serial":
        if slots not in (None, 1):
            raise InputError(f"the serial engine runs one job at a time, not {slots}; choose the processes engine")
        from prunekit.executors.serial import SerialExecutor

        return SerialExecutor(shared)
    from prunekit.executors.processes import ProcessExecutor

    return ProcessExecutor(_cores() if slots is None else slots, shared)


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
