"""Driving: teachers that PPO trains on EnvPool's environments, compressed, certified on highway-env's own, on boards.

    python benchmarks/driving.py train      # two minutes of CPU a teacher
    python benchmarks/driving.py compress   # with --fast (learning in EnvPool) and without
    python benchmarks/driving.py drive      # what all earn on highway-env, and how often they crash
    python benchmarks/driving.py board      # C on a Cortex-M0 and an Uno, the processor in the loop
    python benchmarks/driving.py collect    # benchmarks/results/driving.json

It needs ``pip install 'prunekit[fast]' highway-env``. What is done is done (``runs/driving``), and may be run again.
Compressions have a budget of steps, so that they come to the same on any machine: without EnvPool so many as five
minutes of two idle cores play. Seconds are of CPU, all processes together. Run it from the project's root.
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
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import numpy as np
from record import read_result, write_result

from prunekit.benching.compare import run_bench
from prunekit.benching.settings import BenchSettings
from prunekit.compression.playing import playing_teacher
from prunekit.compression.read import read_teacher
from prunekit.devices import devices_named
from prunekit.environments import make_environment, spaces_of
from prunekit.files import write_atomically
from prunekit.readers.policy_file import PolicyOptions
from prunekit.rollouts import BatchPolicy
from prunekit.stats.frequency import share_upper_bound

RUNS = Path("runs/driving")
STAGES = ("train", "compress", "drive", "board", "collect")


@final
@dataclass(frozen=True, kw_only=True)
class Task:
    """What is driven: the ``environment`` as ``driving_environments`` makes it, and how PPO trains there."""

    environment: str
    steps: int
    gamma: float

    @property
    def env_id(self) -> str:
        """What ``--env`` is told."""
        return f"driving_environments:{self.environment}"


TASKS = {"highway-fast-v0": Task(environment="highway_fast", steps=200_000, gamma=0.9)}
SEEDS = (0, 1, 2)
# The compression's budget in steps, with and without EnvPool.
BUDGETS = {"fast": 300_000, "own": 30_000}
KEEP = 0.95
FIRST_SEED, EPISODES, PART = 500_000, 200, 25
# Always braking is the control that a teacher has to beat.
POLICIES = ("random", "always slower", "teacher", *BUDGETS)
SLOWER = 4
BOARDS, LOOP_EPISODES = ("cpu-c", "cortex-m0", "avr-uno"), 10
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join((".", "benchmarks"))}


def folder(name: str, seed: int) -> Path:
    """Return where all of a teacher is kept."""
    return RUNS / f"{name}-{seed}"


def train_one(name: str, seed: int) -> dict[str, Any]:
    """Train a teacher by PPO of Stable-Baselines3, 256x256, in 32 environments of EnvPool."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecMonitor

    from prunekit.adapters.envpool import EnvPoolRunner
    from prunekit.adapters.envpool_learning import EnvPoolVecEnv

    torch.set_num_threads(1)
    task, began = TASKS[name], time.process_time()
    runner = EnvPoolRunner(task.env_id, max_copies=32)
    inside = runner.environment
    learner = EnvPoolVecEnv(
        runner.pool, 32, inside.observation_space, inside.action_space, lambda seen: seen, lambda action: action
    )
    learner.seed(1_000 * seed)
    model = PPO(
        "MlpPolicy",
        VecMonitor(learner),
        n_steps=64,
        batch_size=256,
        learning_rate=lambda left: 5e-4 * left,
        gamma=task.gamma,
        policy_kwargs={"net_arch": [256, 256]},
        seed=seed,
        device="cpu",
    )
    model.learn(task.steps)
    path = folder(name, seed) / "teacher.zip"
    model.save(path)
    last = [episode["r"] for episode in model.ep_info_buffer or []]
    learner.close()
    return {"steps": task.steps, "cpu_seconds": round(time.process_time() - began, 1), "last": float(np.mean(last))}


def compress_one(name: str, seed: int, way: str) -> dict[str, Any]:
    """Compress a teacher; exit code 1, nothing certified, is a result too."""
    out = folder(name, seed) / way
    out.mkdir(parents=True, exist_ok=True)
    options = ["--env", TASKS[name].env_id, "--keep", str(KEEP), "--steps", str(BUDGETS[way]), "--no-normalizer"]
    options += [*(["--fast"] if way == "fast" else []), "--engine", "serial", "--out", str(out)]
    command = [sys.executable, "-m", "prunekit", "compress", str(folder(name, seed) / "teacher.zip"), *options]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (out / "log").open("w") as log:
        done = subprocess.run(command, check=False, stdout=log, stderr=log, env=ENVIRONMENT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{name}, seed {seed}: {(out / 'log').read_text()}")
    print((out / "log").read_text().splitlines()[0], flush=True)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"budget": BUDGETS[way], "cpu_seconds": round(cpu, 1), "certified": done.returncode == 0}


def policy_of(name: str, seed: int, policy: str) -> Path:
    """Return the file of the teacher, or of what a compression made of it."""
    return folder(name, seed) / ("teacher.zip" if policy == "teacher" else f"{policy}/policy.pt")


