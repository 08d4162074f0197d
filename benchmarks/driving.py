"""Driving: teachers trained on EnvPool's environments, compressed, certified on highway-env's own, on boards.

    python benchmarks/driving.py train      # one to five minutes of CPU a teacher
    python benchmarks/driving.py compress   # learning in EnvPool where it has a twin
    python benchmarks/driving.py drive      # what all earn on highway-env, and how often they crash
    python benchmarks/driving.py board      # C on a Cortex-M0 and an Uno, the processor in the loop
    python benchmarks/driving.py collect    # benchmarks/results/driving.json

It needs ``pip install 'prunekit[fast]' highway-env``. What is done is done (``runs/driving``), and may be run again; a
compression of another search than the present code's, or of another budget, is put aside with all of its policy and
made again. All compressions have a budget of steps, so that they come to the same on any machine, and none is
fine-tuned on rewards (``--no-tuning``): its steps would be those of the certificate. Seconds are of CPU, all processes
together. Run it from the project's root.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from compressing.runs import ROOT, put_aside, search_in
from driving_collecting import collect
from driving_tasks import EPISODES, FIRST_SEED, KEEP, PART, TASKS, compact, drives, folder
from driving_training import train_one

from prunekit.benching.compare import run_bench
from prunekit.benching.settings import BenchSettings
from prunekit.compression.playing import playing_teacher
from prunekit.compression.read import read_teacher
from prunekit.devices import devices_named
from prunekit.environments import make_environment, spaces_of
from prunekit.files import write_atomically
from prunekit.readers.policy_file import PolicyOptions
from prunekit.rollouts import BatchPolicy

STAGES = ("train", "compress", "drive", "board", "collect")
BOARDS = ("cpu-c", "cortex-m0", "avr-uno")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join((".", "benchmarks"))}


def compress_one(name: str, seed: int) -> dict[str, Any]:
    """Compress a teacher; exit code 1, nothing certified, is a result too."""
    out = compact(name, seed)
    out.mkdir(parents=True, exist_ok=True)
    search = search_in(ROOT)
    options = ["--env", TASKS[name].env_id, "--keep", str(KEEP), "--steps", str(TASKS[name].budget), "--no-tuning"]
    options += [*(["--fast"] if TASKS[name].is_twin else []), "--no-normalizer", "--engine", "serial"]
    command = [sys.executable, "-m", "prunekit", "compress", str(folder(name, seed) / "teacher.zip"), *options]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (out / "log").open("w") as log:
        done = subprocess.run([*command, "--out", str(out)], check=False, stdout=log, stderr=log, env=ENVIRONMENT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{name}, seed {seed}: {(out / 'log').read_text()}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"budget": TASKS[name].budget, "fast": TASKS[name].is_twin, "search": asdict(search)}
    return {**found, "cpu_seconds": round(cpu, 1), "certified": done.returncode == 0}


def compress_again(name: str, seed: int) -> None:
    """Compress unless that is done, by the present search with this budget; put aside what was made otherwise."""
    told = compact(name, seed) / "asked.json"
    known = json.loads(told.read_text()) if told.exists() else None
    if known is None or (known["search"]["digest"], known["budget"]) != (
        search_in(ROOT).digest,
        TASKS[name].budget,
    ):
        put_aside(compact(name, seed))
    _kept(told, partial(compress_one, name, seed))


def policy_of(name: str, seed: int, policy: str) -> Path:
    """Return the file of the teacher, or of what a compression made of it."""
    return folder(name, seed) / "teacher.zip" if policy == "teacher" else compact(name, seed) / "policy.pt"


def drive_one(name: str, seed: int, policy: str, seeds: range) -> dict[str, Any]:
    """Play episodes of highway-env's own environment: returns, steps, which ended in a crash, and which as wanted."""
    environment = make_environment(TASKS[name].env_id)
    spaces = spaces_of(environment)
    plays = None
    if policy == "control":
        action = np.asarray(TASKS[name].control, environment.action_space.dtype)
        plays = BatchPolicy(actions=lambda rows: [action] * len(rows))
    elif policy != "random":
        options = PolicyOptions(without_normalizer=True) if policy == "teacher" else None
        plays = playing_teacher(read_teacher(policy_of(name, seed, policy), spaces, options))
    found: dict[str, Any] = {"returns": [], "steps": [], "crashed": [], "succeeded": []}
    began = time.process_time()
    for one in seeds:
        observation, told = environment.reset(seed=one)
        environment.action_space.seed(one)  # highway-env makes another space with every reset
        total, steps, over = 0.0, 0, False
        while not over:
            row = np.asarray(observation, np.float32)[None]
            action = environment.action_space.sample() if plays is None else plays.actions(row)[0]
            observation, reward, terminated, truncated, told = environment.step(action)
            total, steps, over = total + float(reward), steps + 1, terminated or truncated
        found["returns"].append(total)
        found["steps"].append(steps)
        found["crashed"].append(bool(told["crashed"]))
        found["succeeded"].append(bool(told.get("is_success", False)))
    environment.close()
    return {**found, "cpu_seconds": round(time.process_time() - began, 1)}


def board_one(name: str, seed: int) -> dict[str, Any]:
    """Measure teacher and compact policy as C, and let emulated processors drive."""
    paths = [policy_of(name, seed, policy) for policy in ("teacher", "compact")]
    episodes = TASKS[name].loop_episodes
    settings = BenchSettings(episodes=episodes, loop_episodes=episodes, first_seed=FIRST_SEED)
    options = PolicyOptions(without_normalizer=True)
    return run_bench(paths, devices_named(BOARDS), settings, TASKS[name].env_id, print, options).to_json()


def _kept(path: Path, make: Callable[[], Mapping[str, Any]]) -> None:
    """Keep what ``make`` comes to at ``path``, unless there is something."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    write_atomically(path, json.dumps(make()).encode())
    print(time.strftime("%H:%M:%S"), path, f"{time.perf_counter() - began:.0f} s", flush=True)


def drive_all(name: str, seed: int) -> None:
    """Play the episodes of teacher, compact policy and controls that were not played yet, part by part."""
    for part in range(EPISODES // PART):
        seeds = range(FIRST_SEED + part * PART, FIRST_SEED + (part + 1) * PART)
        for policy in ("teacher", "compact", "control", "random"):
            if policy == "compact" and not policy_of(name, seed, policy).exists():
                continue  # not compressed
            _kept(drives(name, seed, policy)[part], partial(drive_one, name, seed, policy, seeds))


def run(stage: str, environments: list[str], seeds: list[int] | None) -> None:
    """Do what is not done yet of a stage."""
    for name in environments:
        task = TASKS[name]
        for seed in task.trained if stage in ("train", "drive") else task.compressed:
            if seeds is not None and seed not in seeds:
                continue
            if stage == "train":
                _kept(folder(name, seed) / "train.json", partial(train_one, name, seed))
            elif stage == "compress":
                compress_again(name, seed)
            elif stage == "board":
                _kept(compact(name, seed) / "board.json", partial(board_one, name, seed))
            else:
                drive_all(name, seed)


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--env", choices=TASKS, action="append", help="only this environment")
    parser.add_argument("--seed", type=int, action="append", help="only this teacher")
    arguments = parser.parse_args()
    if arguments.stage == "collect":
        collect("; ".join(f"python benchmarks/driving.py {stage}" for stage in STAGES))
    else:
        run(arguments.stage, arguments.env or list(TASKS), arguments.seed)


if __name__ == "__main__":
    main()
