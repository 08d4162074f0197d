"""Processes that run a command of prunekit, forked from this one so that they need not import anything first.

A forked process has its own session, streams, working directory and default signal handlers, and enters
``prunekit.cli.main`` with its own arguments. What it does not show is a signal while Python and torch are imported.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import matplotlib.figure  # noqa: F401
import pydantic  # noqa: F401
import torch._dynamo  # noqa: F401

import prunekit.cli
import prunekit.cli.app

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_OF_GROUPS = (signal.SIGINT, signal.SIGHUP)
"""Signals that a terminal sends to all processes of a command."""
ORPHANS = 10.0
"""Seconds after which no process of a command may be left: one that is about to begin first imports torch."""
_POLL = 0.0005
_LIMIT = 120.0


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended: its exit code, negative for a signal; what it printed; processes that outlived it."""

    code: int
    said: str
    hit: bool
    orphans: list[str]

    def troubles(self, sent: int | None) -> list[str]:
        """Return what is wrong with an end after the signal ``sent``, None for no signal."""
        found = [f"orphan: {text}" for text in self.orphans]
        if "Traceback" in self.said or "internal error" in self.said:
            found.append(f"printed: {self.said[-600:]}")
        allowed = {0} if sent is None or not self.hit else {0, -sent, 128 + sent}
        if self.code not in allowed:
            found.append(f"exit code {self.code}: {self.said[-300:]}")
        return found


def run(arguments: Sequence[object], folder: Path) -> Ended:
    """Run a command that nothing disturbs."""
    return killed(arguments, folder, None, lambda _: False)


def killed(
    arguments: Sequence[object],
    folder: Path,
    sent: int | None,
    now: Callable[[float], bool],
    patience: float = _LIMIT,
    orphans_after: float = ORPHANS,
) -> Ended:
    """Run a command in ``folder`` and send it the signal ``sent`` as soon as ``now`` of its seconds so far is true.

    Processes of it that are left ``orphans_after`` seconds after its end are orphans.
    """
    process, text = _begin(arguments, folder)
    began, hit, code = time.monotonic(), False, None
    while code is None:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            break
        seconds = time.monotonic() - began
        if not hit and sent is not None and now(seconds):
            hit = True
            (os.killpg if sent in _OF_GROUPS else os.kill)(process, sent)
            began = time.monotonic()
        elif seconds > patience:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return Ended(code=-99, said=f"still there after {seconds:.0f} s", hit=hit, orphans=_left(process))
        time.sleep(_POLL)
    return Ended(code=code, said=text.read_text(errors="replace"), hit=hit, orphans=_orphans(process, orphans_after))


def after(seconds: float) -> Callable[[float], bool]:
    """Return the moment ``seconds`` after the beginning."""
    return lambda since: since >= seconds


def on_sight(folder: Path, pattern: str, later: float = 0.0) -> Callable[[float], bool]:
    """Return the moment ``later`` than a new path that matches ``pattern`` is seen in ``folder``."""
    before = set(folder.glob(pattern))
    seen: list[float] = []

    def now(_: float) -> bool:
        if not seen and any(path not in before for path in folder.glob(pattern)):
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() >= seen[0] + later

    return now


def on_change(path: Path, later: float) -> Callable[[float], bool]:
    """Return the moment ``later`` than ``path`` is seen to be written."""
    before = changed(path)
    seen: list[float] = []

    def now(_: float) -> bool:
        if not seen and changed(path) != before:
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() >= seen[0] + later

    return now


def changed(path: Path) -> int:
    """Return when ``path`` was written, 0 where it is not there."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def signal_of(number: int) -> int:
    """Return the signal of kill ``number``: all four in turn."""
    return int(SIGNALS[number % len(SIGNALS)])


def _begin(arguments: Sequence[object], folder: Path) -> tuple[int, Path]:
    """Fork, and return the process, which is about to enter the command, and the file that it prints into."""
    text = folder / "said.txt"
    text.unlink(missing_ok=True)
    ready, ours = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(ready)
        _command([str(argument) for argument in arguments], folder, text, ours)
    os.close(ours)
    os.read(ready, 1)
    os.close(ready)
    return process, text


def _command(arguments: list[str], folder: Path, text: Path, ready: int) -> NoReturn:
    code = 1
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        stream = os.open(text, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.chdir(folder)
        sys.argv = ["prunekit", *arguments]
        sys.modules["__main__"] = types.ModuleType("__main__")  # worker processes would import this program too
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(ready, b"x")
        os.close(ready)
        prunekit.cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        _end_as_python_does()
        os._exit(code)


def _end_as_python_does() -> None:
    """Wait for threads and run what is registered for the end, which ``os._exit`` leaves out."""
    hidden: Any = threading
    hidden._shutdown()
    registered: Any = atexit
    registered._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _orphans(session: int, patience: float) -> list[str]:
    """Return the processes of a session that are left after ``patience`` seconds, which are killed then."""
    deadline = time.monotonic() + patience
    while _left(session) and time.monotonic() < deadline:
        time.sleep(0.01)
    return _left(session, kill=True)


def _left(session: int, *, kill: bool = False) -> list[str]:
    """Return what processes of a session are running."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120])
                if kill:
                    os.kill(int(folder.name), signal.SIGKILL)
        except (OSError, IndexError, ValueError):  # it ended meanwhile
            continue
    return found