def drive_one(name: str, seed: int, policy: str, seeds: range) -> dict[str, Any]:
    """Play episodes of highway-env's own environment: returns, steps, and which of them ended in a crash."""
    environment = make_environment(TASKS[name].env_id)
    spaces = spaces_of(environment)
    plays = None
    if policy == "always slower":
        plays = BatchPolicy(actions=lambda rows: [np.int64(SLOWER)] * len(rows))
    elif policy != "random":
        options = PolicyOptions(without_normalizer=True) if policy == "teacher" else None
        plays = playing_teacher(read_teacher(policy_of(name, seed, policy), spaces, options))
    found: dict[str, Any] = {"returns": [], "steps": [], "crashed": []}
    began = time.process_time()
    for one in seeds:
        environment.action_space.seed(one)
        observation, told = environment.reset(seed=one)
        total, steps, over = 0.0, 0, False
        while not over:
            row = np.asarray(observation, np.float32)[None]
            action = environment.action_space.sample() if plays is None else plays.actions(row)[0]
            observation, reward, terminated, truncated, told = environment.step(action)
            total, steps, over = total + float(reward), steps + 1, terminated or truncated
        found["returns"].append(total)
        found["steps"].append(steps)
        found["crashed"].append(bool(told["crashed"]))
    environment.close()
    return {**found, "cpu_seconds": round(time.process_time() - began, 1)}


def board_one(name: str, seed: int) -> dict[str, Any]:
    """Measure teacher and compact policy as C, and let emulated processors drive."""
    paths = [policy_of(name, seed, policy) for policy in ("teacher", "fast")]
    settings = BenchSettings(episodes=LOOP_EPISODES, loop_episodes=LOOP_EPISODES, first_seed=FIRST_SEED)
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


def drives(name: str, seed: int, policy: str) -> list[Path]:
    """Return where the parts of what a policy earned are kept."""
    word, firsts = policy.replace(" ", "-"), range(FIRST_SEED, FIRST_SEED + EPISODES, PART)
    return [folder(name, seed) / f"drive-{word}-{first}.json" for first in firsts]


def run(stage: str, seeds: list[int], ways: list[str]) -> None:
    """Do what is not done yet of a stage."""
    for name in TASKS:
        for seed in seeds:
            place = folder(name, seed)
            if stage == "train":
                _kept(place / "train.json", partial(train_one, name, seed))
            elif stage == "compress":
                for way in ways:
                    _kept(place / f"{way}.json", partial(compress_one, name, seed, way))
            elif stage == "board":
                _kept(place / "board.json", partial(board_one, name, seed))
            else:
                for part in range(EPISODES // PART):
                    first = FIRST_SEED + part * PART
                    for policy in POLICIES:
                        if policy in BUDGETS and not policy_of(name, seed, policy).exists():
                            continue  # not compressed yet
                        path = drives(name, seed, policy)[part]
                        _kept(path, partial(drive_one, name, seed, policy, range(first, first + PART)))


def driven(name: str, seed: int, policy: str) -> dict[str, Any] | None:
    """Return returns and crashes of the parts that were played, with the bound of the crash rate."""
    parts = [json.loads(path.read_text()) for path in drives(name, seed, policy) if path.exists()]
    if not parts:
        return None
    returns, crashed = ([value for part in parts for value in part[key]] for key in ("returns", "crashed"))
    return {
        "episodes": len(returns),
        "mean": float(np.mean(returns)),
        "crashes": sum(crashed),
        "crash_rate_upper_bound": share_upper_bound(crashed),
        "steps": sum(sum(part["steps"]) for part in parts),
        "cpu_seconds": sum(part["cpu_seconds"] for part in parts),
        "returns": [round(value, 4) for value in returns],
        "crashed": [index for index, value in enumerate(crashed) if value],
    }


def compression(name: str, seed: int, way: str) -> dict[str, Any] | None:
    """Return what a compression came to; None where it was not run."""
    told = folder(name, seed) / f"{way}.json"
    if not told.exists():
        return None
    found = json.loads((told.with_suffix("") / "certificate.json").read_text())
    names = ("certified", "hidden", "parameters", "tuned", "learned_in", "environment_steps", "teacher")
    certificate = {key: value for key, value in found["certificate"].items() if key not in ("selection", "seeds")}
    return {**json.loads(told.read_text()), **{key: found[key] for key in names}, "certificate": certificate}


def result_of(name: str, seed: int) -> dict[str, Any] | None:
    """Return all that is known of a teacher, here or in the committed result."""
    place = folder(name, seed)
    if not (place / "train.json").exists():
        runs = (read_result("driving") or {"runs": []})["runs"]
        return next((dict(entry) for entry in runs if (entry["env"], entry["seed"]) == (name, seed)), None)
    board = place / "board.json"
    return {
        "env": name,
        "seed": seed,
        "training": json.loads((place / "train.json").read_text()),
        "compressed": {way: compression(name, seed, way) for way in BUDGETS},
        "driven": {policy: driven(name, seed, policy) for policy in POLICIES},
        "board": json.loads(board.read_text()) if board.exists() else None,
    }


def collect() -> None:
    """Write the committed result from what is done; says what is missing."""
    found = {(name, seed): result_of(name, seed) for name in TASKS for seed in SEEDS}
    entries = {
        "keep": KEEP,
        "first_seed": FIRST_SEED,
        "packages": {name: version(name) for name in ("envpool", "highway-env")},
        "missing": [f"{name}, seed {seed}" for (name, seed), entry in found.items() if entry is None],
        "runs": [entry for entry in found.values() if entry],
    }
    command = "; ".join(f"python benchmarks/driving.py {stage}" for stage in STAGES)
    print(write_result("driving", command, entries), f"missing: {entries['missing']}")


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--seed", type=int, action="append", help="only this teacher")
    parser.add_argument("--way", choices=BUDGETS, action="append", help="compress: only so")
    arguments = parser.parse_args()
    if arguments.stage == "collect":
        collect()
    else:
        run(arguments.stage, arguments.seed or list(SEEDS), arguments.way or list(BUDGETS))


if __name__ == "__main__":
    main()
