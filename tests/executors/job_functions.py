"""What the tests of executors have workers do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from prunekit.executors import Cancelled, Context, Event, Executor, Failed, Finished

PATIENCE = 60.0
KEPT: list[Any] = []


def seeded(seed: int, context: Context) -> tuple[list[float], bytes | None]:
    """Return what depends on the seed alone, and what is shared."""
    generator = np.random.default_rng(seed)
    for step in range(3):
        context.report((seed, step, generator.normal()))
    return generator.normal(size=100).cumsum().tolist(), context.shared


def place(_: None, context: Context) -> tuple[int, int]:
    """Return this process, and how many different objects it has been given as ``shared``."""
    KEPT.append(context.shared)
    return os.getpid(), len({id(shared) for shared in KEPT})


def wait_for_file(path: Path, context: Context) -> int:
    """Return this process as soon as ``path`` is there."""
    context.report("waiting")
    while not path.exists():
        time.sleep(0.01)
    return os.getpid()


def wait_for_cancel(_: None, context: Context) -> str:
    """Return when this is cancelled."""
    context.report("waiting")
    while not context.cancelled():
        time.sleep(0.01)
    return "cancelled"


def tidy(path: Path, context: Context) -> None:
    """Make ``path`` when this is cancelled."""
    wait_for_cancel(None, context)
    path.touch()


def die_unless_there(path: Path, context: Context) -> str:
    """Kill this process, the first time."""
    context.report("began")
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def die(code: int, _: Context) -> None:
    os._exit(code)


class UnpicklableError(Exception):
    def __init__(self, *, culprit: str) -> None:
        super().__init__(f"it was {culprit}\nall along")
        self.function = lambda: culprit


def fail(culprit: str, _: Context) -> None:
    raise UnpicklableError(culprit=culprit)


def leave(code: int, _: Context) -> None:
    sys.exit(code)


def return_unpicklable(_: None, __: Context) -> object:
    return lambda: None


def report_unreadable(_: None, context: Context) -> None:
    """Report what can be pickled, and not be unpickled."""
    try:
        fail("x", context)
    except UnpicklableError as error:
        error.function = None  # type: ignore[assignment]
        context.report(error)


def count_down(_: None, context: Context) -> tuple[float, float, float]:
    """Return the seconds left at first, after 0.2 s, and after all of 0.4 s."""
    first = context.seconds_left()
    time.sleep(0.2)
    second = context.seconds_left()
    time.sleep(0.3)
    return first, second, context.seconds_left()


def surroundings(_: None, __: Context) -> dict[str, Any]:
    """Return what a worker has of the main process, and print."""
    print("printed by Python")  # noqa: T201
    os.write(2, b"printed by the system\n")
    ignored = [signal.getsignal(number) is signal.SIG_IGN for number in (signal.SIGINT, signal.SIGHUP)]
    threads = subprocess.run(
        [sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS'])"], capture_output=True, check=True
    )
    return {
        "ignores": all(ignored),
        "threads": int(threads.stdout),
        "files": [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if is_open(number)],
    }


def is_open(number: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{number}")


def all_events(executor: Executor) -> list[Event]:
    """Return everything until every job has ended."""
    events: list[Event] = []
    while found := executor.events(PATIENCE):
        events += found
    return events


def until(executor: Executor, wanted: Event) -> list[Event]:
    """Return everything up to the look that finds ``wanted``."""
    events: list[Event] = []
    while wanted not in events:
        found = executor.events(PATIENCE)
        assert found, f"{wanted} did not come: {events}"
        events += found
    return events


def last_events(events: Iterable[Event]) -> dict[str, Event]:
    """Return the event that ended each job, and check that there is one alone, after which nothing comes."""
    ended: dict[str, Event] = {}
    for event in events:
        assert event.name not in ended, event
        if isinstance(event, Finished | Failed | Cancelled):
            ended[event.name] = event
    return ended


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def await_end(process: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while is_alive(process):
        assert time.monotonic() < deadline, f"process {process} has not ended"
        time.sleep(0.02)
