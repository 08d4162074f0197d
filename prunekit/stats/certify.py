"""The test of a claim on fresh episodes, paired with the teacher, until it is shown or ruled out.

Every candidate has its own share of the level, and the shares add up to at most the level. A wrong certificate requires
a candidate with a false claim to pass, which happens with a probability of at most the sum of the shares (Bonferroni).
The smallest candidate is tested first, and the first that is certified ends the test. For one candidate the test is
anytime-valid (``betting.py``), so a clear case takes few episodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from prunekit.errors import FailedEpisodeError
from prunekit.stats.betting import Bettor, Paired
from prunekit.stats.certificate import Certificate, Verdict
from prunekit.stats.claim import ALPHA, MIN_EPISODES, Claim
from prunekit.stats.frequency import Frequency

Returns = Callable[[int], float]
"""The return of one episode, by its seed."""

_LOOK_EVERY = 10
# Standard errors of the mean difference; a candidate further below the threshold is given up.
_HOPELESS = 3.5


@final
@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A small policy under test: the function that plays it, and its share ``alpha`` of the level.

    ``before`` are its returns on the seeds of the selection; they may be empty.
    """

    name: str
    play: Returns
    before: Paired
    alpha: float = ALPHA


Progress = Callable[[str, int], None]
"""Called with a candidate's name and how many episodes it has played."""


def certify(
    candidates: Iterable[Candidate],
    teacher: Returns,
    random: Returns,
    claim: Claim,
    seeds: Sequence[int],
    progress: Progress = lambda *_: None,
    should_stop: Callable[[int], bool] = lambda _: False,
    *,
    gives_up: bool = True,
) -> list[Certificate]:
    """Test ``candidates``, the smallest first, on ``seeds`` that no selection has used, until one is certified.

    A candidate is taken from the iterable only when it is needed; making it must not use these seeds or their returns.
    ``should_stop(index)`` says that there is no time for another episode of that candidate. A candidate that is clearly
    below is given up early (``Verdict.BELOW``), unless ``gives_up`` is False. Returns one certificate per tested
    candidate. Raises ValueError if the shares of the candidates add up to more than the level.
    """
    known: list[tuple[float, float]] = []
    found: list[Certificate] = []
    for index, candidate in enumerate(candidates):
        if math.fsum([candidate.alpha, *(one.alpha for one in found)]) > ALPHA + 1e-9:
            raise ValueError("the shares of the candidates add up to more than the level")
        own: list[float] = []
        test = _Test(claim, candidate, gives_up=gives_up)
        verdict, failure = Verdict.UNDECIDED, ""
        for seed in seeds:
            try:
                if len(known) == len(own):
                    known.append((teacher(seed), random(seed)))
                own.append(candidate.play(seed))
            except FailedEpisodeError as error:
                failure = str(error)
                verdict = Verdict.FAILED if len(known) > len(own) else Verdict.UNDECIDED
                break
            verdict = test.play(own[-1], *known[len(own) - 1])
            progress(candidate.name, len(own))
            if verdict is not Verdict.UNDECIDED or should_stop(index):
                break
        found.append(
            Certificate(
                name=candidate.name,
                verdict=verdict,
                claim=claim,
                alpha=candidate.alpha,
                seeds=tuple(seeds[: len(own)]),
                episodes=_paired(own, known),
                before=candidate.before,
                failure=failure,
            )
        )
        if verdict is Verdict.CERTIFIED:
            break
    return found


@final
class _Test:
    """The test of one candidate, episode by episode."""

    def __init__(self, claim: Claim, candidate: Candidate, *, gives_up: bool) -> None:
        self._gives_up = gives_up
        self._claim, self._alpha = claim, candidate.alpha
        self._bettor = Bettor(claim.keep, claim.clip_range.width, candidate.before.clipped(claim.clip_range))
        self._failed = Frequency(candidate.alpha)
        self._differences: list[float] = []

    def play(self, small: float, large: float, none: float) -> Verdict:
        """Add the returns of candidate, teacher and random policy in one episode, and return the verdict so far."""
        keep, low, high = self._claim.keep, self._claim.clip_range.low, self._claim.clip_range.high
        own, teacher, random = (min(max(value, low), high) for value in (small, large, none))
        self._differences.append(own - keep * teacher - (1.0 - keep) * random)
        self._bettor.play(self._differences[-1])
        self._failed.play(small < self._claim.fails_below)
        count, max_failures = len(self._differences), self._claim.max_failures
        if count < MIN_EPISODES:
            return Verdict.UNDECIDED
        if self._bettor.refutes(self._alpha) and (max_failures is None or self._failed.upper <= max_failures):
            return Verdict.CERTIFIED
        looks = self._gives_up and count % _LOOK_EVERY == 0
        return Verdict.BELOW if looks and self._hopeless() else Verdict.UNDECIDED

    def _hopeless(self) -> bool:
        count, max_failures = len(self._differences), self._claim.max_failures
        error = float(np.std(self._differences, ddof=1)) / math.sqrt(count)
        if float(np.mean(self._differences)) < -_HOPELESS * error:
            return True
        return max_failures is not None and self._failed.happened > count * max_failures + _HOPELESS * math.sqrt(
            count * max_failures
        )


def _paired(own: Sequence[float], known: Sequence[tuple[float, float]]) -> Paired:
    teacher, random = np.asarray(known[: len(own)], np.float64).reshape(-1, 2).T
    return Paired(small=np.asarray(own, np.float64), teacher=teacher, random=random)
