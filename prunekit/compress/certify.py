"""The certificate: fresh episodes, paired with the teacher, until the retention is shown or ruled out.

Every size has its own share of the level, and the shares together are at most the level: a wrong certificate needs a
size that does not deserve one to get it, which happens with a probability of at most the sum (Bonferroni). The smallest
is tested first, and the first that is certified ends it, so that time goes where it matters. Within one size the bound
is valid whenever one stops (``bench/betting.py``), so that a clear case costs few episodes.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import final

import numpy as np

from prunekit.bench.betting import Bettor, Paired, lower_bound
from prunekit.errors import FailedEpisodeError

ALPHA = 0.05
Returns = Callable[[int], float]
"""The return of one episode, by its seed."""

LEAST_EPISODES = 20
_LOOK_EVERY = 10
# Of the mean of the differences, in standard errors: beyond it a size is taken to be below the threshold.
_HOPELESS = 3.5


class Verdict(Enum):
    """What the episodes say of a size."""

    CERTIFIED = "certified"
    BELOW = "below"
    UNDECIDED = "undecided"
    RUINED = "ruined"
    """An episode lost more than ``span``, which the bound takes to be impossible, or the environment did not end it."""


@final
@dataclass(frozen=True)
class Candidate:
    """A small policy: how it plays, and what its certificate rests on.

    ``before`` are returns on seeds that it was selected on, ``span`` is what an episode can lose at most (``span_of``),
    ``alpha`` its share of the level.
    """

    name: str
    play: Returns
    before: Paired
    span: float
    alpha: float = ALPHA


@final
@dataclass(frozen=True)
class Certificate:
    """What was tested and found: episodes of the policy, its teacher and the random policy, by the same seeds.

    ``before`` and ``span`` are what the bets rest on (``bench/betting.py``). ``failure`` says how the environment
    failed in the episode after the last, if it did: under the policy, which is ruined, or under teacher or random
    policy.
    """

    name: str
    verdict: Verdict
    keep: float
    alpha: float
    seeds: tuple[int, ...]
    episodes: Paired
    before: Paired
    span: float
    failure: str = ""

    @property
    def retention(self) -> float | None:
        """The estimate, over the episodes of the certificate; None where they show no teacher above random."""
        return self.episodes.retention

    @property
    def lower_bound(self) -> float | None:
        """The one-sided lower bound of retention, at most 1; None where there is none."""
        return lower_bound(self.episodes, self.span, self.before, self.alpha)


Progress = Callable[[str, int], None]
"""Called with a candidate's name and how many episodes it has played."""


def certify(
    candidates: Iterable[Candidate],
    dense: Returns,
    random: Returns,
    keep: float,
    seeds: Sequence[int],
    progress: Progress = lambda *_: None,
    over: Callable[[int], bool] = lambda _: False,
) -> list[Certificate]:
    """Test ``candidates``, the smallest first, on ``seeds`` that no selection has seen, until one is certified.

    The next is asked for when it is needed; what makes it must not play these seeds, nor look at their returns.
    ``over`` says that there is no time for another episode of the candidate at that index. Returns one certificate per
    tested candidate. Raises ValueError where the candidates' shares exceed the level.
    """
    known: list[tuple[float, float]] = []
    found: list[Certificate] = []
    for index, candidate in enumerate(candidates):
        if math.fsum([candidate.alpha, *(one.alpha for one in found)]) > ALPHA + 1e-9:
            raise ValueError("the candidates' shares of the level exceed it")
        own: list[float] = []
        differences: list[float] = []
        bettor = Bettor(keep, candidate.span, candidate.before)
        verdict, failure = Verdict.UNDECIDED, ""
        for seed in seeds:
            try:
                if len(known) == len(own):
                    known.append((dense(seed), random(seed)))
                own.append(candidate.play(seed))
            except FailedEpisodeError as error:
                failure = str(error)
                verdict = Verdict.RUINED if len(known) > len(own) else Verdict.UNDECIDED
                break
            large, none = known[len(own) - 1]
            differences.append(own[-1] - keep * large - (1.0 - keep) * none)
            bettor.play(differences[-1])
            progress(candidate.name, len(own))
            verdict = _verdict(bettor, differences, candidate.alpha)
            if verdict is not Verdict.UNDECIDED or over(index):
                break
        episodes = _paired(own, known)
        tested, before = tuple(seeds[: len(own)]), candidate.before
        found.append(
            Certificate(
                candidate.name, verdict, keep, candidate.alpha, tested, episodes, before, candidate.span, failure
            )
        )
        if verdict is Verdict.CERTIFIED:
            break
    return found


def _paired(own: Sequence[float], known: Sequence[tuple[float, float]]) -> Paired:
    dense, random = np.asarray(known[: len(own)], np.float64).reshape(-1, 2).T
    return Paired(np.asarray(own, np.float64), dense, random)


def _verdict(bettor: Bettor, differences: Sequence[float], alpha: float) -> Verdict:
    count = len(differences)
    if bettor.ruined:
        return Verdict.RUINED
    if count < LEAST_EPISODES:
        return Verdict.UNDECIDED
    if bettor.refutes(alpha):
        return Verdict.CERTIFIED
    if count % _LOOK_EVERY:
        return Verdict.UNDECIDED
    error = statistics.stdev(differences) / math.sqrt(count)
    return Verdict.BELOW if statistics.fmean(differences) < -_HOPELESS * error else Verdict.UNDECIDED
