"""The result of a compression, in words and as plain data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any, final

from prunekit.compression.candidates import Candidate
from prunekit.compression.teacher import Teacher
from prunekit.console import size_name
from prunekit.disturbances.record import Disturbance
from prunekit.stats.certificate import Certificate, Verdict
from prunekit.stats.claim import counted
from prunekit.versions import installed_versions

# With less of a core than this, a worker had to share it.
_WHOLE = 0.8
_ON_RECORD = (
    "teacher", "certified", "certificate", "disturbance", "observation_deviation", "versions", "seconds",
)  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class Compressed:
    """The result. ``chosen`` is the smallest certified network, or the largest that was tested if none was certified.

    ``failures`` say where the environment failed under students, and with what consequence. ``core_share`` is the share
    of a core that a worker had while it worked. A copy of the teacher would need ``own_copy_wanted`` episodes for a
    certificate, and ``episodes_allowed`` are allowed. With a budget of steps it is not ``is_timed``, and plain data
    leave out times, so that they are the same on any machine. ``learned_in`` says where students learned and were
    selected if that was not the environment itself. Everything was played under ``disturbance``; its noise is relative
    to ``observation_deviation`` [obs].
    """

    teacher: Teacher
    environment: dict[str, Any]
    points: tuple[Candidate, ...]
    certificates: tuple[Certificate, ...]
    chosen: Candidate
    certificate: Certificate
    seconds: float
    steps: int
    failures: tuple[str, ...] = ()
    core_share: float = 1.0
    own_copy_wanted: float = 0.0
    episodes_allowed: int = 0
    is_timed: bool = True
    learned_in: dict[str, Any] | None = None
    disturbance: Disturbance = field(default_factory=Disturbance)
    observation_deviation: tuple[float, ...] | None = None

    @property
    def certified(self) -> bool:
        """Whether the chosen network is certified to keep the return."""
        return self.certificate.certified

    @property
    def summary(self) -> str:
        """One line: the chosen network, its retention, and what it took."""
        size, chosen = self.teacher.size, self.chosen
        whole = "" if size is None else f" of the teacher's {size.parameters:,}"
        before = "" if size is None or size.hidden is None else f"{size_name(size.hidden)} -> "
        entry = self.certificate
        kept = "not known" if entry.retention is None else f"{entry.retention:.3f}"
        shown = f"{'certified' if self.certified else 'not certified'} to be at least {entry.claim.keep:g}"
        return (
            f"hidden {before}{size_name(chosen.hidden)}, {chosen.parameters:,} parameters{whole}, retention {kept} "
            f"({shown} with 95% confidence, {counted(len(entry.episodes), 'fresh episode')}), {self.seconds:.0f} s"
        )

    @property
    def busy(self) -> str:
        """A line that says that the machine was busy; empty if it was not."""
        if not self.is_timed or self.core_share >= _WHOLE:
            return ""
        return (
            f"the machine was busy, or the environment waits: a worker had only {self.core_share:.0%} of a core, so "
            "fewer networks and episodes were tried than on an idle machine"
        )

    @property
    def failure(self) -> str:
        """Why nothing was certified, and what to change; ``busy`` may be another reason."""
        entry, bound = self.certificate, self.certificate.lower_bound
        if self.own_copy_wanted > self.episodes_allowed > 0:
            wanted = self.own_copy_wanted
            about = "more than can be estimated" if math.isinf(wanted) else f"about {wanted:,.0f}"
            return (
                f"not even a copy of the teacher could be certified at {entry.claim.keep:g} in the "
                f"{counted(self.episodes_allowed, 'episode')} allowed: it would take {about}; give it more "
                "`episodes`, or a lower `keep`"
            )
        episodes = counted(len(entry.episodes), "fresh episode")
        if bound is not None:
            reached = f"reached a lower bound of {bound:.3f}"
        elif entry.retention is not None:
            reached = f"kept {entry.retention:.3f} in {episodes}, too few for a lower bound"
        else:
            reached = f"has no known retention after {episodes}"
        budget = "minutes" if self.is_timed else "steps"
        if not any(point.good for point in self.points):
            best = max(point.retention for point in self.points)
            advice = f"give it more `{budget}`" + (" or a lower `keep`" if best < entry.claim.keep else "")
            return (
                f"no network was shown to be good enough to be certified at {entry.claim.keep:g}; the best, hidden "
                f"{entry.name}, {reached}; {advice}"
            )
        what = f"nothing was certified at {entry.claim.keep:g}; the largest tested, hidden {entry.name},"
        low, maximum = entry.claim.clip_range.low, entry.claim.max_failures
        if maximum is not None and entry.below.upper > maximum:
            reached += f", and {entry.below.happened} of its episodes earned less than {low:g}"
        if entry.failure:
            return f"{what} could not be tested to the end: {entry.failure}"
        match entry.verdict:
            case Verdict.UNDECIDED:
                within = "" if bound is None else f" in {episodes}"
                limit = "episodes" if len(entry.episodes) >= self.episodes_allowed > 0 else budget
                return f"{what} {reached}{within}; give it more `{limit}`"
            case _:
                return f"{what} {reached}; give a lower `keep`"

    @property
    def provenance(self) -> dict[str, Any]:
        """What the policy's files record about it, as plain data: its environment and its certificate."""
        found = self.to_json()
        return {"env": self.environment, "compact": True, **{name: found[name] for name in _ON_RECORD}}

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data: the certificates with all returns, and every network that was judged."""
        size, deviation = self.teacher.size, self.observation_deviation
        return {
            "env": self.environment,
            "learned_in": self.learned_in,
            "disturbance": self.disturbance.to_json(),
            "observation_deviation": None if deviation is None else list(deviation),
            "teacher": {
                "name": _published(self.teacher.name),
                "size": None if size is None else asdict(size),
                "notes": list(self.teacher.notes),
            },
            "certified": self.certified,
            "hidden": list(self.chosen.hidden),
            "parameters": self.chosen.parameters,
            "tuned": self.chosen.tuned,
            "certificate": self.certificate.to_json(),
            "tested": [certificate.to_json() for certificate in self.certificates],
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
            "seconds": round(self.seconds, 1) if self.is_timed else None,
            "core_share": round(self.core_share, 3) if self.is_timed else None,
            "environment_steps": self.steps,
            "versions": installed_versions(),
        }


def _published(name: str) -> str:
    """Return a teacher's name as it may be published: without the folders of an absolute path."""
    path = PurePath(name)
    return path.name if path.is_absolute() else name
