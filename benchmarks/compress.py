"""Dense teachers of five environments, and the smallest certified networks that ``prunekit compress`` finds of them.

    python benchmarks/compress.py train        # the teachers; resumable, one process a core
    python benchmarks/compress.py compress     # three seeds each, one after the other: a compression uses every core
    python benchmarks/compress.py collect      # benchmarks/results/compress.json

Teachers that are shipped in ``models`` are not trained again, compressions in the committed result not repeated;
``runs/teachers`` and ``runs/compress`` keep what is done. Run it from the project's root.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from record import read_result, write_result

TEACHERS, RUNS, SHIPPED = Path("runs/teachers"), Path("runs/compress"), Path("models")
ENVIRONMENTS = ("CartPole-v1", "LunarLander-v3", "Hopper-v5", "Walker2d-v5", "HalfCheetah-v5")
SEEDS = (0, 1, 2)
KEEP, MINUTES = 0.95, 5


def teacher_of(env_id: str) -> Path:
    """Return where a teacher lies: the shipped one, or where there is none where it is trained."""
    shipped = SHIPPED / f"{env_id}-ppo" / "dense.pt"
    return shipped if shipped.exists() else TEACHERS / env_id / "model.pt"


def train_one(env_id: str) -> None:
    """Train one dense teacher with the preset of PPO unless it is there."""
    out = TEACHERS / env_id
    if teacher_of(env_id).exists():
        return
    TEACHERS.mkdir(parents=True, exist_ok=True)
    begun = ["--resume"] if (out / "config.json").exists() else ["--env", env_id, "--algo", "ppo", "--dense"]
    with (TEACHERS / f"{env_id}.log").open("a") as log:
        command = [sys.executable, "-m", "prunekit", "train", *begun, "--out", str(out)]
        subprocess.run(command, check=True, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    print(time.strftime("%H:%M:%S"), env_id, flush=True)


def finished(env_id: str, seed: int) -> dict[str, Any] | None:
    """Return what a compression came to, here or in the committed result."""
    file = folder(env_id, seed) / "certificate.json"
    if file.exists():
        return _entry(env_id, seed, json.loads(file.read_text()))
    committed = (read_result("compress") or {"runs": []})["runs"]
    return next((dict(run) for run in committed if (run["env"], run["seed"]) == (env_id, seed)), None)


def folder(env_id: str, seed: int) -> Path:
    """Return where a compression is kept."""
    return RUNS / f"{env_id}-seed{seed}"


def compress_one(env_id: str, seed: int) -> None:
    """Compress one teacher unless that is done; exit code 1, nothing certified, is a result too."""
    if finished(env_id, seed) is not None:
        return
    out = folder(env_id, seed)
    out.mkdir(parents=True, exist_ok=True)
    options = ["--keep", str(KEEP), "--seed", str(seed), "--minutes", str(MINUTES), "--out", str(out)]
    command = [sys.executable, "-m", "prunekit", "compress", str(teacher_of(env_id)), *options]
    with (out / "log").open("w") as log:
        done = subprocess.run(command, check=False, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode not in (0, 1):
        raise SystemExit(f"{env_id}, seed {seed}: {(out / 'log').read_text()}")
    print(time.strftime("%H:%M:%S"), _summary(out / "log", env_id), flush=True)


def _entry(env_id: str, seed: int, found: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a certificate.json: all but what the head of the result says, or ``tested`` holds too."""
    kept = {name: value for name, value in found.items() if name not in ("versions", "certificate")}
    tested = [{name: value for name, value in entry.items() if name != "selection"} for entry in kept["tested"]]
    return {**kept, "env": env_id, "seed": seed, "minutes": MINUTES, "tested": tested}


def _summary(log: Path, env_id: str) -> str:
    return next((line for line in log.read_text().splitlines() if "retention" in line and "fresh" in line), env_id)


def collect() -> None:
    """Write the committed result from what is done; says what is missing."""
    wanted = [(env_id, seed) for env_id in ENVIRONMENTS for seed in SEEDS]
    found = {asked: finished(*asked) for asked in wanted}
    missing = [folder(*asked).name for asked, run in found.items() if run is None]
    runs = [run for run in found.values() if run]
    command = "; ".join(f"python benchmarks/compress.py {stage}" for stage in ("train", "compress", "collect"))
    entries = {"keep": KEEP, "cores": os.cpu_count(), "missing": missing, "runs": runs}
    print(write_result("compress", command, entries), f"{len(missing)} runs missing")


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["train", "compress", "collect"])
    parser.add_argument("--env", choices=ENVIRONMENTS, action="append", help="only this one")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="teachers at a time")
    arguments = parser.parse_args()
    chosen = arguments.env or ENVIRONMENTS
    if arguments.stage == "train":
        with ThreadPoolExecutor(arguments.workers) as pool:
            list(pool.map(train_one, chosen))
    elif arguments.stage == "compress":
        for seed in SEEDS:
            for env_id in chosen:
                compress_one(env_id, seed)
    else:
        collect()


if __name__ == "__main__":
    main()
