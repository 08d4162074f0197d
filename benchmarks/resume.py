"""Law 5 on real runs: killed at random moments and inside writes of checkpoints, resumed, compared bit for bit.

    python benchmarks/resume.py               # benchmarks/results/resume.json
    python benchmarks/resume.py --kills 3     # a quick look; writes nothing

A run is killed with SIGKILL again and again, by wall clock or, for those inside a write, as soon as the temporary file
of a checkpoint is seen with a part of its content. Its final ``model.pt`` and ``agent.zip`` must then hold the numbers
of a run that was never killed.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from record import write_result

from prunekit.policy.artifact import load
from prunekit.pruning.plan import PruningPlan
from prunekit.training.checkpoint import checkpoints_in, read_checkpoint
from prunekit.training.presets import preset_for
from prunekit.training.request import TrainingRequest
from prunekit.training.run import train

SEED = 0
KILLS = 20


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run: environment, algorithm, steps, settings that differ from the preset's, and its share of the kills."""

    env_id: str
    algorithm: str
    steps: int
    settings: dict[str, Any]
    kills: int
    inside: int

    @property
    def request(self) -> TrainingRequest:
        """The request, with the preset's networks."""
        preset = preset_for(self.env_id, self.algorithm)
        preset = replace(preset, model={**preset.model, **self.settings})
        return TrainingRequest(
            env_id=self.env_id, algorithm=self.algorithm, preset=preset, seed=SEED, steps=self.steps, plan=PruningPlan()
        )


CASES = {
    "dqn": Case(env_id="CartPole-v1", algorithm="dqn", steps=20_000, settings={}, kills=7, inside=2),
    "ppo": Case(env_id="Hopper-v5", algorithm="ppo", steps=40_000, settings={}, kills=7, inside=2),
    "sac": Case(env_id="Hopper-v5", algorithm="sac", steps=4_000, settings={"learning_starts": 500}, kills=6, inside=2),
}


def begin(name: str, folder: Path) -> subprocess.Popen[bytes]:
    """Begin a run, or go on with it, in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--out", str(folder)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def ended(run: subprocess.Popen[bytes]) -> bool:
    """Whether the process is gone; RuntimeError where it failed."""
    if run.poll() not in (None, 0):
        raise RuntimeError(f"a run failed with exit code {run.returncode}")
    return run.poll() is not None


def kill_at_random(run: subprocess.Popen[bytes], seconds: float) -> bool:
    """Kill ``run`` after ``seconds``; whether it was still going."""
    deadline = time.monotonic() + seconds
    while not ended(run) and time.monotonic() < deadline:
        time.sleep(0.001)
    run.kill()
    return run.wait() != 0


def kill_inside_write(run: subprocess.Popen[bytes], folder: Path) -> bool:
    """Kill ``run`` as soon as a part of a checkpoint is seen; whether that left one that was not renamed yet."""
    old = set(half_written(folder))
    while not ended(run):
        if any(path not in old and size_of(path) > 0 for path in half_written(folder)):
            run.kill()
            break
    run.wait()
    return any(path not in old for path in half_written(folder))


def half_written(folder: Path) -> Iterator[Path]:
    """Yield the temporary files of checkpoints."""
    yield from (folder / "checkpoint").glob(".[0-9]*.pt.*")


def size_of(path: Path) -> int:
    """Return a file's size, 0 where it is gone by now."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def step_of(folder: Path) -> int:
    """Return the step of the last row of ``metrics.csv``, 0 where there is none."""
    path = folder / "metrics.csv"
    rows = list(csv.reader(io.StringIO(path.read_text()))) if path.is_file() else []
    return int(rows[-1][0]) if len(rows) > 1 else 0


