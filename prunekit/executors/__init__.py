"""Executors run jobs: in the calling process, in worker processes, or on a Ray cluster."""

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

ENGINES = ("serial", "processes", "ray")


def executor_named(
    engine: str, slots: int | None = None, shared: bytes | None = None, address: str | None = None
) -> Executor:
    """Return the executor ``engine`` for ``slots`` jobs at once; None means one per core.

    ``address`` is that of a Ray cluster; without one, Ray is started on this machine. Raises InputError for an unknown
    engine, for arguments that do not apply to it, and if its package is missing.
    """
    if engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}; choose one of {', '.join(ENGINES)}")
    if address is not None and engine != "ray":
        raise InputError(f"the {engine} engine has no address; choose the ray engine, or leave the address out")
    if engine == "serial":
        if slots not in (None, 1):
            raise InputError(f"the serial engine runs one job at a time, not {slots}; choose the processes engine")
        from prunekit.executors.serial import SerialExecutor

        return SerialExecutor(shared)
    if engine == "processes":
        from prunekit.executors.processes import ProcessExecutor

        return ProcessExecutor(_cores() if slots is None else slots, shared)
    from prunekit.executors.ray import RayExecutor

    return RayExecutor(address, slots, shared)


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
