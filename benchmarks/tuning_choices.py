"""What decided how students learn: the fine-tuning's parts left out one by one, and imitation without its last steps.

    python benchmarks/tuning_choices.py run      # resumable, one process a core; half an hour on two
    python benchmarks/tuning_choices.py collect  # benchmarks/results/tuning_choices.json

Students of the dense teachers, with the search's own settings, on one core each. For the fine-tuning all variants begin
with the same student, which has imitated in six rounds, and learn from rewards for 100 seconds; after every burst the
average and the latest network play 20 episodes that nothing learns from. Imitation goes on for 45 seconds, and the best
of its rounds by the same episodes counts, batches instead of Gauss-Newton steps where these are left out. Times do not
include the episodes played to judge.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from compressing.teachers import teacher_of
from record import write_result

from prunekit.adapters.sb3_natural import NaturalPPO, NaturalSettings
from prunekit.adapters.sb3_tuning import TunerSettings
from prunekit.compression.playing import deployed
from prunekit.compression.read import read_teacher
from prunekit.compression.settings import SearchSettings
from prunekit.compression.student import ImitationDataset, Scale, Student
from prunekit.compression.tuning import tuner_of
from prunekit.files import write_atomically
from prunekit.rollouts import EpisodeRunner

RUNS = Path("runs/tuning_choices")
ENVIRONMENTS, SEEDS = ("Walker2d-v5", "HalfCheetah-v5"), (0, 1)
HIDDEN = (14,)
ROUNDS, TUNING, IMITATION = 6, 100.0, 45.0
EPISODES = range(10_000, 10_020)
FIRST_SEED = 2 * 10**12
# Below this share of the typical return an episode has failed.
_FAILED = 0.8
# Bursts whose mean is what a run ends with.
_LAST = 3


class Ground:
    """The environment, its teacher, and what both earn on the episodes that judge."""

    def __init__(self, env_id: str, seed: int) -> None:
        self.settings = SearchSettings(seed=seed)
        self.runner = EpisodeRunner(env_id)
        self.teacher = read_teacher(teacher_of(env_id), self.runner.spaces)
        self._next = FIRST_SEED + 10**6 * seed
        self._dense = float(np.mean([self.runner.play(self.teacher.act, episode).total for episode in EPISODES]))
        self._random = float(np.mean([self.runner.random(episode) for episode in EPISODES]))

    def student(self) -> tuple[Student, ImitationDataset]:
        """Return (a student that has learned nothing, its first lessons)."""
        lessons = ImitationDataset(self.teacher)
        for _ in range(self.settings.teacher_episodes):
            lessons.add(self.runner.play(self.teacher.act, self.another_seed()).observations)
        scale = Scale.of(lessons, self.runner.spaces)
        return Student(HIDDEN, scale, self.runner.spaces, self.settings.seed), lessons

    def add_to(self, lessons: ImitationDataset, student: Student) -> None:
        """Let the student play and the teacher say what it should have done."""
        act = deployed(student.actor, self.runner.spaces)
        for _ in range(self.settings.lesson_episodes):
            lessons.add(self.runner.play(act, self.another_seed()).observations)

    def judged(self, student: Student) -> dict[str, float]:
        """Return what the student keeps, on average and typically, and the share of its episodes that fail."""
        act = deployed(student.actor, self.runner.spaces)
        returns = np.array([self.runner.play(act, episode).total for episode in EPISODES])
        kept = (returns - self._random) / (self._dense - self._random)
        failed = float((kept < _FAILED * np.median(kept)).mean())
        return {"mean": float(kept.mean()), "median": float(np.median(kept)), "failed": failed}

    def another_seed(self) -> int:
        """Return a seed that nothing was played with."""
        self._next += 1
        return self._next


def adam(model: NaturalPPO, network: torch.nn.Module) -> None:
    """Take the actor's part of SB3's own PPO: Adam, minibatches, ten epochs."""
    buffer: Any = model.rollout_buffer
    if "_adam" not in model.__dict__:
        model.__dict__["_adam"] = torch.optim.Adam([*network.parameters(), model.policy.log_std], 3e-4)
    optimizer = model.__dict__["_adam"]
    for _ in range(model.n_epochs):
        for rows in buffer.get(model.batch_size):
            gains = (rows.advantages - rows.advantages.mean()) / (rows.advantages.std() + 1e-8)
            _, log_prob, _ = model.policy.evaluate_actions(rows.observations, rows.actions)
            ratio = (log_prob - rows.old_log_prob).exp()
            loss = -torch.minimum(ratio * gains, ratio.clamp(0.8, 1.2) * gains).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


ADAM = "Adam in place of natural gradients"
TUNINGS = {
    "as it is": TunerSettings(),
    "a discount of 0.99": TunerSettings(gamma=0.99),
    "gradients of one rollout": TunerSettings(natural=NaturalSettings(rollouts=1)),
    ADAM: TunerSettings(),
}
IMITATIONS = ("with Gauss-Newton steps", "batches alone")


def tuned(ground: Ground, variant: str) -> list[dict[str, Any]]:
    """Return what the average and the latest network are after every burst."""
    settings = ground.settings
    student, lessons = ground.student()
    best, reached = student, -1.0
    for number in range(ROUNDS):
        student.fit(lessons, settings.lesson_steps if number else settings.first_steps)
        student.fit_gauss_newton(lessons, settings.refinements)
        kept = ground.judged(student)["mean"]
        if kept > reached:
            best, reached = student.copied(), kept
        ground.add_to(lessons, student)
    curve: list[dict[str, Any]] = [{"seconds": 0.0, "steps": 0, "average": ground.judged(best)}]
    spent = 0.0
    with ExitStack() as stack:
        if variant == ADAM:
            stack.enter_context(patch.object(NaturalPPO, "_train_actor", adam))
        seed = ground.another_seed()
        tuner = tuner_of(best.scale, ground.runner, seed, settings.tuning_warmup, TUNINGS[variant])
        tuner.take(best.network)
        while spent < TUNING:
            began = time.monotonic()
            tuner.tune(settings.tuning_steps, lambda: False)
            spent += time.monotonic() - began
            latest = best.copied()
            latest.network.load_state_dict(tuner.latest.state_dict())
            found = {"average": ground.judged(best), "latest": ground.judged(latest)}
            curve.append({"seconds": round(spent, 1), "steps": tuner.steps, **found})
    tuner.close()
    return curve


def imitated(ground: Ground, variant: str) -> list[dict[str, Any]]:
    """Return what the student is after every round."""
    settings, spent = ground.settings, 0.0
    curve: list[dict[str, Any]] = []
    student, lessons = ground.student()
    while spent < IMITATION:
        began = time.monotonic()
        batches = settings.lesson_steps if curve else settings.first_steps
        student.fit(lessons, batches if variant == IMITATIONS[0] else 2 * batches)
        if variant == IMITATIONS[0]:
            student.fit_gauss_newton(lessons, settings.refinements)
        spent += time.monotonic() - began
        curve.append({"seconds": round(spent, 1), "average": ground.judged(student)})
        began = time.monotonic()
        ground.add_to(lessons, student)
        spent += time.monotonic() - began
    return curve


def run_one(env_id: str, seed: int, variant: str) -> None:
    """Run one variant once."""
    torch.set_num_threads(1)
    ground = Ground(env_id, seed)
    curve = (imitated if variant in IMITATIONS else tuned)(ground, variant)
    ground.runner.close()
    steps = curve[-1].get("steps", 0)
    entry = {"env": env_id, "seed": seed, "variant": variant, "steps": steps, **summary(curve), "curve": curve}
    write_atomically(file_of(env_id, seed, variant), json.dumps(entry).encode())
    print(time.strftime("%H:%M:%S"), env_id, seed, variant, summary(curve), flush=True)


def summary(curve: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the best of the curve, and the means over its last bursts."""
    last = curve[-_LAST:]
    means = {name: float(np.mean([point["average"][name] for point in last])) for name in ("mean", "failed")}
    return {"best": max(point["average"]["mean"] for point in curve), "last": means["mean"], "failed": means["failed"]}


