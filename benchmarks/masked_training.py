"""Masked training beside its controls: dense, and the same final widths trained from scratch with the dense critic.

The controls have the rate schedule of the masked runs, and are trained again (``-linear``) with the usual falling rate,
so that what the schedule does is not taken for what the masks do.

    python benchmarks/masked_training.py train      # resumable; one process a core
    python benchmarks/masked_training.py evaluate   # exported ONNX, 100 episodes, same seeds for every model

``train`` keeps its runs in ``runs/masked_training``; ``evaluate`` writes ``benchmarks/results/masked_training.json``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from record import write_result

from prunekit.bench.compare import run_bench
from prunekit.bench.settings import BenchSettings
from prunekit.devices import devices_named
from prunekit.export.onnx import export_onnx
from prunekit.policy.artifact import load
from prunekit.policy.compaction import compact

RUNS = Path("runs/masked_training")
SEEDS = (0, 1, 2)
STEPS = {"LunarLander-v3": 800_000, "Hopper-v5": 1_000_000}
SPARSITY = 0.93
KINDS = ("dense", "masked", "scratch", "dense-linear", "scratch-linear")
LINEAR = ["--lr-schedule", "linear"]


def train_command(env_id: str, seed: int, options: list[str], out: Path) -> list[str]:
    """Return the command line of one run."""
    common = ["--env", env_id, "--algo", "ppo", "--steps", str(STEPS[env_id]), "--seed", str(seed)]
    return ["prunekit", "train", *common, *options, "--out", str(out)]


def folder(env_id: str, kind: str, seed: int) -> Path:
    """Return where a run is kept."""
    return RUNS / f"{env_id}-{kind}-seed{seed}"


def run(env_id: str, kind: str, seed: int, options: list[str]) -> Path:
    """Train one policy unless its finished run is there; a half-finished one is begun again."""
    out = folder(env_id, kind, seed)
    if (out / "model.pt").exists():
        return out
    shutil.rmtree(out, ignore_errors=True)
    RUNS.mkdir(parents=True, exist_ok=True)
    command = train_command(env_id, seed, options, out)
    print(" ".join(command), flush=True)
    with (RUNS / f"{out.name}.log").open("w") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-m", *command], check=True, stdout=log, stderr=log, env=environment)
    return out


def run_scratch(env_id: str, kind: str, seed: int, options: list[str], masked: Future[Path]) -> Path:
    """Train the widths that ``masked`` ended with from scratch, once they are known."""
    widths = [int(keep.sum()) for keep in load(masked.result() / "model.pt").masks.values()]
    return run(env_id, kind, seed, ["--dense", "--hidden", ",".join(map(str, widths)), *options])


def train(workers: int) -> None:
    """Train everything that is missing, masked runs first."""
    grid = [(env_id, seed) for seed in SEEDS for env_id in STEPS]
    with ThreadPoolExecutor(workers) as pool:
        masked = {key: pool.submit(run, key[0], "masked", key[1], ["--sparsity", str(SPARSITY)]) for key in grid}
        jobs = [pool.submit(run, env_id, "dense", seed, ["--dense"]) for env_id, seed in grid]
        jobs += [pool.submit(run_scratch, env, "scratch", seed, [], masked[env, seed]) for env, seed in grid]
        jobs += [pool.submit(run, env, "dense-linear", seed, ["--dense", *LINEAR]) for env, seed in grid]
        jobs += [pool.submit(run_scratch, env, "scratch-linear", seed, LINEAR, masked[env, seed]) for env, seed in grid]
        for job in (*masked.values(), *jobs):
            job.result()


def evaluate(episodes: int) -> None:
    """Export the policies that training left and bench those of one seed side by side, the dense one first."""
    settings = BenchSettings(episodes=episodes)
    benches = []
    for env_id in STEPS:
        for seed in SEEDS:
            folders = {kind: folder(env_id, kind, seed) for kind in KINDS}
            missing = [str(where) for where in folders.values() if not (where / "model.pt").exists()]
            if missing:
                raise SystemExit(f"{missing[0]}: not trained yet; run the train stage first")
            files = {kind: where / "policy.onnx" for kind, where in folders.items()}
            training = {}
            for kind, where in folders.items():
                artifact = load(where / "model.pt")
                small = compact(artifact).artifact
                export_onnx(small.actor, files[kind], small.provenance)
                training[kind] = {"seconds": artifact.provenance["seconds"], **artifact.provenance["returns"]}
            result = run_bench(list(files.values()), devices_named(["cpu"]), settings)
            print(env_id, seed, {kind: entry.estimate for kind, entry in zip(files, result.retentions, strict=True)})
            benches.append(
                {"env": env_id, "seed": seed, "kinds": KINDS, "training": training, "bench": result.to_json()}
            )
    command = "python benchmarks/masked_training.py train; python benchmarks/masked_training.py evaluate"
    settings_of = {"steps": STEPS, "sparsity": SPARSITY, "algorithm": "ppo"}
    print(write_result("masked_training", command, {**settings_of, "runs": benches}))


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["train", "evaluate"])
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--episodes", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.stage == "train":
        train(arguments.workers)
    else:
        evaluate(arguments.episodes)


if __name__ == "__main__":
    main()
