"""TD3 on Hopper-v5, masked at 93% with live shrinking, beside dense: return curves and the exported policies' returns.

    python benchmarks/off_policy.py train      # resumable, from checkpoints; one process a core
    python benchmarks/off_policy.py evaluate   # exported ONNX, 100 episodes, same seeds for every model

``train`` keeps its runs in ``runs/off_policy``; ``evaluate`` writes ``benchmarks/results/off_policy.json``.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from record import write_result

from prunekit.bench.compare import run_bench
from prunekit.bench.settings import BenchSettings
from prunekit.devices import devices_named
from prunekit.export.onnx import export_onnx
from prunekit.policy.artifact import load
from prunekit.policy.compaction import compact

RUNS = Path("runs/off_policy")
ENVIRONMENT, ALGORITHM, STEPS, SEEDS = "Hopper-v5", "td3", 150_000, (0, 1)
KINDS = {"dense": ["--dense"], "masked": ["--sparsity", "0.93"]}


def folder(kind: str, seed: int) -> Path:
    """Return where a run is kept."""
    return RUNS / f"{ENVIRONMENT}-{ALGORITHM}-{kind}-seed{seed}"


def run(kind: str, seed: int) -> None:
    """Train one policy unless it is there, from its last checkpoint where it was interrupted."""
    out = folder(kind, seed)
    if (out / "model.pt").exists():
        return
    RUNS.mkdir(parents=True, exist_ok=True)
    asked = ["--env", ENVIRONMENT, "--algo", ALGORITHM, "--steps", str(STEPS), "--seed", str(seed), *KINDS[kind]]
    begun = ["--resume"] if (out / "config.json").exists() else asked
    command = [sys.executable, "-m", "prunekit", "train", *begun, "--out", str(out)]
    print(" ".join(command[2:]), flush=True)
    with (RUNS / f"{out.name}.log").open("a") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, stdout=log, stderr=log, env=environment)


def curve(where: Path) -> list[dict[str, Any]]:
    """Return the run's records: steps, mean return since the record before, sparsity, seconds."""
    with (where / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {
            "steps": int(row["steps"]),
            "return": round(float(row["mean_return"]), 1) if row["mean_return"] else None,
            "sparsity": round(float(row["sparsity"]), 4),
            "seconds": round(float(row["seconds"]), 1),
        }
        for row in rows
    ]


def evaluate(episodes: int) -> None:
    """Export the policies that training left and bench those of one seed side by side, the dense one first."""
    benches = []
    for seed in SEEDS:
        folders = {kind: folder(kind, seed) for kind in KINDS}
        for where in folders.values():
            if not (where / "model.pt").exists():
                raise SystemExit(f"{where}: not trained yet; run the train stage first")
            small = compact(load(where / "model.pt")).artifact
            export_onnx(small.actor, where / "policy.onnx", small.provenance)
        files = [where / "policy.onnx" for where in folders.values()]
        result = run_bench(files, devices_named(["cpu"]), BenchSettings(episodes=episodes))
        print(seed, [entry.estimate for entry in result.retentions])
        curves = {kind: curve(where) for kind, where in folders.items()}
        benches.append({"seed": seed, "kinds": list(KINDS), "curves": curves, "bench": result.to_json()})
    command = "python benchmarks/off_policy.py train; python benchmarks/off_policy.py evaluate"
    settings = {"env": ENVIRONMENT, "algorithm": ALGORITHM, "steps": STEPS, "sparsity": 0.93}
    print(write_result("off_policy", command, {**settings, "runs": benches}))


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["train", "evaluate"])
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--episodes", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.stage == "train":
        with ThreadPoolExecutor(arguments.workers) as pool:
            list(pool.map(lambda job: run(*job), [(kind, seed) for seed in SEEDS for kind in arguments.kinds]))
    else:
        evaluate(arguments.episodes)


if __name__ == "__main__":
    main()