def file_of(env_id: str, seed: int, variant: str) -> Path:
    """Return where a run is kept."""
    return RUNS / f"{env_id}-seed{seed}-{variant.replace(' ', '_')}.json"


def start(env_id: str, seed: int, variant: str) -> None:
    """Run one in a process of its own unless it is done."""
    if file_of(env_id, seed, variant).exists():
        return
    RUNS.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "one", env_id, str(seed), variant]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["run", "one", "collect"])
    parser.add_argument("job", nargs="*")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="runs at a time")
    arguments = parser.parse_args()
    jobs = [(env, seed, variant) for variant in (*TUNINGS, *IMITATIONS) for env in ENVIRONMENTS for seed in SEEDS]
    if arguments.stage == "one":
        env_id, seed, variant = arguments.job
        run_one(env_id, int(seed), variant)
    elif arguments.stage == "run":
        with ThreadPoolExecutor(arguments.workers) as pool:
            list(pool.map(lambda job: start(*job), jobs))
    else:
        runs = [json.loads(file_of(*job).read_text()) for job in jobs]
        command = "; ".join(f"python benchmarks/tuning_choices.py {stage}" for stage in ("run", "collect"))
        told = {"hidden": HIDDEN, "tuning": TUNING, "imitation": IMITATION, "last": _LAST, "episodes": len(EPISODES)}
        print(write_result("tuning_choices", command, {**told, "runs": runs}))


if __name__ == "__main__":
    main()
