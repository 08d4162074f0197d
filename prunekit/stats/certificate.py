"""The certificate: the claim that was tested, the episodes, and what they show.

The claim is about returns clipped to a range (``clipping.py``), so it holds for every distribution of returns. A
certificate also bounds how often an episode of the policy returns less than the range (``frequency.py``), how often one
fails, which the claim may limit too, and the mean of the worst tenth (``tails.py``). The mean and the failures are each
tested at the full level: the claim needs both, and it is false only if one of them is. All other bounds hold
separately.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, final

import numpy as np

from prunekit.stats.betting import Paired, growth, is_missed, lower_bound, upper_bound
from prunekit.stats.bootstrap import Array
from prunekit.stats.claim import ALPHA, Claim, counted
from prunekit.stats.frequency import Frequency, frequency, is_exceeded
from prunekit.stats.tails import Tail, tail_of

# Stakes must be learned first, and earn less than the best fixed stake would have.
_LEARNING = 1.2


class Verdict(Enum):
    """The outcome of testing one candidate."""

    CERTIFIED = "certified"
    BELOW = "below"
    UNDECIDED = "undecided"
    FAILED = "failed"
    """The environment failed under the policy."""


@final
@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The result of a test: returns of the policy, its teacher and the random policy on the same seeds.

    Returns are stored unclipped. ``before`` holds the returns from which the bets start. ``failure`` says how the
    environment failed in the episode after the last one, if it did: under the policy (``Verdict.FAILED``), or under the
    teacher or the random policy.
    """

    name: str
    verdict: Verdict
    claim: Claim
    alpha: float
    seeds: tuple[int, ...] = field(repr=False)
    episodes: Paired = field(repr=False)
    before: Paired = field(repr=False)
    failure: str = ""

    @property
    def certified(self) -> bool:
        """Whether the claim was shown."""
        return self.verdict is Verdict.CERTIFIED

    @property
    def retention(self) -> float | None:
        """The estimate from clipped returns; None if the teacher's mean is not above the random policy's."""
        return self.episodes.clipped(self.claim.clip_range).retention

    @property
    def lower_bound(self) -> float | None:
        """The one-sided lower bound of retention, at most 1; None where there is none."""
        return lower_bound(self.episodes, self.claim.clip_range, self.before, self.alpha)

    @property
    def upper_bound(self) -> float | None:
        """The one-sided upper bound of retention; None if a retention of 1 is not ruled out."""
        return upper_bound(self.episodes, self.claim.clip_range, self.before, self.alpha)

    @property
    def refuted(self) -> bool:
        """Whether the claim was refuted: the policy keeps less, or more of its episodes fail than allowed.

        If either could refute it, each gets half of the level.
        """
        max_failures = self.claim.max_failures
        alpha = self.alpha if max_failures is None else self.alpha / 2.0
        if self.certified:
            return False
        if is_missed(self.episodes, self.claim.clip_range, self.before, self.claim.keep, alpha):
            return True
        return max_failures is not None and is_exceeded(self.failures_of(self.episodes.small), max_failures, alpha)

    def failures_of(self, returns: Array) -> list[bool]:
        """Return for each of ``returns`` [n] whether the episode failed."""
        return [bool(value) for value in returns < self.claim.fails_below]

    @property
    def failed(self) -> Frequency:
        """The number of the policy's episodes that failed, with a bound of their share."""
        return frequency(self.failures_of(self.episodes.small), self.alpha)

    @property
    def teacher_failed(self) -> Frequency:
        """The number of the teacher's episodes that failed, with a bound of their share."""
        return frequency(self.failures_of(self.episodes.teacher), self.alpha)

    @property
    def worst(self) -> Tail:
        """The mean return of the worst tenth of the policy's episodes, every return clipped."""
        return tail_of(self.episodes.small, self.claim.clip_range, self.alpha, self.before.small)

    @property
    def teacher_worst(self) -> Tail:
        """The mean return of the worst tenth of the teacher's episodes, every return clipped."""
        return tail_of(self.episodes.teacher, self.claim.clip_range, self.alpha, self.before.teacher)

    @property
    def below(self) -> Frequency:
        """The number of the policy's episodes that returned less than the range, with a bound of their share."""
        return frequency((self.episodes.small < self.claim.clip_range.low).tolist(), self.alpha)

    @property
    def above(self) -> Frequency:
        """The number of the teacher's episodes that returned more than the range, with a bound of their share."""
        return frequency((self.episodes.teacher > self.claim.clip_range.high).tolist(), self.alpha)

    @property
    def sentence(self) -> str:
        """The claim, and the bounds that were found, in plain words; or that it was not certified."""
        claim, count, ends = self.claim, counted(len(self.episodes), "fresh episode"), self.claim.clip_range
        line, confidence = f"{claim.fails_below:.10g}", f"{1.0 - ALPHA:.0%} confidence"
        kept = f"keeps at least {claim.keep:g} of the teacher's gain over the random policy in mean return"
        shown = f"{kept}, every return clipped to {ends}"
        if claim.max_failures is not None:
            shown += f", and earns less than {line} in at most {100.0 * claim.max_failures:.10g}% of its episodes"
        if not self.certified:
            return f"{claim.condition}Not certified: that it {shown}, was not shown in {count}."
        fails = ""
        if claim.failure_return is not None:
            fails = f"it fails, with less than {line}, in at most {self.failed.upper:.1%} of its episodes; "
        return (
            f"{claim.condition}With {confidence} the policy {shown}. Each with {confidence} by itself: {fails}it earns "
            f"less than {ends.low:.10g} in at most {self.below.upper:.1%} of its episodes, and the teacher more than "
            f"{ends.high:.10g} in at most {self.above.upper:.1%} (shown in {count})."
        )

    def episodes_wanted(self) -> int | None:
        """Return roughly how many episodes would certify the claim if returns continue like these; None if none
        would.
        """
        if not len(self.episodes):
            return None
        grown = growth(self.episodes, self.claim.keep, self.claim.clip_range)
        return None if grown <= 0.0 else math.ceil(_LEARNING * -math.log(self.alpha) / grown)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with the returns of every episode."""
        below, above, max_failures = self.below, self.above, self.claim.max_failures
        failed, teacher_failed, worst, teacher_worst = self.failed, self.teacher_failed, self.worst, self.teacher_worst
        return {
            "size": self.name,
            "verdict": self.verdict.value,
            "claim": self.sentence,
            "keep": self.claim.keep,
            "range": self.claim.clip_range.to_json(),
            "max_failures": max_failures,
            "confidence": 1.0 - self.alpha,
            "retention": self.retention,
            "lower_bound": self.lower_bound,
            "upper_bound": self.upper_bound,
            "unclipped_retention": self.episodes.retention,
            "below_range": {"episodes": below.happened, "upper_bound": below.upper},
            "teacher_above_range": {"episodes": above.happened, "upper_bound": above.upper},
            "failed": {
                "below": self.claim.fails_below,
                "episodes": failed.happened,
                "upper_bound": failed.upper,
                "teacher_episodes": teacher_failed.happened,
                "teacher_upper_bound": teacher_failed.upper,
            },
            "cvar": {
                "share": worst.share,
                "estimate": worst.estimate,
                "lower_bound": worst.lower_bound,
                "teacher_estimate": teacher_worst.estimate,
                "teacher_lower_bound": teacher_worst.lower_bound,
            },
            "episodes": len(self.episodes),
            "seeds": list(self.seeds),
            "returns": _returns_json(self.episodes),
            "selection": _returns_json(self.before),
            "failure": self.failure,
        }


def _returns_json(episodes: Paired) -> dict[str, list[float]]:
    return {
        name: np.round(values, 4).tolist()
        for name, values in (("small", episodes.small), ("dense", episodes.teacher), ("random", episodes.random))
    }
