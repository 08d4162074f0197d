"""Compress: search on some seeds, certify on others, write the smallest network that passed."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prunekit.adapters.envpool import EnvPoolRunner
from prunekit.cards.card import card_of_compression
from prunekit.compression.budget import Budget, budget_of
from prunekit.compression.candidates import Baseline, CandidateSummary, own_copy_wants
from prunekit.compression.planning import Pace, Played, pace_of
from prunekit.compression.result import Compressed
from prunekit.compression.search import Search
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.sizes import parameters_of
from prunekit.compression.task import Task
from prunekit.compression.teacher import Teacher
from prunekit.compression.trial import CompressDisplay, Players, TrialSettings, claim_of
from prunekit.compression.trials import trials
from prunekit.compression.workers import WorkerPool
from prunekit.environments import id_of
from prunekit.errors import FailedEpisodeError
from prunekit.export.onnx import checked_onnx
from prunekit.files import json_text, write_together
from prunekit.policy.artifact import make_artifact, to_bytes
from prunekit.stats.certify import Returns

FILES = ("policy.onnx", "policy.pt", "README.md", "certificate.json")
"""What ``write`` writes."""
# The share that the teacher's episodes for the selection may take, if they are so many at least.
_BASELINE, _MIN_BASELINE = 0.1, 10
# The same of all that it plays alone, up to so many times as many, until its mean is known to this share of its gain.
_MORE_BASELINE, _MAX_BASELINE, _PRECISE = 0.2, 5, 0.02


def compress(
    task: Task,
    settings: CompressSettings,
    displays: Sequence[CompressDisplay] = (),
    *,
    workers: int = 1,
    engine: str | None = None,
    address: str | None = None,
    max_batch: int = 16,
) -> Compressed:
    """Return the smallest network found that keeps enough of the teacher's return, and its certificate.

    Every one of ``workers`` runs on one thread; with more than one, they are processes of their own, or where
    ``engine`` and ``address`` say (``prunekit/executors``). Up to ``max_batch`` episodes are played in lockstep.
    Raises InputError for a teacher whose answers cannot be used or that is no better than the random policy, and for
    arguments of the environment that a certificate cannot name; FailedEpisodeError where the environment fails under
    the teacher, or under every student before it was judged.
    """
    began = time.monotonic()
    json_text(dict(task.kwargs), "what the environment is made with")
    torch.set_num_threads(1)
    budget = budget_of(settings, lambda: pool.steps)
    task = replace(task, disturbance=settings.disturbance)
    with WorkerPool(task, workers, engine, address, max_batch) as pool:
        teacher = pool.worker.teacher
        teacher.probe()
        dense, random = pool.returns_of("teacher"), pool.returns_of("random")
        baseline, pace = _played(dense, random, settings.search.selection_seeds, budget, lambda: pool.steps)
        baseline.require_a_policy(teacher.name, settings.clip_range)
        selecting = _selecting(pool, settings.search.selection_seeds) if task.fast else baseline
        starts = fitting(settings.search.starts, teacher)
        searching = replace(settings.search, selection_episodes=_both(selecting, settings.search), starts=starts)
        claim = claim_of(settings, baseline)
        settings = replace(settings, search=searching, clip_range=claim.clip_range)
        for display in displays:
            display.started(float(baseline.teacher.mean()), float(baseline.random.mean()))
        search = Search(pool, settings, selecting, claim.clip_range, budget, pace, _shown_to(displays))
        search.go()
        if not search.candidates:
            raise FailedEpisodeError(next(iter(search.failures)))
        players = Players(
            returns_of=lambda point: pool.returns_of(pickle.dumps(point.actor)), teacher=dense, random=random
        )
        skipped: list[str] = []
        trying = TrialSettings(
            baseline=selecting,
            players=players,
            settings=settings,
            plan=search.plan,
            displays=displays,
            noted=skipped.append,
        )
        tried = trials(search, trying)
        points = search.candidates
        failures = [*(f"a branch of the search ended early: {failure}" for failure in search.failures), *skipped]
        chosen, certificate = tried[-1]
        if pool.worker.own.note:
            failures.append(pool.worker.own.note)
        return Compressed(
            teacher=teacher,
            environment={"id": id_of(pool.worker.own.environment), "kwargs": dict(task.kwargs)},
            points=tuple(points),
            certificates=tuple(entry for _, entry in tried),
            chosen=chosen,
            certificate=certificate,
            seconds=time.monotonic() - began,
            steps=pool.steps,
            failures=tuple(failures),
            core_share=pool.core_share,
            own_copy_wanted=own_copy_wants(baseline, claim.keep, claim.clip_range),
            episodes_allowed=settings.episodes,
            is_timed=settings.steps is None,
            learned_in=_learned_in(pool),
            disturbance=settings.disturbance,
            observation_deviation=pool.worker.task.deviation,
        )


def fitting(starts: Sequence[tuple[int, ...]], teacher: Teacher) -> tuple[tuple[int, ...], ...]:
    """Return those of ``starts`` that have no more parameters than the teacher, the smallest where all have more.

    All of them where the teacher's parameters cannot be counted.
    """
    sizes = [parameters_of(hidden, teacher.spaces.observation, teacher.spaces.outputs) for hidden in starts]
    maximum = max(min(sizes), _parameters_of(teacher))
    return tuple(hidden for hidden, size in zip(starts, sizes, strict=True) if size <= maximum)


def _parameters_of(teacher: Teacher) -> float:
    """Return how many parameters the teacher has; infinity where its layers do not explain those that were counted.

    Files may keep some where no rule finds them.
    """
    size, width, outputs = teacher.size, teacher.spaces.observation, teacher.spaces.outputs
    if size is None or size.hidden is None:
        return math.inf
    minimum = parameters_of(size.hidden, width, outputs, biases=False)
    maximum = parameters_of(size.hidden, width, outputs) + 4 * width  # with a normalizer, and room for its clip
    return size.parameters if minimum <= size.parameters <= maximum else math.inf


def write(result: Compressed, folder: Path) -> list[Path]:
    """Write ``policy.onnx``, ``policy.pt`` and ``certificate.json`` to ``folder``; return their paths.

    A model card lies beside them, ``README.md``, unless there is one that is not prunekit's.

    The policy's provenance, which the ONNX file carries as metadata, holds the certificate with seeds and returns. All
    are written or none, the certificate last: that of another policy never lies beside this one. Raises InputError
    where they cannot be written.
    """
    found, provenance = result.to_json(), result.provenance
    artifact = make_artifact(result.chosen.actor, None, provenance)
    onnx, pt, _, certificate = (folder / name for name in FILES)
    content, _ = checked_onnx(artifact.actor, onnx, provenance)
    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    card = card_of_compression(found, folder)
    write_together({onnx: content, pt: to_bytes(artifact), **card, certificate: text.encode()})
    return [onnx, pt, *card, certificate]


def _played(
    dense: Returns, random: Returns, seeds: Sequence[int], budget: Budget, steps: Callable[[], int]
) -> tuple[Baseline, Pace]:
    """Return what teacher and random policy earn on ``seeds``, and what an episode of theirs takes.

    Seeds that the teacher does not get to in its share of the budget are left out, all but a few. While its mean is not
    known well enough, the teacher goes on alone, on seeds that follow, for as long again.
    """
    dense(seeds[0])  # from now on the workers are there
    began, first, large = budget.spent(), steps(), list[float]()
    for seed in seeds:
        large.append(dense(seed))
        if len(large) >= _MIN_BASELINE and budget.spent() - began > _BASELINE * budget.total:
            break
    between, second, count = budget.spent(), steps(), len(large)
    none = [random(seed) for seed in seeds[:count]]
    pace = pace_of(
        Played(episodes=count, steps=second - first, spent=between - began),
        Played(episodes=count, steps=steps() - second, spent=budget.spent() - between),
    )
    while True:
        baseline = Baseline(teacher=np.array(large), random=np.array(none))
        known = baseline.error <= _PRECISE * baseline.gain or baseline.error == 0.0
        if known or baseline.gain <= 0.0 or len(large) >= _MAX_BASELINE * len(seeds):
            return baseline, pace
        if budget.spent() - began > _MORE_BASELINE * budget.total:
            return baseline, pace
        large.append(dense(seeds[0] + len(large)))


def _both(selecting: Baseline, search: SearchSettings) -> int:
    """Return how many episodes a student plays in the selection at most: those of the teacher, and no more."""
    return min(search.selection_episodes, len(selecting.teacher))


def _selecting(pool: WorkerPool, seeds: Sequence[int]) -> Baseline:
    """Return what teacher and random policy earn on ``seeds`` where students are selected."""
    large, none = (pool.returns_of(policy, selecting=True) for policy in ("teacher", "random"))
    return Baseline(teacher=np.array([large(seed) for seed in seeds]), random=np.array([none(seed) for seed in seeds]))


def _learned_in(pool: WorkerPool) -> dict[str, Any] | None:
    """Return where students learned and were selected, None where that was the user's own environment."""
    runner = pool.worker.runner
    if not isinstance(runner, EnvPoolRunner):
        return None
    return {
        "library": "EnvPool",
        "version": runner.version,
        "environment": runner.twin_id,
        "for": ["demonstrations", "lessons", "fine-tuning", "selection"],
        "steps": pool.steps - pool.own_steps,
    }


def _shown_to(displays: Sequence[CompressDisplay]) -> Callable[[Sequence[CandidateSummary]], None]:
    def show(candidates: Sequence[CandidateSummary]) -> None:
        for display in displays:
            display.judged(candidates)

    return show