def numbers_of(folder: Path) -> dict[str, bytes]:
    """Return the bits of every tensor in ``model.pt`` and ``agent.zip``, by name."""
    artifact = load(folder / "model.pt")
    found = {f"model.{name}": value for name, value in artifact.actor.state_dict().items()}
    found |= {f"mask.{name}": keep for name, keep in artifact.masks.items()}
    with zipfile.ZipFile(folder / "agent.zip") as archive:
        for name in archive.namelist():
            if name.endswith(".pth"):
                found |= tensors_in(name, torch.load(io.BytesIO(archive.read(name)), weights_only=True))
    return {name: value.detach().numpy().tobytes() for name, value in found.items()}


def tensors_in(name: str, value: Any) -> dict[str, torch.Tensor]:
    """Return the tensors in nested dicts and lists, by dotted name."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path: leaf for key, entry in entries for path, leaf in tensors_in(f"{name}.{key}", entry).items()}


def measure(name: str, kills: int, inside: int, folder: Path, generator: random.Random) -> dict[str, Any]:
    """Kill one run ``kills`` times, ``inside`` of them inside a write, let it end, and compare.

    Every process in turn trains for a random share of what an equal part of the run takes. Where one ended before it
    could be killed, the run begins anew and is one more to compare.
    """
    started = time.monotonic()
    if begin(name, folder / "whole").wait() != 0:
        raise RuntimeError("the run that is never killed failed")
    seconds = time.monotonic() - started
    expected = numbers_of(folder / "whole")
    plans = ["inside a write"] * inside + ["random"] * (kills - inside)
    generator.shuffle(plans)
    moments: list[dict[str, Any]] = []
    equal: list[bool] = []
    killed = folder / f"killed-{len(equal)}"
    while plans:
        run = begin(name, killed)
        if plans[-1] == "random":
            hit = kill_at_random(run, generator.uniform(0.0, 2.0 * (4.0 + seconds / kills)))
        else:
            hit = kill_inside_write(run, killed)
        if hit or run.returncode != 0:
            moments.append({"step": step_of(killed), "moment": plans.pop() if hit else "just after a write"})
            for path in checkpoints_in(killed):
                read_checkpoint(path)
        else:
            equal.append(numbers_of(killed) == expected)
            killed = folder / f"killed-{len(equal)}"
        print(name, moments[-1:], f"{len(plans)} kills left", flush=True)
    if begin(name, killed).wait() != 0:
        raise RuntimeError("the run did not go on after its last kill")
    equal.append(numbers_of(killed) == expected)
    return {
        "env": CASES[name].env_id,
        "algorithm": CASES[name].algorithm,
        "steps": CASES[name].steps,
        "settings": CASES[name].settings,
        "seconds_never_killed": round(seconds, 1),
        "kills": moments,
        "inside_writes": sum(entry["moment"] == "inside a write" for entry in moments),
        "tensors_compared": len(expected),
        "runs_compared": len(equal),
        "all_equal": all(equal),
    }


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=KILLS, help="of all runs together; other than 20 writes nothing")
    parser.add_argument("--one", choices=list(CASES), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        begun = (arguments.out / "config.json").is_file()
        if not begun:  # killed before it had written anything
            shutil.rmtree(arguments.out, ignore_errors=True)
        train(CASES[arguments.one].request, arguments.out, resume=begun)
        return
    seed = random.SystemRandom().randrange(2**32)
    generator = random.Random(seed)
    runs = []
    for name, case in CASES.items():
        few = arguments.kills != KILLS
        kills, inside = (max(1, arguments.kills // len(CASES)), 1) if few else (case.kills, case.inside)
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure(name, kills, inside, Path(folder), generator))
    total = sum(len(run["kills"]) for run in runs)
    print(f"{total} kills, all equal: {all(run['all_equal'] for run in runs)}")
    if arguments.kills == KILLS:
        facts = {"training_seed": SEED, "moments_seed": seed, "kills": total, "runs": runs}
        print(write_result("resume", "python benchmarks/resume.py", facts))
    if not all(run["all_equal"] for run in runs):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
