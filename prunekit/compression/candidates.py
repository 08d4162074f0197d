"""What the search knows: what teacher and random policy earn, and the networks that it judged, its candidates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from prunekit.errors import InputError
from prunekit.policy.actor import Actor
from prunekit.stats.betting import Paired, cautious_growth, growth
from prunekit.stats.bootstrap import Array
from prunekit.stats.claim import ALPHA
from prunekit.stats.clipping import ReturnRange

# Standard errors by which a teacher has to beat the random policy, and a student to miss what is to be kept.
CLEARLY = 2.0
# Bets have to be learned first, and earn less than the best one would have.
_LEARNING = 1.2
# Even a hopeless network plays so many episodes, while there is time: the best must not be a lucky one.
MIN_PLAYED = 4


@final
@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Returns of the teacher [n] on the selection's seeds and on others that follow, and of the random policy [m].

    There are at most as many of the random policy, of the first seeds. Students play on the first seeds, and few of
    them. What their teacher earned there by luck is known from all that it played, and is taken out.
    """

    teacher: Array
    random: Array

    def paired(self, returns: Sequence[float]) -> Paired:
        """Return a student's ``returns`` on the first seeds beside the teacher's and the random policy's, without luck.

        Teacher and random policy have their means over all that they played. The student's luck is the share of the
        teacher's that the episodes have in common, by the slope of its returns on the teacher's (control variates).
        """
        count = len(returns)
        small, teacher = np.asarray(returns, np.float64), self.teacher[:count]
        random = np.full(count, self.random.mean())
        both = min(count, len(self.random))
        if count:
            luck = float(teacher.mean() - self.teacher.mean())
            small, teacher = small - _slope(small, teacher) * luck, teacher - luck
            random[:both] = self.random[:both] - self.random[:both].mean() + self.random.mean()
        return Paired(small=small, teacher=teacher, random=random)

    @property
    def gain(self) -> float:
        """How much more the teacher earns than the random policy, on average."""
        return float(self.teacher.mean() - self.random.mean())

    @property
    def error(self) -> float:
        """The standard error of the teacher's mean; infinity of one episode."""
        count = len(self.teacher)
        return float(self.teacher.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf

    def kept(self, played: Paired) -> Array:
        """Return what the student kept in every episode, of what the teacher gains on average, [n].

        What it has in common with the teacher's return in that episode is taken out; ``played`` is what ``paired``
        returned, or other episodes.
        """
        mean = played.teacher.mean() if len(played) else 0.0
        common = _slope(played.small, played.teacher) * (played.teacher - mean)
        return np.asarray(1.0 + (played.small - common - mean) / self.gain)

    def require_a_policy(self, name: str, clip_range: ReturnRange | None = None) -> None:
        """Raise InputError unless the teacher called ``name`` is clearly better than the random policy.

        So it has to be with returns clipped to ``clip_range``, where one is given.
        """
        count = len(self.random)
        if not _clearly_positive(self.teacher[:count] - self.random):
            raise InputError(
                f"{name}: earns {self.teacher.mean():.1f}, not clearly more than the random policy's "
                f"{self.random.mean():.1f}, so there is nothing to keep; check `env` and the normalizer"
            )
        if clip_range is None:
            return
        dense, random = clip_range.clip(self.teacher[:count]), clip_range.clip(self.random)
        if not _clearly_positive(dense - random):
            raise InputError(
                f"clipped to `clip_range` {clip_range.low:g},{clip_range.high:g} {name} earns "
                f"{dense.mean():.1f} and the "
                f"random policy {random.mean():.1f} per episode, so there is nothing to keep; give a range that "
                f"separates {self.teacher.mean():.1f} from {self.random.mean():.1f}, their returns without clipping"
            )


@final
@dataclass(frozen=True, kw_only=True)
class CandidateSummary:
    """What there is to show of a network that was judged."""

    hidden: tuple[int, ...]
    parameters: int
    retention: float
    good: bool


@final
@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network of the search: sizes, returns on the selection's seeds, and whether it was good enough.

    ``retention`` is estimated in terms of what the teacher gains over all of these seeds, of which a hopeless network
    has played some. ``tuned``: it, or a larger one that it comes from, learned from rewards too. ``batches`` and
    ``tuning_steps`` (of the environment) are what the branch had spent by then on imitation and fine-tuning.
    ``failure`` says how the environment failed under it, if it did; it is then not certified.
    """

    actor: Actor
    hidden: tuple[int, ...]
    parameters: int
    played: Paired
    retention: float
    good: bool
    tuned: bool = False
    batches: int = 0
    tuning_steps: int = 0
    failure: str = ""

    @property
    def summary(self) -> CandidateSummary:
        """What there is to show of it."""
        return CandidateSummary(
            hidden=self.hidden, parameters=self.parameters, retention=self.retention, good=self.good
        )


@final
@dataclass(frozen=True, kw_only=True)
class BranchResult:
    """The networks that a branch judged, the steps that it took in the environment, and what ended it before its end.

    ``failure`` is empty, or says what the environment did in an episode of a student.
    """

    candidates: list[Candidate]
    steps: int
    failure: str = ""


Progress = Callable[[CandidateSummary], None]


def episodes_wanted(
    played: Paired, keep: float, clip_range: ReturnRange, alpha: float = ALPHA, *, cautious: bool = True
) -> float:
    """Return about how many episodes a certificate at the level ``alpha`` should take, by what was ``played``.

    Infinity where that says nothing for the network. The bets are those of the certificate, and where it is
    ``cautious`` with the same caution: a few episodes, however good, promise little.
    """
    return (
        _episodes((cautious_growth if cautious else growth)(played, keep, clip_range), alpha)
        if len(played)
        else math.inf
    )


def own_copy_wants(baseline: Baseline, keep: float, clip_range: ReturnRange) -> float:
    """Return about how many episodes a certificate for a copy of the teacher should take."""
    teacher = baseline.teacher[: len(baseline.random)]
    played = Paired(small=teacher, teacher=teacher, random=baseline.random)
    return episodes_wanted(played, keep, clip_range, cautious=False)


def _episodes(grown: float, alpha: float) -> float:
    return math.inf if grown <= 0.0 else _LEARNING * -math.log(alpha) / grown


def _clearly_positive(gains: Array) -> bool:
    error = float(gains.std(ddof=1)) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return float(gains.mean()) > CLEARLY * error


def _slope(small: Array, teacher: Array) -> float:
    """Return by how much of the teacher's deviation in an episode the student's return deviates with it, in [0, 1].

    Of very few episodes, or where the teacher always earns the same, that is not known: 1, as in the same episode.
    """
    deviation = teacher - teacher.mean() if len(teacher) else teacher
    spread = float(deviation @ deviation)
    if len(small) < MIN_PLAYED or spread == 0.0:
        return 1.0
    return min(max(float(deviation @ (small - small.mean())) / spread, 0.0), 1.0)
