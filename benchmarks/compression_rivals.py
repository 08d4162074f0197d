"""The search of ``prunekit compress`` beside other ways to a network of the same widths, on the same teacher.

    python benchmarks/compress.py train              # the teachers
    python benchmarks/compression_rivals.py run      # resumable, one process a core; needs torch-pruning
    python benchmarks/compression_rivals.py collect  # benchmarks/results/compression_rivals.json

The search goes down from 64x64 for three minutes on one core; its smallest network that is good on the selection's
episodes sets the widths, which are therefore ones where the search succeeded. Every rival gets as many batches of
imitation as the search had spent by then, Gauss-Newton steps after every round of them, the states that it visits
itself labelled by the teacher as in the search; the best of its rounds by forty of the selection's episodes goes on.
Then it gets as many environment steps of the same fine-tuning on rewards, all of them at the final widths.
Torch-Pruning trains with its penalty for 6,000 batches more, before it prunes, with its default settings. All are
measured on the same fresh episodes, before and after the fine-tuning on rewards.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from compressing.runs import SEEDS
from compressing.teachers import DEVELOPMENT, teacher_of
from record import read_result, write_result
from torch import nn

from prunekit.adapters.sb3_tuning import Tuner
from prunekit.compression.alone import search_branch
from prunekit.compression.branch import RoundSettings
from prunekit.compression.candidates import Baseline, Candidate
from prunekit.compression.playing import deployed
from prunekit.compression.read import read_teacher
from prunekit.compression.settings import SearchSettings
from prunekit.compression.student import ImitationDataset, Scale, Student
from prunekit.compression.task import Task, Worker
from prunekit.compression.tuning import tuner_of
from prunekit.executors import Context, Failed, Finished, Job, executor_named
from prunekit.files import write_atomically
from prunekit.policy.actor import Normalizer
from prunekit.policy.artifact import load
from prunekit.pruning.groups import find_groups
from prunekit.pruning.importance import unit_norms
from prunekit.pruning.surgery import shrink
from prunekit.stats.betting import Paired
from prunekit.stats.clipping import range_of

RUNS = Path("runs/rivals")
SECONDS = 180.0
START = (64, 64)
EPISODES = range(10_000, 10_100)
# Batches of training with the group-norm penalty before Torch-Pruning prunes, on top of the fine-tuning.
SPARSE_BATCHES = 6_000
FIRST_SEED, SEEDS_APART = 10**12, 8


class Field:
    """What all contenders share: teacher, environment, its baseline on selection's and on fresh episodes."""

    def __init__(self, env_id: str, seed: int) -> None:
        self.path, self.seed = teacher_of(env_id), seed
        self.worker = Worker(Task(env_id=env_id, teacher_of=partial(read_teacher, self.path)))
        self.runner, self.teacher = self.worker.own, self.worker.teacher
        self.settings = SearchSettings(starts=(START,), seed=seed)
        self.baseline = self._both(self.settings.selection_seeds)
        self.judging = self.settings.selection_seeds[: self.settings.selection_episodes // 2]
        self.fresh = self._both(EPISODES)
        self._next = FIRST_SEED + 10**7 * seed

    def returns_of(self, student: Student, seeds: Sequence[int]) -> list[float]:
        """Return the returns of ``student`` as it is deployed."""
        act = deployed(student.actor, self.runner.spaces)
        return [self.runner.play(act, seed).total for seed in seeds]

    def retention_of(self, student: Student) -> float:
        """Return the retention on the fresh episodes."""
        found: Paired = self.fresh.paired(self.returns_of(student, EPISODES))
        assert found.retention is not None
        return found.retention

    def selected(self, returns: Sequence[float]) -> float:
        """Return the retention of returns on the first of the selection's episodes."""
        found: Paired = self.baseline.paired(returns)
        assert found.retention is not None
        return found.retention

    def another_seed(self) -> int:
        """Return a seed that nothing was played with, nor the next few, which copies of an environment have."""
        self._next += SEEDS_APART
        return self._next

    def _both(self, seeds: Sequence[int]) -> Baseline:
        dense = [self.runner.play(self.teacher.act, seed).total for seed in seeds]
        random = [self.runner.random(seed) for seed in seeds]
        return Baseline(teacher=np.array(dense), random=np.array(random))


def searched(field: Field) -> Candidate:
    """Return the smallest good network that the search finds."""
    until = time.monotonic() + SECONDS
    clip_range = range_of(field.baseline.teacher, field.baseline.random)
    settings = RoundSettings(search=field.settings, baseline=field.baseline, clip_range=clip_range)
    points = search_branch(field.worker, settings, 0, lambda: time.monotonic() > until).candidates
    field.runner.stopped = lambda: False  # the time of the search was over, not that of what follows
    good = [point for point in points if point.good]
    return min(good or points, key=lambda point: (point.parameters, -point.retention))


class Judgement(NamedTuple):
    """What a student keeps, and whether that is safely enough."""

    retention: float
    enough: bool


def fine_tuned(
    student: Student,
    reached: float,
    tuner: Tuner,
    judge: Callable[[Student, float], Judgement],
    steps: int,
    patience: Callable[[], float],
    over: Callable[[], bool],
) -> tuple[Student, float]:
    """Return (the best that ``student`` became, its retention); ends with the first that is safely good enough."""
    best, vain, learning = student, 0, student.copied()
    tuner.take(learning.network)
    while vain < patience() and not over():
        tuner.tune(steps, over)
        vain += 1
        latest = learning.copied()
        latest.network.load_state_dict(tuner.latest.state_dict())
        for found in (learning.copied(), latest):
            judged = judge(found, reached)
            if judged.enough:
                return found, judged.retention
            if judged.retention > reached:
                best, reached, vain = found, judged.retention, 0
    return best, reached


def imitate(field: Field, student: Student, batches: int) -> tuple[Student, float]:
    """Let ``student`` learn in rounds, between which it plays and the teacher says what it should have done.

    Returns (the best of it after any round, its retention), by the episodes that judge.
    """
    settings = field.settings
    lessons = lessons_of(field)
    first = min(settings.first_steps, batches)
    best, reached = student, -math.inf
    for number in range(1 + (batches - first) // settings.steps):
        student.fit(lessons, settings.steps if number else first)
        student.fit_gauss_newton(lessons, settings.refinements)
        act = deployed(student.actor, field.runner.spaces)
        returns = []
        for seed in field.judging:
            played = field.runner.play(act, seed)
            returns.append(played.total)
            lessons.add(played.observations)
        for _ in range(settings.lesson_episodes):
            lessons.add(field.runner.play(act, field.another_seed()).observations)
        if field.selected(returns) > reached:
            best, reached = student.copied(), field.selected(returns)
    return best, reached


def lessons_of(field: Field) -> ImitationDataset:
    """Return what the teacher does in episodes of its own."""
    lessons = ImitationDataset(field.teacher)
    for _ in range(field.settings.teacher_episodes):
        lessons.add(field.runner.play(field.teacher.act, field.another_seed()).observations)
    return lessons


def tuned(field: Field, student: Student, reached: float, steps: int) -> Student:
    """Return the best that fine-tuning on rewards makes of ``student`` in so many environment steps."""
    settings = field.settings
    tuner = tuner_of(student.scale, field.runner, field.another_seed(), settings.tuning_warmup)

    def judge(found: Student, _: float) -> Judgement:
        return Judgement(field.selected(field.returns_of(found, field.judging)), False)

    best, _ = fine_tuned(
        student, reached, tuner, judge, settings.tuning_steps, lambda: math.inf, lambda: tuner.steps >= steps
    )
    tuner.close()
    return best


def from_scratch(field: Field, widths: tuple[int, ...]) -> Student:
    """Return a new student."""
    return Student(widths, Scale.of(lessons_of(field), field.runner.spaces), field.runner.spaces, field.seed)


def as_student(field: Field) -> Student:
    """Return the teacher's own network as a student, to be pruned and taught."""
    student = from_scratch(field, (1, 1))
    actor = load(field.path).actor
    width = field.runner.spaces.observation
    normalizer = actor.normalizer or Normalizer([0.0] * width, [1.0] * width, 1e6)
    student.scale = Scale(normalizer=normalizer, answers=student.scale.answers)
    student.network = nn.Sequential(*copy.deepcopy(actor.network).children())
    last = student.network[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.div_(student.scale.answers.half[:, None])
        last.bias.sub_(student.scale.answers.middle).div_(student.scale.answers.half)
    return student


def magnitude(field: Field, widths: tuple[int, ...]) -> Student:
    """Return the teacher without all but the units of the largest norm, of weights in and out, per layer."""
    student = as_student(field)
    masks = {}
    for group, width in zip(find_groups(student.network), widths, strict=True):
        norms = unit_norms(student.network, group)
        masks[group.name] = torch.zeros_like(norms, dtype=torch.bool)
        masks[group.name][norms.topk(width).indices] = True
    smaller = shrink(student.network, masks)
    assert isinstance(smaller, nn.Sequential)
    student.network = smaller
    return student


def group_norm(field: Field, widths: tuple[int, ...]) -> Student:
    """Return what Torch-Pruning's group-norm pruner leaves of the teacher after training with its penalty."""
    import torch_pruning as tp

    student = as_student(field)
    example = torch.zeros(1, field.runner.spaces.observation)
    layers = [module for module in student.network if isinstance(module, nn.Linear)]
    pruner = tp.pruner.GroupNormPruner(
        student.network,
        example,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio_dict={
            layer: 1.0 - (width + 0.5) / layer.out_features for layer, width in zip(layers, widths, strict=False)
        },
        ignored_layers=[layers[-1]],
        iterative_steps=1,
    )
    pruner.update_regularizer()
    student.fit(lessons_of(field), SPARSE_BATCHES, after_backward=lambda: pruner.regularize(student.network))
    pruner.step()
    assert student.hidden == widths, (student.hidden, widths)
    return student


RIVALS: dict[str, Callable[[Field, tuple[int, ...]], Student]] = {
    "distillation from scratch": from_scratch,
    "magnitude, one shot": magnitude,
    "Torch-Pruning, group norm": group_norm,
}


def run_one(env_id: str, seed: int) -> None:
    """Run the search and its rivals once."""
    torch.set_num_threads(1)
    field = Field(env_id, seed)
    began = time.monotonic()
    point = searched(field)
    seconds = round(time.monotonic() - began, 1)
    own = field.fresh.paired([field.runner.play(deployed(point.actor, field.runner.spaces), s).total for s in EPISODES])
    entry: dict[str, Any] = {
        "env": env_id,
        "seed": seed,
        "teacher": float(field.fresh.teacher.mean()),
        "random": float(field.fresh.random.mean()),
        "widths": list(point.hidden),
        "parameters": point.parameters,
        "batches": point.batches,
        "tuning_steps": point.tuning_steps,
        "good": point.good,
        "search": {"retention": own.retention, "seconds": seconds},
        "rivals": {},
    }
    for name, make in RIVALS.items():
        began = time.monotonic()
        student = make(field, point.hidden)
        student, reached = imitate(field, student, point.batches)
        imitated = field.retention_of(student)
        better = tuned(field, student, reached, point.tuning_steps) if point.tuning_steps else student
        entry["rivals"][name] = {
            "imitation": imitated,
            "tuned": field.retention_of(better) if point.tuning_steps else imitated,
            "seconds": round(time.monotonic() - began, 1),
        }
        print(env_id, seed, point.hidden, own.retention, name, entry["rivals"][name], flush=True)
    field.worker.close()
    write_atomically(_file(env_id, seed), json.dumps(entry).encode())


def _file(env_id: str, seed: int) -> Path:
    return RUNS / f"{env_id}-seed{seed}.json"


def finished(env_id: str, seed: int) -> dict[str, Any] | None:
    """Return what a run came to, here or in the committed result."""
    if _file(env_id, seed).exists():
        return dict(json.loads(_file(env_id, seed).read_text()))
    committed = (read_result("compression_rivals") or {"runs": []})["runs"]
    return next((dict(run) for run in committed if (run["env"], run["seed"]) == (env_id, seed)), None)


def run_job(job: tuple[str, int], _: Context) -> None:
    """Run one as a job of an executor."""
    run_one(*job)


def run_all(jobs: Sequence[tuple[str, int]], workers: int | None) -> None:
    """Run what is not done, so many at a time in processes of one thread each."""
    RUNS.mkdir(parents=True, exist_ok=True)
    wrong = []
    with executor_named("processes", workers) as executor:
        waiting = {f"{env_id}, {seed}": (env_id, seed) for env_id, seed in jobs if finished(env_id, seed) is None}
        for name, job in waiting.items():
            executor.submit(Job(name=name, function=run_job, argument=job))
        while waiting:
            for event in executor.events(60.0):
                match event:
                    case Finished(name=name):
                        print(time.strftime("%H:%M:%S"), name, flush=True)
                        del waiting[name]
                    case Failed(name=name, error=error):
                        print(f"{name}: {error}", flush=True)
                        wrong.append(name)
                        del waiting[name]
                    case _:
                        pass
    if wrong:
        raise SystemExit(f"{len(wrong)} runs failed: {'; '.join(wrong)}")


def collect() -> None:
    """Write the committed result from what is done; says what is missing."""
    found = {(env_id, seed): finished(env_id, seed) for seed in SEEDS for env_id in DEVELOPMENT}
    missing = [f"{env_id}-seed{seed}" for (env_id, seed), run in found.items() if run is None]
    command = "; ".join(f"python benchmarks/compression_rivals.py {stage}" for stage in ("run", "collect"))
    entries = {"missing": missing, "runs": [run for run in found.values() if run]}
    print(write_result("compression_rivals", command, entries), f"{len(missing)} runs missing")


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["run", "collect"])
    parser.add_argument("--env", choices=DEVELOPMENT, action="append", help="only this one")
    parser.add_argument("--seed", type=int, action="append", help="only this one")
    parser.add_argument("--workers", type=int, help="runs at a time; by default one per core")
    arguments = parser.parse_args()
    jobs = [(env_id, seed) for seed in arguments.seed or SEEDS for env_id in arguments.env or DEVELOPMENT]
    if arguments.stage == "run":
        run_all(jobs, arguments.workers)
    else:
        collect()


if __name__ == "__main__":
    main()
