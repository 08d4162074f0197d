"""An executor that runs jobs as Ray tasks, on this machine or on a cluster with the same prunekit on every node."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self, final

from prunekit.errors import InputError
from prunekit.executors.jobs import Event, Job
from prunekit.executors.ledger import Entry, Ledger
from prunekit.executors.ray_task import Mailbox, run
from prunekit.executors.starting import ONE_THREAD
from prunekit.executors.work import Raised, in_one_line

# Seconds between reads of the mailbox, and within which an address must answer.
_PATIENCE, _REACHED = 0.1, 10.0


@final
class RayExecutor:
    """Runs jobs as one-core tasks on the cluster at ``address``; without one, Ray is started on this machine.

    The constructor connects to Ray. If this process is connected already, ``address`` is ignored and leaving does not
    disconnect. ``slots`` None means one job per core of the cluster. Attempts and grace are those of
    ``ProcessExecutor``. Output of jobs goes to Ray's logs. If a worker dies, Ray itself prints a line here. Raises
    InputError if Ray is missing or not running at ``address``.
    """

    def __init__(
        self,
        address: str | None,
        slots: int | None,
        shared: bytes | None = None,
        *,
        max_attempts: int = 3,
        grace_seconds: float = 5.0,
    ) -> None:
        if slots is not None and slots < 1:
            raise InputError(f"slots must be at least 1, not {slots}")
        self._ledger = Ledger(max_attempts)
        self._grace_seconds = grace_seconds
        self._ray = _imported()
        self._connected = _connect(self._ray, address, slots)
        self.slots = slots or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        here = self._ray.get_runtime_context().get_node_id()  # where it lives as long as this process
        placed = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=True)
        self._mailbox = (
            self._ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=placed, max_restarts=-1).remote()
        )
        self._shared = None if shared is None else self._ray.put(shared)
        self._task = self._ray.remote(run).options(num_cpus=1, max_retries=0, runtime_env={"env_vars": ONE_THREAD})
        self._tasks: dict[Any, tuple[int, Entry]] = {}
        self._numbers = itertools.count(1)

    def submit(self, job: Job) -> None:
        """Queue a job, and pass it to Ray if a slot is free."""
        self._ledger.add(job)
        self._fill()

    def cancel(self, name: str) -> None:
        """Drop a queued job, or ask a running one to stop."""
        if self._ledger.cancel(name) is not None:
            self._read_mail()

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
            self._ray.wait(list(self._tasks), timeout=min(left, _PATIENCE))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Exception | None):
                self._let_end()
        finally:
            for task in self._tasks:
                with suppress(self._ray.exceptions.RayError):
                    self._ray.cancel(task, force=True)
            self._ray.kill(self._mailbox)
            if self._connected:
                self._ray.shutdown()

    def _fill(self) -> None:
        while self._ledger.waiting and len(self._tasks) < self.slots:
            entry, number = self._ledger.next(), next(self._numbers)
            shared = [] if self._shared is None else [self._shared]  # in a list, so Ray lets the task fetch it
            task = self._task.remote(entry.packed, entry.seconds, shared, self._mailbox, number, sys.path)
            self._tasks[task] = (number, entry)

    def _look(self) -> None:
        ended = self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0)[0] if self._tasks else []
        self._read_mail()  # now, because a task that has ended has sent all of its reports
        for task in ended:
            _, entry = self._tasks.pop(task)
            try:
                self._ledger.ended(entry, self._ray.get(task))
            except self._ray.exceptions.RayTaskError as error:  # the task, not the job: prunekit cannot be imported
                self._ledger.ended(entry, Raised(error=in_one_line(error.cause or error), traceback=str(error)))
            except self._ray.exceptions.RayError as error:
                self._ledger.lost(entry, type(error).__name__)

    def _read_mail(self) -> None:
        running = dict(self._tasks.values())
        cancelled = {number for number, entry in running.items() if entry.cancelled}
        try:
            mail = self._ray.get(self._mailbox.exchange.remote(cancelled)) if running else []
        except self._ray.exceptions.RayActorError:  # Ray restarts it; its content is lost, but no job is
            return
        for number, worker, event in mail:
            if number in running:  # ignore an abandoned attempt whose node has returned
                if event is None:
                    self._ledger.started(running[number], worker)
                else:
                    self._ledger.progressed(running[number], event)

    def _let_end(self) -> None:
        deadline = time.monotonic() + self._grace_seconds
        for _, entry in self._tasks.values():
            self._ledger.cancel(entry.name)
        self._look()
        while self._tasks and (left := deadline - time.monotonic()) > 0:
            self._ray.wait(list(self._tasks), timeout=min(left, _PATIENCE))
            self._look()


def _imported() -> Any:
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise InputError("the ray engine needs Ray; install it with pip install 'prunekit[ray]'") from error
    return ray


def _connect(ray: Any, address: str | None, slots: int | None) -> bool:
    """Connect this process to a cluster; return False if it is connected already."""
    if ray.is_initialized():
        return False
    _require_somebody(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local = {"num_cpus": slots, "include_dashboard": False} if address is None else {}
    with _undisturbed():
        try:
            ray.init(address=address or "local", log_to_driver=False, logging_level="error", **local)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = "on this machine" if address is None else f"at {address!r}"
            raise InputError(f"no Ray cluster {where}: {in_one_line(error)}") from error
    return True


def _require_somebody(address: str | None) -> None:
    """Raise InputError if nothing listens at an ``address`` of the form HOST:PORT, because Ray itself retries for
    minutes.
    """
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        return  # Ray rejects other forms of addresses at once
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise InputError(f"no Ray cluster at {address!r}: {in_one_line(error)}") from error


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Undo two side effects of connecting: SIGTERM would end this process silently, and breakpoints would be Ray's."""
    in_main = threading.current_thread() is threading.main_thread()
    handler, breakpoints = signal.getsignal(signal.SIGTERM), os.environ.get("PYTHONBREAKPOINT")
    try:
        yield
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, handler)
        if breakpoints is None:
            os.environ.pop("PYTHONBREAKPOINT", None)
        else:
            os.environ["PYTHONBREAKPOINT"] = breakpoints
