"""The certificate: fresh episodes, paired with the teacher, until the retention is shown or ruled out.

The claim is about returns that are clipped to a range (``clipping.py``), so that it holds for every distribution of
returns; beside it stands how often an episode of the policy falls below the range at most (``frequency.py``), and the
claim may limit that too. What is shown of the mean and what is shown of the failures each take the whole level: both
are claimed together, and that is wrong only where one of them is.

Every size has its own share of the level, and the shares together are at most the level: a wrong certificate needs a
size that does not deserve one to get it, which happens with a probability of at most the sum (Bonferroni). The smallest
is tested first, and the first that is certified ends it, so that time goes where it matters. Within one size the bound
is valid whenever one stops (``betting.py``), so that a clear case costs few episodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, final

import numpy as np

from prunekit.errors import FailedEpisodeError, InputError
from prunekit.stats.betting import Bettor, Paired, growth, lower_bound
from prunekit.stats.clipping import ReturnRange
from prunekit.stats.frequency import Frequency, faultless_episodes, frequency

ALPHA = 0.05
Returns = Callable[[int], float]
"""The return of one episode, by its seed."""

LEAST_EPISODES = 20
_LOOK_EVERY = 10
# Of the mean of the differences, in standard errors: beyond it a size is taken to be below the threshold.
_HOPELESS = 3.5
# Bets have to be learned first, and earn less than the best one would have.
_LEARNING = 1.2


class Verdict(Enum):
    """What the episodes say of a size."""

    CERTIFIED = "certified"
    BELOW = "below"
    UNDECIDED = "undecided"
    FAILED = "failed"
    """The environment failed under the policy."""


@final
@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is to be shown: a retention of at least ``keep``, every return being clipped to ``clip_range``.

    ``max_failures`` is the share of the policy's episodes that may fall below the range, None for no limit.
    """

    keep: float
    clip_range: ReturnRange
    max_failures: float | None = None

    def __post_init__(self) -> None:
        check_claim(self.keep, self.max_failures)


@final
@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A small policy: how it plays, and its share ``alpha`` of the level.

    ``before`` are returns on seeds that it was selected on, or none.
    """

    name: str
    play: Returns
    before: Paired
    alpha: float = ALPHA


@final
@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What was tested and found: episodes of the policy, its teacher and the random policy, by the same seeds.

    Returns are kept as they were, unclipped. ``before`` is what the bets rest on. ``failure`` says how the environment
    failed in the episode after the last, if it did: under the policy (``Verdict.FAILED``), or under teacher or random
    policy.
    """

    name: str
    verdict: Verdict
    claim: Claim
    alpha: float
    seeds: tuple[int, ...]
    episodes: Paired
    before: Paired
    failure: str = ""

    @property
    def certified(self) -> bool:
        """Whether the claim was shown."""
        return self.verdict is Verdict.CERTIFIED

    @property
    def retention(self) -> float | None:
        """The estimate, of clipped returns; None where the episodes show no teacher above random."""
        return self.episodes.clipped(self.claim.clip_range).retention

    @property
    def lower_bound(self) -> float | None:
        """The one-sided lower bound of retention, at most 1; None where there is none."""
        return lower_bound(self.episodes, self.claim.clip_range, self.before, self.alpha)

    @property
    def below(self) -> Frequency:
        """In how many of its episodes the policy earned less than the range holds."""
        return frequency((self.episodes.small < self.claim.clip_range.low).tolist(), self.alpha)

    @property
    def above(self) -> Frequency:
        """In how many of its episodes the teacher earned more than the range holds."""
        return frequency((self.episodes.dense > self.claim.clip_range.high).tolist(), self.alpha)

    @property
    def sentence(self) -> str:
        """The claim in one plain sentence, with what was found beside it; what was not certified says so."""
        claim, count, ends = self.claim, len(self.episodes), self.claim.clip_range
        gain = f"at least {claim.keep:g} of the teacher's gain over the random policy"
        mean = f"{gain} in mean return, every return clipped to {claim.clip_range}"
        if not self.certified:
            return f"Not certified: that it keeps {mean}, was not shown in {counted(count, 'fresh episode')}."
        return (
            f"With {1.0 - ALPHA:.0%} confidence the policy keeps {mean}; it earns less than {ends.low:,.10g} in at "
            f"most {self.below.upper:.1%} of its episodes, and the teacher more than {ends.high:,.10g} in at most "
            f"{self.above.upper:.1%} (shown in {counted(count, 'fresh episode')})."
        )

    def episodes_wanted(self) -> int | None:
        """Return about how many episodes would show the claim, by the growth in these; None where there is none."""
        if not len(self.episodes):
            return None
        grown = growth(self.episodes, self.claim.keep, self.claim.clip_range)
        return None if grown <= 0.0 else math.ceil(_LEARNING * -math.log(self.alpha) / grown)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with the returns of every episode."""
        below, above, most = self.below, self.above, self.claim.max_failures
        return {
            "size": self.name,
            "verdict": self.verdict.value,
            "claim": self.sentence,
            "keep": self.claim.keep,
            "range": self.claim.clip_range.to_json(),
            "max_failures": most,
            "confidence": 1.0 - self.alpha,
            "retention": self.retention,
            "lower_bound": self.lower_bound,
            "unclipped_retention": self.episodes.retention,
            "below_range": {"episodes": below.happened, "upper_bound": below.upper},
            "teacher_above_range": {"episodes": above.happened, "upper_bound": above.upper},
            "episodes": len(self.episodes),
            "seeds": list(self.seeds),
            "returns": _returns_json(self.episodes),
            "selection": _returns_json(self.before),
            "failure": self.failure,
        }


Progress = Callable[[str, int], None]
"""Called with a candidate's name and how many episodes it has played."""


