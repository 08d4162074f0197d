"""Compress: search on some seeds, certify on others, write the smallest network that passed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from prunekit.bench.betting import Paired
from prunekit.compress.arena import exported
from prunekit.compress.certify import Certificate, Returns, Verdict
from prunekit.compress.points import Baseline, Judged, Point
from prunekit.compress.settings import CompressSettings, SearchSettings
from prunekit.compress.teacher import Teacher
from prunekit.compress.trial import CompressDisplay, Players, trial
from prunekit.compress.workers import Crew, Site
from prunekit.console import size_name
from prunekit.environments import id_of
from prunekit.export.onnx import export_onnx
from prunekit.files import write_atomically
from prunekit.policy.artifact import make_artifact, save
from prunekit.versions import installed_versions

# The search leaves time for so many paired episodes, but takes at least and at most these shares of all the time.
_EPISODES_LEFT = 400
_LEAST_SEARCH, _MOST_SEARCH = 0.51, 0.85
# The share that the teacher's episodes for the selection may take, if they are so many at least.
_BASELINE, _LEAST_BASELINE = 0.1, 10


@final
@dataclass(frozen=True)
class Compressed:
    """What came out. ``chosen`` is the smallest certified network, or the largest tested where none was."""

    teacher: Teacher
    environment: dict[str, Any]
    points: tuple[Point, ...]
    certificates: tuple[Certificate, ...]
    chosen: Point
    certificate: Certificate
    seconds: float
    steps: int

    @property
    def certified(self) -> bool:
        """Whether the chosen network keeps the return, with confidence."""
        return self.certificate.verdict is Verdict.CERTIFIED

    @property
    def summary(self) -> str:
        """One line: what came out, how much of the return it keeps, and what it took."""
        size, chosen = self.teacher.size, self.chosen
        whole = "" if size is None else f" of the teacher's {size.parameters:,}"
        before = "" if size is None or size.hidden is None else f"{size_name(size.hidden)} -> "
        entry = self.certificate
        kept = "not known" if entry.retention is None else f"{entry.retention:.3f}"
        shown = f"{'certified' if self.certified else 'not certified'} to be at least {entry.keep:g}"
        return (
            f"hidden {before}{size_name(chosen.hidden)}, {chosen.parameters:,} weights{whole}, retention {kept} "
            f"({shown} with 95% confidence, {len(entry.episodes)} fresh episodes), {self.seconds:.0f} s"
        )

    @property
    def failure(self) -> str:
        """Why nothing was certified."""
        entry, bound = self.certificate, self.certificate.lower_bound
        reached = "no bound" if bound is None else f"a lower bound of {bound:.3f}"
        if not any(point.good for point in self.points):
            return (
                f"no network was good enough to be certified at {entry.keep:g}; the best, hidden {entry.name}, "
                f"reached {reached}; give it more --minutes or a lower --keep"
            )
        what = f"nothing was certified at {entry.keep:g}; the largest tested, hidden {entry.name},"
        match entry.verdict:
            case Verdict.RUINED:
                return (
                    f"{what} lost more in one episode than is possible by all that the search had seen; "
                    "try another --seed, which may find a network that does not fail like this"
                )
            case Verdict.UNDECIDED:
                return f"{what} reached {reached}; give it more --minutes or --episodes"
            case _:
                return f"{what} reached {reached}; give a lower --keep"

    def to_json(self) -> dict[str, Any]:
        """Return plain data: certificates with all returns, and the frontier."""
        size = self.teacher.size
        return {
            "env": self.environment,
            "teacher": {"name": self.teacher.name, "size": None if size is None else asdict(size)},
            "certified": self.certified,
            "hidden": list(self.chosen.hidden),
            "parameters": self.chosen.parameters,
            "tuned": self.chosen.tuned,
            "certificate": certificate_json(self.certificate),
            "tested": [certificate_json(certificate) for certificate in self.certificates],
            "frontier": [
                {
                    "hidden": list(point.hidden),
                    "parameters": point.parameters,
                    "episodes": len(point.played),
                    "retention": point.retention,
                    "good": point.good,
                    "tuned": point.tuned,
                    "batches": point.batches,
                    "tuning_steps": point.tuning_steps,
                }
                for point in self.points
            ],
            "seconds": round(self.seconds, 1),
            "environment_steps": self.steps,
            "versions": installed_versions(),
        }


def certificate_json(certificate: Certificate) -> dict[str, Any]:
    """Return a certificate as plain data, with the returns of every episode."""
    return {
        "size": certificate.name,
        "verdict": certificate.verdict.value,
        "keep": certificate.keep,
        "confidence": 1.0 - certificate.alpha,
        "retention": certificate.retention,
        "lower_bound": certificate.lower_bound,
        "episodes": len(certificate.episodes),
        "seeds": list(certificate.seeds),
        "span": certificate.span,
        "returns": _returns_json(certificate.episodes),
        "selection": _returns_json(certificate.before),
    }


def compress(
    site: Site, settings: CompressSettings, displays: Sequence[CompressDisplay] = (), *, workers: int = 1
) -> Compressed:
    """Return the smallest network found that keeps enough of the teacher's return, and its certificate.

    Every one of ``workers`` runs on one thread; with more than one, they are processes of their own.
    Raises InputError for a teacher whose answers cannot be used or that is no better than the random policy.
    """
    began = time.monotonic()
    torch.set_num_threads(1)
    with Crew(site, workers) as crew:
        dense, random = crew.returns_of("teacher"), crew.returns_of("random")
        baseline, pace = _played(dense, random, settings.search.selection_seeds, _BASELINE * settings.seconds)
        baseline.require_a_policy(crew.post.teacher.name)
        search = replace(settings.search, selection_episodes=len(baseline.dense))
        for display in displays:
            display.started(float(baseline.dense.mean()), float(baseline.random.mean()))
        points = _searched(crew, search, baseline, began + search_seconds(settings, pace), displays)
        returns = Players(lambda point: crew.returns_of(exported(point.actor)), dense, random)
        tried = trial(points, baseline, returns, settings, began + settings.seconds, displays)
        chosen, certificate = tried[-1]  # the one that was certified, or the largest
        return Compressed(
            crew.post.teacher,
            {"id": id_of(crew.post.arena.environment), "kwargs": dict(site.kwargs)},
            tuple(points),
            tuple(entry for _, entry in tried),
            chosen,
            certificate,
            time.monotonic() - began,
            crew.steps,
        )


def write(result: Compressed, folder: Path) -> list[Path]:
    """Write ``policy.pt``, ``policy.onnx`` and ``certificate.json`` to ``folder``; return their paths.

    The policy's provenance, which the ONNX file carries as metadata, holds the certificate with seeds and returns.
    """
    found = result.to_json()
    summary = {name: found[name] for name in ("teacher", "certified", "certificate", "versions", "seconds")}
    provenance = {"env": result.environment, "compact": True, **summary}
    artifact = make_artifact(result.chosen.actor, None, provenance)
    (folder / "certificate.json").unlink(missing_ok=True)  # that of another policy must never lie beside this one
    report = export_onnx(artifact.actor, folder / "policy.onnx", provenance)
    save(artifact, folder / "policy.pt")
    write_atomically(folder / "certificate.json", (json.dumps(found, indent=1, allow_nan=False) + "\n").encode())
    return [report.path, folder / "policy.pt", folder / "certificate.json"]


def search_seconds(settings: CompressSettings, pace: float) -> float:
    """Return how long to search where an episode of a certificate takes ``pace`` seconds."""
    left = settings.seconds - _EPISODES_LEFT * pace
    return max(min(_MOST_SEARCH * settings.seconds, left), _LEAST_SEARCH * settings.seconds)


def _played(dense: Returns, random: Returns, seeds: Sequence[int], seconds: float) -> tuple[Baseline, float]:
    """Return what teacher and random policy earn on ``seeds``, and the seconds that an episode of a certificate takes.

    That is one of a third policy too, which plays about as long as the teacher if it works. Seeds that the teacher does
    not get to in so many ``seconds`` are left out, all but a few.
    """
    dense(seeds[0])  # from now on the workers are there
    began, large = time.monotonic(), []
    for seed in seeds:
        large.append(dense(seed))
        if len(large) >= _LEAST_BASELINE and time.monotonic() - began > seconds:
            break
    between = time.monotonic()
    none = [random(seed) for seed in seeds[: len(large)]]
    pace = (2.0 * (between - began) + time.monotonic() - between) / len(large)
    return Baseline(np.array(large), np.array(none)), pace


def _searched(
    crew: Crew, settings: SearchSettings, baseline: Baseline, deadline: float, displays: Sequence[CompressDisplay]
) -> list[Point]:
    points: list[Judged] = []

    def judged(point: Judged) -> None:
        points.append(point)
        for display in displays:
            display.judged(points)

    return crew.search(settings, baseline, deadline, judged)


def _returns_json(episodes: Paired) -> dict[str, list[float]]:
    return {
        name: np.round(values, 4).tolist()
        for name, values in (("small", episodes.small), ("dense", episodes.dense), ("random", episodes.random))
    }
