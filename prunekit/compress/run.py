"""Compress: search on some seeds, certify on others, write the smallest network that passed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
import torch

from prunekit.bench.betting import Paired, span_of
from prunekit.bench.stats import Array
from prunekit.compress.arena import exported
from prunekit.compress.certify import ALPHA, LEAST_EPISODES, Candidate, Certificate, Returns, Verdict, certify
from prunekit.compress.confirm import confirmed
from prunekit.compress.points import LEAST_PLAYED, Baseline, Judged, Point
from prunekit.compress.settings import FIRST_SEED, SearchSettings
from prunekit.compress.teacher import Teacher
from prunekit.compress.workers import Crew, Site
from prunekit.console import size_name
from prunekit.environments import id_of
from prunekit.errors import InputError
from prunekit.export.onnx import export_onnx
from prunekit.files import write_atomically
from prunekit.policy.artifact import make_artifact, save
from prunekit.versions import installed_versions

# The search leaves time for so many paired episodes.
_EPISODES_LEFT = 400
# And takes at least so much of its own time.
_LEAST_SEARCH = 0.6
# Of what is left after the search, the share that the second look may take.
_LOOKING = 0.4
# Shares of the level: of the smallest network, and of the larger one in case that it fails.
_SHARES = (0.03, 0.02)
# Of the time for certificates, what the smallest leaves the larger one.
_RESERVED = 0.3


@final
@dataclass(frozen=True)
class CompressSettings:
    """How to search, and what the certificate may take.

    Its episodes have seeds from ``first_seed`` on, ``episodes`` of them at most per size. After ``seconds``, the search
    included, it ends with what it has. Raises InputError for values out of range.
    """

    search: SearchSettings = field(default_factory=SearchSettings)
    episodes: int = 500
    first_seed: int = 3_000_000
    seconds: float = 300.0

    def __post_init__(self) -> None:
        if self.episodes < LEAST_EPISODES:
            raise InputError(f"--episodes must be at least {LEAST_EPISODES}, got {self.episodes}")
        if not 0 <= self.first_seed <= FIRST_SEED - self.episodes:
            raise InputError(
                f"first_seed must lie between 0 and {FIRST_SEED - self.episodes}: others are searched with"
            )


class CompressDisplay(Protocol):
    """Shows a compression to somebody."""

    def started(self, dense: float, random: float) -> None:
        """Show the teacher's mean return and the random policy's."""

    def judged(self, points: Sequence[Judged]) -> None:
        """Show the networks judged so far."""

    def confirming(self, name: str, episodes: int) -> None:
        """Show that a size has played so many episodes of its second look."""

    def certifying(self, name: str, episodes: int) -> None:
        """Show that a size has played so many episodes of its certificate."""


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
                f"no network was good enough to be certified at {entry.keep:g}; the best, {entry.name}, "
                f"reached {reached}; give it more --minutes or a lower --keep"
            )
        advice = "give it more --minutes or --episodes" if entry.verdict is Verdict.UNDECIDED else "give a lower --keep"
        return f"nothing was certified at {entry.keep:g}; the largest tested, {entry.name}, reached {reached}; {advice}"

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
        baseline, pace = _played(dense, random, settings.search.selection_seeds)
        baseline.require_a_policy(crew.post.teacher.name)
        for display in displays:
            display.started(float(baseline.dense.mean()), float(baseline.random.mean()))
        points = _searched(crew, settings.search, baseline, began + search_seconds(settings, pace), displays)
        end = began + settings.seconds
        looked = time.monotonic() + _LOOKING * max(end - time.monotonic(), 0.0)

        def looking(point: Point, episodes: int) -> None:
            for display in displays:
                display.confirming(size_name(point.hidden), episodes)

        def progress(name: str, episodes: int) -> None:
            for display in displays:
                display.certifying(name, episodes)

        candidates = confirmed(
            points,
            lambda point: crew.returns_of(exported(point.actor)),
            dense,
            random,
            settings.search.confirmation_seeds,
            settings.search.keep,
            settings.search.margin,
            lambda: time.monotonic() > looked,
            looking,
        ) or [best_of(points)]

        shares = _SHARES if len(candidates) > 1 else (ALPHA,)
        first_end = end - (_RESERVED * max(end - time.monotonic(), 0.0) if len(candidates) > 1 else 0.0)
        found = certify(
            [
                Candidate(size_name(point.hidden), crew.returns_of(exported(point.actor)), point.played, share)
                for point, share in zip(candidates, shares, strict=True)
            ],
            dense,
            random,
            settings.search.keep,
            range(settings.first_seed, settings.first_seed + settings.episodes),
            span_of(returns_that_count(baseline, points, candidates)),
            progress,
            lambda index: time.monotonic() > (end if index else first_end),
        )
        index = len(found) - 1  # the one that was certified, or the largest
        return Compressed(
            crew.post.teacher,
            {"id": id_of(crew.post.arena.environment), "kwargs": dict(site.kwargs)},
            tuple(points),
            tuple(found),
            candidates[index],
            found[index],
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
    longest = settings.search.seconds
    return max(min(longest, settings.seconds - _EPISODES_LEFT * pace), _LEAST_SEARCH * longest)


def returns_that_count(baseline: Baseline, points: Sequence[Point], candidates: Sequence[Point]) -> list[Array]:
    """Return what was earned so far, except by networks worse than the random policy.

    These may lose without bound, which says nothing of the ones that work.
    """
    found = [baseline.dense, baseline.random, *(point.played.small for point in points if point.retention > 0.0)]
    for point in candidates:
        found += [point.played.small, point.played.dense, point.played.random]
    return found


def best_of(points: Sequence[Point]) -> Point:
    """Return the point of the largest retention, if possible of those that have played enough for it to be no luck."""
    return max(points, key=lambda point: (len(point.played) >= LEAST_PLAYED, point.retention))


def _played(dense: Returns, random: Returns, seeds: Sequence[int]) -> tuple[Baseline, float]:
    """Return what teacher and random policy earn on ``seeds``, and the seconds that an episode of a certificate takes.

    That is one of a third policy too, which plays about as long as the teacher if it works.
    """
    dense(seeds[0])  # from now on the workers are there
    clock, found = [time.monotonic()], []
    for returns in (dense, random):
        found.append(np.array([returns(seed) for seed in seeds]))
        clock.append(time.monotonic())
    return Baseline(*found), (2.0 * (clock[1] - clock[0]) + clock[2] - clock[1]) / len(seeds)


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
