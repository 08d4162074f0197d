"""Steps per second of masked training over plain Stable-Baselines3, interleaved in one run.

    python benchmarks/training_speed.py

Both train the same preset on one thread. A short run is the harder case for masked training, as the number of
importance checks does not grow with its length. Writes ``benchmarks/results/training_speed.json``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from record import write_result

from prunekit.environments import make_environment, spaces_of
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Sparsity
from prunekit.training.presets import preset_for
from prunekit.training.request import TrainingRequest, build_learner
from prunekit.training.run import train


def plain_steps_per_second(request: TrainingRequest) -> float:
    """Train with Stable-Baselines3 alone: no callback, no logger, no pruner."""
    environment = make_environment(request.env_id)
    model = build_learner(request, spaces_of(environment))
    environment.close()
    start = time.perf_counter()
    model.learn(request.total_steps)
    seconds = time.perf_counter() - start
    return model.num_timesteps / seconds


def masked_steps_per_second(request: TrainingRequest) -> float:
    """Train with everything that ``prunekit train`` does."""
    with tempfile.TemporaryDirectory() as folder:
        status = train(request, Path(folder) / "run").status
    return status.steps / status.seconds


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Hopper-v5")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pairs = []
    for seed in range(arguments.pairs):
        plan = PruningPlan(threshold=Sparsity(0.93))
        preset = preset_for(arguments.env, "ppo")
        plain = plain_steps_per_second(TrainingRequest(arguments.env, "ppo", preset, seed, arguments.steps))
        masked = masked_steps_per_second(TrainingRequest(arguments.env, "ppo", preset, seed, arguments.steps, plan))
        pairs.append({"seed": seed, "plain": plain, "masked": masked, "ratio": masked / plain})
        print(pairs[-1], flush=True)
    command = f"python benchmarks/training_speed.py --env {arguments.env} --steps {arguments.steps}"
    ratio = statistics.median(pair["ratio"] for pair in pairs)
    entries = {"env": arguments.env, "steps": arguments.steps, "pairs": pairs, "median_ratio": ratio}
    print(write_result("training_speed", command, entries))


if __name__ == "__main__":
    main()
