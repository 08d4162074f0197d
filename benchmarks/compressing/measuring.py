"""A process and all that it begins, measured from outside: time by the clock and on processors, and who else worked."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
# Seconds in which processes that outlive the one that began them have to end.
_ENDING = 10.0


def run_measured(command: Sequence[str], log: Path, code: Path) -> tuple[int, dict[str, float | None]]:
    """Run ``command`` with the package in ``code``; return its exit code and what it took.

    ``cpu_seconds`` are those of all its processes, also of those that it did not wait for; ``others_cores`` is how many
    cores other programs kept busy on average, None where the system does not tell. Linux alone.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(code.resolve())}
    load, busy, began = os.getloadavg()[0], _busy_seconds(), time.monotonic()
    with _parent_of_orphans(), log.open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment, process_group=0)
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds, cpu = time.monotonic() - began, usage.ru_utime + usage.ru_stime
            cpu += _rest(process.pid)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    after = _busy_seconds()
    others = None if busy is None or after is None else max(after - busy - cpu, 0.0) / seconds
    return process.returncode, {
        "wall_seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "others_cores": None if others is None else round(others, 2),
        "load_before": round(load, 2),
        "load_after": round(os.getloadavg()[0], 2),
    }


@contextmanager
def _parent_of_orphans() -> Iterator[None]:
    """Have processes whose parent ends become children of this one, to which they tell what they took."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _rest(group: int) -> float:
    """Return the processor seconds of what is left of a group of processes, which has to end."""
    cpu, until = 0.0, time.monotonic() + _ENDING
    while True:
        try:
            pid, _, usage = os.wait4(-group, os.WNOHANG)
        except ChildProcessError:
            return cpu
        if pid:
            cpu += usage.ru_utime + usage.ru_stime
        elif time.monotonic() > until:
            os.killpg(group, signal.SIGKILL)
            until = float("inf")
        else:
            time.sleep(0.05)


def _busy_seconds() -> float | None:
    """Return the seconds that the machine's cores have worked since it began."""
    try:
        fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:8]]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq = fields
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Have so many processes want a core each."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def commit_of(root: Path) -> str | None:
    """Return the commit that is checked out in ``root``; None outside of Git."""
    done = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None


def said_last(log: Path) -> str:
    """Return the last line of a log."""
    lines: Sequence[str] = log.read_text(errors="replace").strip().splitlines() if log.exists() else ()
    return lines[-1] if lines else "nothing was said"


def with_names(text: str, names: Mapping[str, str]) -> str:
    """Return ``text`` with the names of this machine's places replaced."""
    for place, name in names.items():
        text = text.replace(place, name)
    return text
