"""Wall time of masked and of live-shrinking training over plain Stable-Baselines3, interleaved in one run.

    python benchmarks/training_speed.py

All three train the same preset on one thread, for steps enough to include dense phase, pruning and frozen phase. Plain
means Stable-Baselines3 alone: no callback, no logger, no checkpoints. The other two are all that ``prunekit train``
does, checkpoints and records included. Writes ``benchmarks/results/training_speed.json``, with a profile of where the
time of the pruner goes.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from record import write_result

from prunekit.environments import make_environment, spaces_of
from prunekit.pruning.plan import PruningPlan
from prunekit.training.presets import preset_for
from prunekit.training.request import TrainingRequest, build_learner
from prunekit.training.run import train

ENVIRONMENT = "Hopper-v5"
STEPS = {"ppo": 300_000, "td3": 20_000}
KINDS = ("plain", "masked", "live")
# What a profile is asked for: a name, and the function whose time (callees included) it is.
PARTS = {
    "environments": ("dummy_vec_env.py", "step_wait"),
    "backward passes": ("graph.py", "_engine_run_backward"),
    "optimizer steps, pruner included": ("optimizer.py", "wrapper"),
    "pruner": ("pruner.py", "_after_step"),
    "pruner: measuring importance": ("gauge.py", "measure"),
    "pruner: compensation": ("compensation.py", "compensate_"),
    "pruner: physical removal": ("pruner.py", "shrink_"),
    "pruner: penalty": ("penalties.py", "shrink_norms_"),
    "pruner: keeping inputs": ("recent.py", "take"),
    "records": ("recorder.py", "record"),
    "checkpoints": ("checkpoint.py", "write_checkpoint"),
}


def request_of(algorithm: str, kind: str, seed: int, steps: int) -> TrainingRequest:
    """Return what to train; TD3 starts to learn early, so that the run is training and not waiting."""
    preset = preset_for(ENVIRONMENT, algorithm)
    if algorithm == "td3":
        preset = replace(preset, model={**preset.model, "learning_starts": 1_000})
    plan = None if kind == "plain" else PruningPlan()
    return TrainingRequest(ENVIRONMENT, algorithm, preset, seed, steps, plan, live_shrink=kind == "live")


def seconds_of(request: TrainingRequest) -> float:
    """Train and return the wall time in seconds."""
    if request.plan is None:
        environment = make_environment(request.env_id)
        model = build_learner(request, spaces_of(environment))
        environment.close()
        start = time.perf_counter()
        model.learn(request.total_steps)
        return time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        train(request, Path(folder) / "run")
        return time.perf_counter() - start


def profile_of(request: TrainingRequest) -> dict[str, float]:
    """Return the share of a run's time that each of ``PARTS`` takes, profiler included."""
    profiler = cProfile.Profile()
    profiler.enable()
    seconds_of(request)
    profiler.disable()
    stats: Any = pstats.Stats(profiler)
    total = float(stats.total_tt)
    shares = {}
    for name, (file, function) in PARTS.items():
        found = [entry[3] for key, entry in stats.stats.items() if key[0].endswith("/" + file) and key[2] == function]
        shares[name] = round(max(found, default=0.0) / total, 4)
    return shares


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the steps, to try it out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for algorithm, full in STEPS.items():
        steps = int(full * arguments.scale)
        rounds = []
        for seed in range(arguments.rounds):
            order = KINDS[seed % 3 :] + KINDS[: seed % 3]
            seconds = {kind: round(seconds_of(request_of(algorithm, kind, seed, steps)), 2) for kind in order}
            load = round(os.getloadavg()[2], 2)  # over 15 minutes; 1 is this benchmark alone
            rounds.append({"seed": seed, "load": load, **{kind: seconds[kind] for kind in KINDS}})
            print(algorithm, rounds[-1], flush=True)
        ratios = {
            kind: statistics.median(entry[kind] / entry["plain"] for entry in rounds) for kind in ("masked", "live")
        }
        profile = profile_of(request_of(algorithm, "live", 0, steps // 3))
        found[algorithm] = {"steps": steps, "rounds": rounds, "median_over_plain": ratios, "profile": profile}
        print(algorithm, ratios, profile, flush=True)
    command = "python benchmarks/training_speed.py"
    print(write_result("training_speed", command, {"env": ENVIRONMENT, "algorithms": found}))


if __name__ == "__main__":
    main()
