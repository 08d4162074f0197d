"""A process that reads damaged files one after another, and the one above it that ends it where it goes too far.

The reader is forked from a process that has imported everything and read all sound files once. For every file it says
when it begins and what came of it. The one above looks every few milliseconds at its memory and its time. A reader
that was killed, or that crashed, is replaced; every file that it may have failed of is then read once more by a reader
of its own, and what is reported is what happened there.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

MEBIBYTE = 2**20
_LOOKS = 0.01
# Seconds that the making of a file may take.
_PATIENCE = 300.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Wall-clock seconds per file, and bytes of resident memory above what the reader had before the file."""

    seconds: float = 10.0
    memory: int = 1024 * MEBIBYTE


@dataclass(kw_only=True)
class Report:
    """What came of one file: ``troubles`` are empty where it was read or refused as it should be."""

    number: int
    outcome: str
    troubles: list[str] = field(default_factory=list)
    seconds: float = 0.0
    memory: int = 0
    about: dict[str, Any] = field(default_factory=dict)


T = TypeVar("T")
Make = Callable[[int], T]
"""Makes the file of a number, which is not counted."""
Read = Callable[[T], dict[str, Any]]
"""Reads it; returns ``outcome``, ``troubles`` and whatever else is to be told of what came of it."""
Describe = Callable[[T], dict[str, Any]]
"""Says what is to be told of the file itself, whatever comes of it."""


def _nothing(_: object) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class _Work(Generic[T]):
    make: Make[T]
    describe: Describe[T]
    read: Read[T]


def watched(
    numbers: Sequence[int], make: Make[T], read: Read[T], limits: Limits, describe: Describe[T] = _nothing
) -> Iterator[Report]:
    """Yield a report per number, in order; raises RuntimeError where a file could not be made."""
    pending, work = list(numbers), _Work(make=make, describe=describe, read=read)
    while pending:
        reports, failure = _one_reader(pending, work, limits)
        yield from reports
        done = len(reports)
        if failure is not None:
            yield _alone(pending[done], work, limits, failure, pending[:done])
            done += 1
        pending = pending[done:]


def _alone(number: int, work: _Work[T], limits: Limits, failure: Report, before: Sequence[int]) -> Report:
    """Read a file again that a reader failed of, which may be the fault of one that it read before."""
    reports, again = _one_reader([number], work, limits)
    if again is not None:
        return again
    report = reports[0]
    if failure.outcome == "crash":  # memory that another file has damaged
        report.troubles.append(f"{failure.troubles[0]}, but not when read alone; read before: {before[-20:]}")
        report.outcome = "crash"
    return report


def _one_reader(numbers: Sequence[int], work: _Work[T], limits: Limits) -> tuple[list[Report], Report | None]:
    """Let one reader read ``numbers``; return its reports, and one more where it crashed or was killed."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        _reader(numbers, work, send)
    os.close(send)
    found: list[Report] = []
    current, began, base, peak, rest = -1, time.monotonic(), 0, 0, b""
    about: dict[str, Any] = {}
    failure: Report | None = None
    try:
        while failure is None:
            ready = bool(select.select([receive], [], [], _LOOKS)[0])
            if ready:
                piece = os.read(receive, 2**20)
                if not piece:
                    break
                rest += piece
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    said = json.loads(line)
                    if "begins" in said:
                        current, began, base, peak = said["begins"], time.monotonic(), said["resident"], 0
                        about = said["about"]
                    else:
                        current, began = -1, time.monotonic()
                        found.append(Report(**said))
            elif current >= 0:
                peak = max(peak, _resident(child) - base)
                seconds = time.monotonic() - began
                if seconds > limits.seconds:
                    failure = Report(
                        number=current,
                        outcome="hang",
                        troubles=[f"still at work after {seconds:.0f} s"],
                        seconds=seconds,
                        memory=peak,
                        about=about,
                    )
                elif peak > limits.memory:
                    failure = Report(
                        number=current,
                        outcome="memory",
                        troubles=[f"{peak // MEBIBYTE} MiB and more"],
                        seconds=seconds,
                        memory=peak,
                        about=about,
                    )
            elif time.monotonic() - began > _PATIENCE:
                os.kill(child, signal.SIGKILL)
                raise RuntimeError(f"input {numbers[len(found)]} was not made within {_PATIENCE:.0f} s")
        if failure is not None:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(receive)
        _, status = os.waitpid(child, 0)
    if failure is None and len(found) < len(numbers):
        code = os.waitstatus_to_exitcode(status)
        text = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if current < 0:
            raise RuntimeError(f"input {numbers[len(found)]} could not be made: {text}")
        failure = Report(
            number=current, outcome="crash", troubles=[text], seconds=time.monotonic() - began, memory=peak, about=about
        )
    for report in found:
        if report.memory > limits.memory:
            report.outcome, report.troubles = "memory", [*report.troubles, f"{report.memory // MEBIBYTE} MiB"]
        if report.seconds > limits.seconds:
            report.outcome, report.troubles = "hang", [*report.troubles, f"{report.seconds:.1f} s"]
    return found, failure


def _reader(numbers: Sequence[int], work: _Work[T], send: int) -> None:
    """Read every file and report; never returns."""
    code = 1
    try:
        for number in numbers:
            item = work.make(number)
            about = work.describe(item)
            before = _resident(os.getpid())
            _forget_peak()
            _write_all(send, json.dumps({"begins": number, "resident": before, "about": about}).encode() + b"\n")
            began = time.monotonic()
            found = work.read(item)
            report = {
                "number": number,
                "outcome": found.pop("outcome"),
                "troubles": found.pop("troubles"),
                "seconds": time.monotonic() - began,
                "memory": max(0, _peak() - before),
                "about": {**about, **found},
            }
            _write_all(send, json.dumps(report).encode() + b"\n")
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _resident(process: int) -> int:
    """Return bytes of resident memory, 0 where the process is gone."""
    try:
        return int(Path(f"/proc/{process}/statm").read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _forget_peak() -> None:
    """Let the kernel begin anew with the largest resident memory of this process."""
    Path("/proc/self/clear_refs").write_bytes(b"5")


def _peak() -> int:
    """Return the largest resident memory in bytes since ``_forget_peak``."""
    for line in Path("/proc/self/status").read_bytes().splitlines():
        if line.startswith(b"VmHWM"):
            return int(line.split()[1]) * 1024
    return 0