def check_claim(keep: float, max_failures: float | None) -> None:
    """Raise InputError where ``keep`` or ``max_failures`` is no share."""
    if not 0.0 < keep <= 1.0:
        raise InputError(f"--keep must lie in (0, 1], got {keep:g}")
    if max_failures is not None and not 0.0 < max_failures < 1.0:
        raise InputError(f"--max-failures must lie between 0 and 1, got {max_failures:g}")


def check_episodes(episodes: int, max_failures: float | None, where: str = "") -> None:
    """Raise InputError where so few ``episodes`` (``where`` says which) can show no claim, or not ``max_failures``."""
    if episodes < LEAST_EPISODES:
        raise InputError(f"--keep needs at least {LEAST_EPISODES} episodes for its bound, got {episodes}{where}")
    least = 0 if max_failures is None else faultless_episodes(max_failures, ALPHA)
    if episodes < least:
        raise InputError(
            f"--max-failures {max_failures:g} needs {least:,} episodes without a failure, got {episodes:,}{where}; "
            "give it more --episodes"
        )


def certify(
    candidates: Iterable[Candidate],
    dense: Returns,
    random: Returns,
    claim: Claim,
    seeds: Sequence[int],
    progress: Progress = lambda *_: None,
    over: Callable[[int], bool] = lambda _: False,
) -> list[Certificate]:
    """Test ``candidates``, the smallest first, on ``seeds`` that no selection has seen, until one is certified.

    The next is asked for when it is needed; what makes it must not play these seeds, nor look at their returns.
    ``dense`` plays the teacher. ``over`` says that there is no time for another episode of the candidate at that index.
    Returns one certificate per tested candidate. Raises ValueError where the candidates' shares exceed the level.
    """
    known: list[tuple[float, float]] = []
    found: list[Certificate] = []
    for index, candidate in enumerate(candidates):
        if math.fsum([candidate.alpha, *(one.alpha for one in found)]) > ALPHA + 1e-9:
            raise ValueError("the candidates' shares of the level exceed it")
        own: list[float] = []
        test = _Test(claim, candidate)
        verdict, failure = Verdict.UNDECIDED, ""
        for seed in seeds:
            try:
                if len(known) == len(own):
                    known.append((dense(seed), random(seed)))
                own.append(candidate.play(seed))
            except FailedEpisodeError as error:
                failure = str(error)
                verdict = Verdict.FAILED if len(known) > len(own) else Verdict.UNDECIDED
                break
            verdict = test.play(own[-1], *known[len(own) - 1])
            progress(candidate.name, len(own))
            if verdict is not Verdict.UNDECIDED or over(index):
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


def counted(count: int, thing: str) -> str:
    """Return how many of a ``thing`` there are, in words: 1 episode, 2,000 episodes."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


@final
class _Test:
    """One candidate's test, episode by episode."""

    def __init__(self, claim: Claim, candidate: Candidate) -> None:
        self._claim, self._alpha = claim, candidate.alpha
        self._bettor = Bettor(claim.keep, claim.clip_range.width, candidate.before.clipped(claim.clip_range))
        self._below = Frequency(candidate.alpha)
        self._differences: list[float] = []

    def play(self, small: float, large: float, none: float) -> Verdict:
        """Take in the returns of the candidate, the teacher and the random policy; return what they say so far."""
        keep, low, high = self._claim.keep, self._claim.clip_range.low, self._claim.clip_range.high
        own, dense, random = (min(max(value, low), high) for value in (small, large, none))
        self._differences.append(own - keep * dense - (1.0 - keep) * random)
        self._bettor.play(self._differences[-1])
        self._below.play(small < low)
        count, most = len(self._differences), self._claim.max_failures
        if count < LEAST_EPISODES:
            return Verdict.UNDECIDED
        if self._bettor.refutes(self._alpha) and (most is None or self._below.upper <= most):
            return Verdict.CERTIFIED
        return Verdict.BELOW if count % _LOOK_EVERY == 0 and self._hopeless() else Verdict.UNDECIDED

    def _hopeless(self) -> bool:
        count, most = len(self._differences), self._claim.max_failures
        error = float(np.std(self._differences, ddof=1)) / math.sqrt(count)
        if float(np.mean(self._differences)) < -_HOPELESS * error:
            return True
        return most is not None and self._below.happened > count * most + _HOPELESS * math.sqrt(count * most)


def _paired(own: Sequence[float], known: Sequence[tuple[float, float]]) -> Paired:
    dense, random = np.asarray(known[: len(own)], np.float64).reshape(-1, 2).T
    return Paired(np.asarray(own, np.float64), dense, random)


def _returns_json(episodes: Paired) -> dict[str, list[float]]:
    return {
        name: np.round(values, 4).tolist()
        for name, values in (("small", episodes.small), ("dense", episodes.dense), ("random", episodes.random))
    }
