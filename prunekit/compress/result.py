"""What a compression came to, in words and as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from prunekit.bench.betting import Paired
from prunekit.compress.certify import Certificate, Verdict
from prunekit.compress.points import Point
from prunekit.compress.teacher import Teacher
from prunekit.console import size_name
from prunekit.versions import installed_versions


@final
@dataclass(frozen=True)
class Compressed:
    """What came out. ``chosen`` is the smallest certified network, or the largest tested where none was.

    ``failures`` say where the environment failed under students, and what became of that.
    """

    teacher: Teacher
    environment: dict[str, Any]
    points: tuple[Point, ...]
    certificates: tuple[Certificate, ...]
    chosen: Point
    certificate: Certificate
    seconds: float
    steps: int
    failures: tuple[str, ...] = ()

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
        if entry.failure:
            return f"{what} could not be tested to the end: {entry.failure}"
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
            "failures": list(self.failures),
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
        "failure": certificate.failure,
    }


def _returns_json(episodes: Paired) -> dict[str, list[float]]:
    return {
        name: np.round(values, 4).tolist()
        for name, values in (("small", episodes.small), ("dense", episodes.dense), ("random", episodes.random))
    }
