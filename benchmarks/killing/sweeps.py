"""A sweep of the command line that is killed again and again, and what must be the same in the end."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

METHODS = """
[environments."CartPole-v1".kwargs]
max_episode_steps = 10
[environments."CartPole-v1".presets.ppo]
hidden = [32, 32]
[environments."CartPole-v1".presets.ppo.model]
n_steps = 32
batch_size = 64

[methods.unpruned]
unpruned = true
[methods."masked 0.9"]
sparsity = 0.9
[methods."masked 0.9".plan]
states = 64
[methods."from scratch"]
widths_of = "masked 0.9"
[methods.linear]
hidden = []
"""
"""Four methods of small networks that are trained in seconds, with short episodes, so that checkpoints are frequent."""

SMALL = f"""
title = "Small"
episodes = 5
{METHODS}
[[grid]]
environments = ["CartPole-v1"]
algorithms = ["ppo"]
methods = ["unpruned", "masked 0.9", "from scratch", "linear"]
seeds = [0, 1]
steps = [24576]
"""
"""Eight cells of some seconds each."""


def command(file: Path, out: Path | str, *more: str) -> list[str]:
    """Return the command line of a sweep."""
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
        if process.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError(errors.decode())
        if process.returncode == 0:
            break
        lived.append(time.monotonic() - begun)
    done = subprocess.run(command(file, out, "-q"), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return lived


def timeless(value: Any) -> Any:
    """Return results without how long things took."""
    if isinstance(value, dict):
        return {key: timeless(entry) for key, entry in value.items() if key != "seconds"}
    return [timeless(entry) for entry in value] if isinstance(value, list) else value


def results_of(out: Path) -> Any:
    """Return the results of a finished sweep without how long things took."""
    return timeless(json.loads((out / "results.json").read_text()))


def left_behind(out: Path) -> list[str]:
    """Return files of a finished sweep that a killed process has left half written."""
    return sorted(str(path.relative_to(out)) for path in out.rglob(".*") if path.name != ".lock" and path.is_file())
