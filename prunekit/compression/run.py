"""Compress: search on some seeds, certify on others, write the smallest network that passed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from prunekit.cards.card import card_of_compression
from prunekit.compression.arena import exported
from prunekit.compression.points import Baseline, Judged, Searched
from prunekit.compression.result import Compressed
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.teacher import Teacher
from prunekit.compression.trial import CompressDisplay, Players, trial
from prunekit.compression.workers import Crew, Site
from prunekit.environments import Spaces, id_of
from prunekit.errors import FailedEpisodeError
from prunekit.export.onnx import checked_onnx
from prunekit.files import json_text, write_together
from prunekit.policy.artifact import make_artifact, to_bytes
from prunekit.stats.certify import Returns

FILES = ("policy.onnx", "policy.pt", "README.md", "certificate.json")
"""What ``write`` writes."""
# The search leaves time for so many paired episodes, but takes at least and at most these shares of all the time.
_EPISODES_LEFT = 400
_MIN_SEARCH, _MAX_SEARCH = 0.51, 0.85
# The share that the teacher's episodes for the selection may take, if they are so many at least.
_BASELINE, _MIN_BASELINE = 0.1, 10


def compress(
    site: Site, settings: CompressSettings, displays: Sequence[CompressDisplay] = (), *, workers: int = 1
) -> Compressed:
    """Return the smallest network found that keeps enough of the teacher's return, and its certificate.

    Every one of ``workers`` runs on one thread; with more than one, they are processes of their own.
    Raises InputError for a teacher whose answers cannot be used or that is no better than the random policy, and for
    arguments of the environment that a certificate cannot name; FailedEpisodeError where the environment fails under
    the teacher, or under every student before it was judged.
    """
    began = time.monotonic()
    json_text(dict(site.kwargs), "what the environment is made with")
    torch.set_num_threads(1)
    with Crew(site, workers) as crew:
        crew.post.teacher.probe()
        dense, random = crew.returns_of("teacher"), crew.returns_of("random")
        baseline, pace = _played(dense, random, settings.search.selection_seeds, _BASELINE * settings.seconds)
        baseline.require_a_policy(crew.post.teacher.name, settings.clip_range)
        starts = fitting(settings.search.starts, crew.post.teacher)
        search = replace(settings.search, selection_episodes=len(baseline.teacher), starts=starts)
        for display in displays:
            display.started(float(baseline.teacher.mean()), float(baseline.random.mean()))
        branches = _searched(crew, search, baseline, began + search_seconds(settings, pace), displays)
        points = [point for branch in branches for point in branch.points]
        failures = [f"a branch of the search ended early: {branch.failure}" for branch in branches if branch.failure]
        if not points:
            raise FailedEpisodeError(next(branch.failure for branch in branches if branch.failure))
        returns = Players(returns_of=lambda point: crew.returns_of(exported(point.actor)), teacher=dense, random=random)
        tried = trial(points, baseline, returns, settings, began + settings.seconds, displays, failures.append)
        chosen, certificate = tried[-1]  # the one that was certified, or the largest
        return Compressed(
            teacher=crew.post.teacher,
            environment={"id": id_of(crew.post.arena.environment), "kwargs": dict(site.kwargs)},
            points=tuple(points),
            certificates=tuple(entry for _, entry in tried),
            chosen=chosen,
            certificate=certificate,
            seconds=time.monotonic() - began,
            steps=crew.steps,
            failures=tuple(failures),
            core_share=crew.core_share,
        )


def fitting(starts: Sequence[tuple[int, ...]], teacher: Teacher) -> tuple[tuple[int, ...], ...]:
    """Return those of ``starts`` that have no more weights than the teacher, the smallest where all have more.

    All of them where the teacher's weights cannot be counted.
    """
    sizes = [_parameters(hidden, teacher.spaces) for hidden in starts]
    maximum = max(min(sizes), _weights_of(teacher))
    return tuple(hidden for hidden, size in zip(starts, sizes, strict=True) if size <= maximum)


def _weights_of(teacher: Teacher) -> float:
    """Return how many weights the teacher has; infinity where its layers do not explain those that were counted.

    Files may keep some where no rule finds them.
    """
    size, width = teacher.size, teacher.spaces.observation
    if size is None or size.hidden is None:
        return math.inf
    minimum = _parameters(size.hidden, teacher.spaces, biases=False)
    maximum = _parameters(size.hidden, teacher.spaces) + 4 * width  # with a normalizer, and room for its clip
    return size.parameters if minimum <= size.parameters <= maximum else math.inf


def _parameters(hidden: tuple[int, ...], spaces: Spaces, *, biases: bool = True) -> int:
    widths = (spaces.observation, *hidden, spaces.outputs)
    return sum((before + biases) * after for before, after in pairwise(widths))


def write(result: Compressed, folder: Path) -> list[Path]:
    """Write ``policy.onnx``, ``policy.pt`` and ``certificate.json`` to ``folder``; return their paths.

    A model card lies beside them, ``README.md``, unless there is one that is not prunekit's.

    The policy's provenance, which the ONNX file carries as metadata, holds the certificate with seeds and returns. All
    are written or none, the certificate last: that of another policy never lies beside this one. Raises InputError
    where they cannot be written.
    """
    found = result.to_json()
    summary = {name: found[name] for name in ("teacher", "certified", "certificate", "versions", "seconds")}
    provenance = {"env": result.environment, "compact": True, **summary}
    artifact = make_artifact(result.chosen.actor, None, provenance)
    onnx, pt, _, certificate = (folder / name for name in FILES)
    content, _ = checked_onnx(artifact.actor, onnx, provenance)
    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    card = card_of_compression(found, folder)
    write_together({onnx: content, pt: to_bytes(artifact), **card, certificate: text.encode()})
    return [onnx, pt, certificate]


def search_seconds(settings: CompressSettings, pace: float) -> float:
    """Return how long to search where an episode of a certificate takes ``pace`` seconds."""
    left = settings.seconds - _EPISODES_LEFT * pace
    return max(min(_MAX_SEARCH * settings.seconds, left), _MIN_SEARCH * settings.seconds)


def _played(dense: Returns, random: Returns, seeds: Sequence[int], seconds: float) -> tuple[Baseline, float]:
    """Return what teacher and random policy earn on ``seeds``, and the seconds that an episode of a certificate takes.

    That is one of a third policy too, which plays about as long as the teacher if it works. Seeds that the teacher does
    not get to in so many ``seconds`` are left out, all but a few.
    """
    dense(seeds[0])  # from now on the workers are there
    began, large = time.monotonic(), []
    for seed in seeds:
        large.append(dense(seed))
        if len(large) >= _MIN_BASELINE and time.monotonic() - began > seconds:
            break
    between = time.monotonic()
    none = [random(seed) for seed in seeds[: len(large)]]
    pace = (2.0 * (between - began) + time.monotonic() - between) / len(large)
    return Baseline(teacher=np.array(large), random=np.array(none)), pace


def _searched(
    crew: Crew, settings: SearchSettings, baseline: Baseline, deadline: float, displays: Sequence[CompressDisplay]
) -> list[Searched]:
    points: list[Judged] = []

    def judged(point: Judged) -> None:
        points.append(point)
        for display in displays:
            display.judged(points)

    return crew.search(settings, baseline, deadline, judged)
