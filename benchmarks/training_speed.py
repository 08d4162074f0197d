"""Wall time of masked and of live-shrinking training over plain Stable-Baselines3, interleaved in one run.

    python benchmarks/training_speed.py

All three train the same preset on one thread, for steps enough to include dense phase, pruning and frozen phase. They
take turns of half a percent of the run, so that what slows the machine slows all three; the time of a run is that of
its turns. Plain means Stable-Baselines3 alone: no logger, no checkpoints, no callback but the one that takes turns. The
other two are all that ``prunekit train`` does, checkpoints and records included. Writes
``benchmarks/results/training_speed.json``, with a profile of where the time of the pruner goes.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import statistics
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from record import read_result, write_result
from stable_baselines3.common.callbacks import BaseCallback

from prunekit.environments import make_environment, spaces_of
from prunekit.pruning.plan import PruningPlan
from prunekit.training.presets import preset_for
from prunekit.training.request import TrainingRequest, build_learner
from prunekit.training.run import train
from prunekit.training.status import Status

ENVIRONMENT = "Hopper-v5"
STEPS = {"ppo": 300_000, "td3": 20_000}
KINDS = ("plain", "masked", "live")
# What a profile is asked for: a name, and the function whose time (callees included) it is.
PARTS = {
    "environments": ("dummy_vec_env.py", "step_wait"),
    "backward passes": ("graph.py", "_engine_run_backward"),
    "optimizer steps, pruner included": ("optimizer.py", "wrapper"),
    "pruner": ("pruner.py", "_after_step"),
    "pruner: measuring importance": ("importance_tracker.py", "measure"),
    "pruner: compensation": ("compensation.py", "compensate_"),
    "pruner: physical removal": ("pruner.py", "shrink_"),
    "pruner: penalty": ("penalties.py", "shrink_norms_"),
    "pruner: keeping inputs": ("recent.py", "take"),
    "records": ("recorder.py", "record"),
    "checkpoints": ("checkpoint.py", "write_checkpoint"),
}


def request_of(algorithm: str, kind: str, seed: int, steps: int) -> TrainingRequest:
    """Return what to train, with a penalty, so that its cost shows.

    TD3 starts to learn early, so that the run is training and not waiting.
    """
    preset = preset_for(ENVIRONMENT, algorithm)
    if algorithm == "td3":
        preset = replace(preset, model={**preset.model, "learning_starts": 1_000})
    plan = None if kind == "plain" else PruningPlan(strength=0.1)
    return TrainingRequest(
        env_id=ENVIRONMENT,
        algorithm=algorithm,
        preset=preset,
        seed=seed,
        steps=steps,
        plan=plan,
        live_shrink=kind == "live",
    )


@final
class Turns:
    """Lets threads run one at a time, in turn, and adds up the seconds that each was at it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._waiting = deque(names)
        self._changed = threading.Condition()
        self._began = 0.0
        self.seconds = dict.fromkeys(names, 0.0)

    def begin(self, name: str) -> None:
        """Wait for the turn of ``name``."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting[0] == name)
            self._began = time.perf_counter()

    def end(self, name: str, last: bool = False) -> None:
        """End the turn of ``name``, which is not to have another where this was the ``last``."""
        with self._changed:
            self.seconds[name] += time.perf_counter() - self._began
            self._waiting.popleft()
            if not last:
                self._waiting.append(name)
            self._changed.notify_all()


@final
class TakingTurns(BaseCallback):
    """Passes a turn on as often as ``prunekit train`` records, by calling ``switch``."""

    def __init__(self, every: int, switch: Callable[[], None]) -> None:
        super().__init__()
        self._every, self._next, self._switch = every, every, switch

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._next += self._every
            self._switch()
        return True


@final
@dataclass(frozen=True)
class Switching:
    """A display that only passes the turn on."""

    switch: Callable[[], None]

    def update(self, _: Status) -> None:
        """Pass the turn on."""
        self.switch()


def run(request: TrainingRequest, switch: Callable[[], None] = lambda: None) -> None:
    """Train, calling ``switch`` about 200 times on the way."""
    if request.plan is None:
        environment = make_environment(request.env_id)
        model = build_learner(request, spaces_of(environment))
        environment.close()
        model.learn(request.total_steps, TakingTurns(max(1, request.total_steps // 200), switch))
        return
    with tempfile.TemporaryDirectory() as folder:
        train(request, Path(folder) / "run", [Switching(switch)])


def seconds_of(requests: Mapping[str, TrainingRequest]) -> dict[str, float]:
    """Train all in turn and return the wall time of each in seconds."""
    turns = Turns(list(requests))

    def work(name: str) -> None:
        turns.begin(name)

        def switch() -> None:
            turns.end(name)
            turns.begin(name)

        try:
            run(requests[name], switch)
        finally:
            turns.end(name, last=True)

    with ThreadPoolExecutor(len(requests)) as pool:
        for job in [pool.submit(work, name) for name in requests]:
            job.result()
    return turns.seconds


def profile_of(request: TrainingRequest) -> dict[str, float]:
    """Return the share of a run's time that each of ``PARTS`` takes, profiler included."""
    profiler = cProfile.Profile()
    profiler.enable()
    run(request)
    profiler.disable()
    stats: Any = pstats.Stats(profiler)
    total = float(stats.total_tt)
    shares = {}
    for name, (file, function) in PARTS.items():
        found = [entry[3] for key, entry in stats.stats.items() if key[0].endswith("/" + file) and key[2] == function]
        if not found:
            raise RuntimeError(f"{name}: no {function} of {file} was called; PARTS names another")
        shares[name] = round(max(found) / total, 4)
    return shares


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--algorithm", choices=sorted(STEPS), help="only this one; the others stay as they are committed"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of the steps, to try it out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run(request_of("ppo", "plain", 0, 4096))  # imports what torch imports late
    former = (read_result("training_speed") or {"algorithms": {}})["algorithms"]
    found: dict[str, Any] = {}
    for algorithm, full in STEPS.items():
        if arguments.algorithm not in (None, algorithm):
            found[algorithm] = former[algorithm]
            continue
        steps = int(full * arguments.scale)
        rounds = []
        for seed in range(arguments.rounds):
            seconds = seconds_of({kind: request_of(algorithm, kind, seed, steps) for kind in KINDS})
            load = round(os.getloadavg()[2], 2)  # over 15 minutes; 1 is this benchmark alone
            rounds.append({"seed": seed, "load": load, **{kind: round(seconds[kind], 2) for kind in KINDS}})
            print(algorithm, rounds[-1], flush=True)
        ratios = {
            kind: statistics.median(entry[kind] / entry["plain"] for entry in rounds) for kind in ("masked", "live")
        }
        profile = profile_of(request_of(algorithm, "live", 0, steps // 3))
        found[algorithm] = {
            "date": time.strftime("%Y-%m-%d"),
            "steps": steps,
            "rounds": rounds,
            "median_over_plain": ratios,
            "profile": profile,
        }
        print(algorithm, ratios, profile, flush=True)
    only = f" --algorithm {arguments.algorithm}" if arguments.algorithm else ""
    command = f"python benchmarks/training_speed.py{only}"
    print(write_result("training_speed", command, {"env": ENVIRONMENT, "algorithms": found}))


if __name__ == "__main__":
    main()
