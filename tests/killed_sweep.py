"""A sweep of the command line that is killed again and again, and what must be the same in the end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def command(file: Path, out: Path | str, *more: str) -> list[str]:
    return [sys.executable, "-m", "prunekit", "sweep", str(file), "--out", str(out), *more]


def run_killed(file: Path, out: Path, kills: int, generator: random.Random, longest: float) -> list[float]:
    """Run a sweep to its end, killed ``kills`` times before; return how long each process lived, in seconds."""
    lived: list[float] = []
    while len(lived) < kills:
        begun = time.monotonic()
        process = subprocess.Popen(command(file, out, "-q"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            process.wait(generator.uniform(0.5, longest))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), errors.decode()
        if process.returncode == 0:
            break
        lived.append(time.monotonic() - begun)
    done = subprocess.run(command(file, out, "-q"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return lived


def timeless(value: Any) -> Any:
    """Return results without how long things took."""
    if isinstance(value, dict):
        return {key: timeless(entry) for key, entry in value.items() if key != "seconds"}
    return [timeless(entry) for entry in value] if isinstance(value, list) else value


def results_of(out: Path) -> Any:
    return timeless(json.loads((out / "results.json").read_text()))


def left_behind(out: Path) -> list[str]:
    """Return files of a finished sweep that a killed process has left half written."""
    return sorted(str(path.relative_to(out)) for path in out.rglob(".*") if path.name != ".lock" and path.is_file())


def children_named(word: str) -> list[int]:
    """Return the processes whose command line holds ``word``, other than this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if word in text:
                found.append(int(entry.name))
    return found
