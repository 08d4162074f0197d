"""What the defaults of masked training rest on: one factor changed at a time, PPO, beside dense and scratch.

    python benchmarks/ablations.py train      # resumable; one process a core
    python benchmarks/ablations.py collect    # benchmarks/results/ablations.json

Every run ends with 100 deterministic episodes of the exported compact ONNX, on the same seeds for every run.
``runs/ablations`` keeps the runs; one that is in the committed result is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from record import read_result, write_result

from prunekit.bench.models import read_model
from prunekit.bench.runtimes import OnnxRuntime
from prunekit.environments import make_environment, spaces_of
from prunekit.export.onnx import export_onnx
from prunekit.files import write_atomically
from prunekit.policy.artifact import load
from prunekit.policy.compaction import compact
from prunekit.pruning.importance import (
    Evidence,
    Scores,
    activity_times_outgoing,
    group_norm,
    output_sensitivity,
    taylor,
    weight_propagation,
)
from prunekit.pruning.penalties import GRADIENT
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Budget, Phases
from prunekit.rollouts import episode_return, random_returns
from prunekit.training.presets import preset_for
from prunekit.training.request import TrainingRequest
from prunekit.training.run import train

RUNS = Path("runs/ablations")
STEPS = {"LunarLander-v3": 400_000, "Hopper-v5": 500_000}
SEEDS = (0, 1, 2)
EPISODES = range(10_000, 10_100)
SCRATCH = "scratch"

Change = Callable[[TrainingRequest], TrainingRequest]


def random_units(evidence: Evidence) -> Scores:
    """Return scores that have nothing to do with the units, the same ones at every check."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(keep.numel(), generator=generator)[keep] for name, keep in evidence.keep.items()}


def planned(**changes: Any) -> Change:
    """Return the default request with a plan changed in these fields."""
    return lambda request: replace(request, plan=replace(PruningPlan(), **changes))


VARIANTS: dict[str, Change] = {
    "default": planned(),
    "dense": lambda request: replace(request, plan=None),
    "penalty: gradient": planned(penalty=GRADIENT),
    "no penalty": planned(strength=0.0),
    "strength 1": planned(strength=1.0),
    "no guard": lambda request: replace(planned()(request), guard_share=None),
    "threshold: budget 0.6": planned(threshold=Budget(0.6)),
    "importance: output sensitivity": planned(importance=output_sensitivity),
    "importance: weight propagation": planned(importance=weight_propagation, common_scale=False),
    "importance: activity x outgoing": planned(importance=activity_times_outgoing, common_scale=False),
    "importance: Taylor": planned(importance=taylor, common_scale=False),
    "importance: group norm": planned(importance=group_norm, common_scale=False),
    "random units": planned(importance=random_units),
    "no compensation": planned(compensate=False),
    "window 20-70%": planned(phases=Phases(0.2, 0.7)),
    "scores in terms of each group's mean": planned(common_scale=False),
    "least share of a layer 0": planned(min_share=0.0),
    "100 checks": planned(checks=100),
}


def folder(env_id: str, variant: str, seed: int) -> Path:
    """Return where a run is kept."""
    name = "".join(letter if letter.isalnum() or letter == "." else "-" for letter in variant)
    return RUNS / f"{env_id}-{name}-seed{seed}"


def finished(env_id: str, variant: str, seed: int) -> dict[str, Any] | None:
    """Return the facts of a run that is done, here or in the committed result."""
    file = folder(env_id, variant, seed) / "result.json"
    if file.exists():
        return dict(json.loads(file.read_text()))
    committed = (read_result("ablations") or {"runs": []})["runs"]
    key = (env_id, variant, seed)
    return next((dict(run) for run in committed if (run["env"], run["variant"], run["seed"]) == key), None)


def run_one(env_id: str, variant: str, seed: int) -> None:
    """Train, shrink, export and evaluate one policy."""
    out = folder(env_id, variant, seed)
    request = TrainingRequest(env_id, "ppo", preset_for(env_id, "ppo"), seed, STEPS[env_id])
    if variant == SCRATCH:
        pruned = finished(env_id, "default", seed)
        assert pruned is not None, "scratch has the widths of the default, which is run first"
        request = replace(request, plan=None, hidden=tuple(pruned["hidden"]))
    else:
        request = VARIANTS[variant](request)
    result = train(request, out)
    small = compact(load(out / "model.pt"))
    export_onnx(small.artifact.actor, out / "policy.onnx", small.artifact.provenance)
    environment = make_environment(env_id)
    runtime = OnnxRuntime(read_model(out / "policy.onnx"), spaces_of(environment))
    facts = {
        "env": env_id,
        "variant": variant,
        "seed": seed,
        "hidden": list(small.after.hidden),
        "parameters": small.after.parameters,
        "sparsity": result.status.sparsity,
        "seconds": round(result.status.seconds, 1),
        "returns": [round(episode_return(environment, runtime.act, seed), 3) for seed in EPISODES],
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    write_atomically(out / "result.json", (json.dumps(facts) + "\n").encode())


def run_apart(env_id: str, variant: str, seed: int, after: Future[None] | None = None) -> None:
    """Run one policy in a process of its own unless it is done; a half-finished run is begun again."""
    if after is not None:
        after.result()
    out = folder(env_id, variant, seed)
    if finished(env_id, variant, seed) is not None:
        return
    shutil.rmtree(out, ignore_errors=True)
    RUNS.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "one", "--env", env_id, "--variant", variant, "--seed", str(seed)]
    with (RUNS / f"{out.name}.log").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    print(time.strftime("%H:%M:%S"), out.name, flush=True)


def run_all(workers: int) -> None:
    """Run everything that is missing, in the order of the table."""
    with ThreadPoolExecutor(workers) as pool:
        jobs: dict[tuple[str, str, int], Future[None]] = {}
        for variant in (*list(VARIANTS)[:2], SCRATCH, *list(VARIANTS)[2:]):
            for seed in SEEDS:
                for env_id in STEPS:
                    after = jobs[env_id, "default", seed] if variant == SCRATCH else None
                    jobs[env_id, variant, seed] = pool.submit(run_apart, env_id, variant, seed, after)
        for job in jobs.values():
            job.result()


def collect() -> None:
    """Write the committed result from the runs that are done; says which are missing."""
    entries, missing = [], []
    for env_id in STEPS:
        for variant in (*VARIANTS, SCRATCH):
            for seed in SEEDS:
                found = finished(env_id, variant, seed)
                if found is None:
                    missing.append(folder(env_id, variant, seed).name)
                else:
                    entries.append(found)
    random = {env_id: random_returns(make_environment(env_id), EPISODES) for env_id in STEPS}
    command = "python benchmarks/ablations.py train; python benchmarks/ablations.py collect"
    settings = {"algorithm": "ppo", "steps": STEPS, "sparsity": 0.93, "random": random, "missing": missing}
    print(write_result("ablations", command, {**settings, "runs": entries}), f"{len(missing)} runs missing")


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["train", "one", "collect"])
    parser.add_argument("--env", choices=list(STEPS))
    parser.add_argument("--variant", choices=[*VARIANTS, SCRATCH])
    parser.add_argument("--seed", type=int)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.stage == "train":
        run_all(arguments.workers)
    elif arguments.stage == "one":
        run_one(arguments.env, arguments.variant, arguments.seed)
    else:
        collect()


if __name__ == "__main__":
    main()
