"""The certificate of any two policies: fresh episodes on the same seeds, until the claim is certified or refuted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from prunekit.benching.settings import RANGE_EPISODES
from prunekit.errors import FailedEpisodeError, InputError
from prunekit.stats.betting import Bettor, Paired
from prunekit.stats.bootstrap import Array
from prunekit.stats.certificate import Certificate
from prunekit.stats.certify import Candidate, certify
from prunekit.stats.claim import ALPHA, Claim, check_claim, check_episodes, counted
from prunekit.stats.clipping import ReturnRange, range_of
from prunekit.stats.frequency import is_exceeded

# No training, search or benchmark of prunekit plays these seeds.
_FIRST_SEED, _SEEDS_EACH = 200_000_000, 100_000
LARGEST_SEED = 7_999
_MAX_EPISODES = 90_000
_YEAR = 365 * 86_400.0
# The minimum number of episodes that fix the range, whatever time they take.
_MIN_RANGE = 10
# Standard errors by which a teacher must beat the random policy.
_CLEARLY = 2.0


class NothingToKeepError(InputError):
    """The teacher earns no more than the random policy."""


Returns = tuple[float | FailedEpisodeError, ...]
"""What teacher, random policy and small policy earn with one seed, as far as they were asked and did not fail."""
Play = Callable[[int, int], Returns]
"""From a seed, and how many of the three are to play, to their returns; those after one that failed are left out."""


@final
@dataclass(frozen=True, kw_only=True)
class CertifySettings:
    """The claim, and the limits of its test.

    At most ``episodes`` of each policy are played, in about ``seconds``. ``seed`` chooses all episode seeds. Returns
    are clipped to ``clip_range``, by default that of 20 other episodes of the teacher and the random policy. An episode
    fails if its return is below ``failure_return``, by default the low end of the range. ``max_failures`` is the share
    of the small policy's episodes that may fail; by default there is no limit. Raises InputError for values out of
    range.
    """

    keep: float = 0.95
    clip_range: ReturnRange | None = None
    max_failures: float | None = None
    failure_return: float | None = None
    episodes: int = 1_000
    seconds: float = 300.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_claim(self.keep, self.max_failures)
        check_episodes(self.episodes, self.max_failures)
        if self.episodes > _MAX_EPISODES:
            raise InputError(f"`episodes` must be at most {_MAX_EPISODES:,}, got {self.episodes:,}")
        if not 0.0 < self.seconds <= _YEAR:
            raise InputError(
                f"`minutes` must be positive and at most {_YEAR / 60.0:.0f} (a year), got {self.seconds / 60.0:g}"
            )
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"`seed` must lie between 0 and {LARGEST_SEED}, got {self.seed}")
        if self.failure_return is not None and not math.isfinite(self.failure_return):
            raise InputError(f"`failure_return` must be finite, got {self.failure_return:g}")

    @property
    def seeds(self) -> range:
        """The seeds of the certificate's episodes."""
        first = _FIRST_SEED + _SEEDS_EACH * self.seed
        return range(first, first + self.episodes)

    @property
    def range_seeds(self) -> range:
        """The seeds of the episodes that fix the range. No certificate with this ``seed`` plays them."""
        first = _FIRST_SEED + _SEEDS_EACH * self.seed + _MAX_EPISODES
        return range(first, first + RANGE_EPISODES)


@final
@dataclass(frozen=True, kw_only=True)
class Certified:
    """The result of a test. ``form`` is the number format in which the small policy played."""

    small: str
    teacher: str
    form: str
    certificate: Certificate
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def certified(self) -> bool:
        """Whether the claim was shown."""
        return self.certificate.certified

    @property
    def sentence(self) -> str:
        """The result in one sentence: what was shown, or why nothing was."""
        found, condition = self.certificate, self.certificate.claim.condition
        if found.certified:
            return found.sentence
        count = counted(len(found.episodes), "fresh episode")
        if found.failure:
            return f"{condition}Not certified: {found.failure} (after {count})."
        if found.refuted:
            maximum = found.claim.max_failures
            failures = "" if maximum is None else f", with at most {maximum:.1%} of its episodes failing"
            return (
                f"{condition}Refuted, with {1.0 - ALPHA:.0%} confidence: the policy does not keep {found.claim.keep:g} "
                f"of the teacher's gain over the random policy in mean return, every return clipped to "
                f"{found.claim.clip_range}{failures} (shown in {count})."
            )
        return f"{found.sentence} {self._advice}"

    @property
    def _advice(self) -> str:
        found = self.certificate
        wanted = found.episodes_wanted()
        more = "" if wanted is None else f": about {wanted:,} should be enough, if returns stay like these"
        return f"Give it more `episodes` or `minutes`{more}."

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with the returns of every episode."""
        return {
            "small": self.small,
            "teacher": self.teacher,
            "form": self.form,
            "certified": self.certified,
            "refuted": self.certificate.refuted,
            "sentence": self.sentence,
            "certificate": self.certificate.to_json(),
            "seconds": round(self.seconds, 1),
            **self.facts,
        }


def certified(
    play: Play,
    names: tuple[str, str],
    settings: CertifySettings,
    *,
    form: str = "float32",
    under: str = "",
    progress: Callable[[str, int], None] = lambda *_: None,
) -> Certified:
    """Return the result of a test on fresh episodes; ``names`` are (small, teacher).

    ``under`` names the disturbance of all policies, if there is one. ``progress`` is called with a description of what
    is played and the number of episodes. Raises InputError if the teacher is not clearly better than the random policy,
    and FailedEpisodeError if the environment fails before the range is fixed.
    """
    began = time.monotonic()
    end = began + settings.seconds
    before, clip_range = _ground(play, names[1], settings, end, progress)
    claim = Claim(
        keep=settings.keep,
        clip_range=clip_range,
        max_failures=settings.max_failures,
        failure_return=settings.failure_return,
        under=under,
    )
    against, known = _Against(claim, before), {}

    def earned(seed: int, place: int) -> float:
        if seed not in known:
            known[seed] = play(seed, 3)
        found = known[seed][place]
        if isinstance(found, FailedEpisodeError):
            raise found
        return found

    def small(seed: int) -> float:
        own = earned(seed, 2)
        against.play(own, earned(seed, 0), earned(seed, 1))
        return own

    (certificate,) = certify(
        [Candidate(name=names[0], play=small, before=before)],
        lambda seed: earned(seed, 0),
        lambda seed: earned(seed, 1),
        claim,
        settings.seeds,
        lambda _, count: progress("the certificate", count),
        lambda _: against.refutes or time.monotonic() > end,
        gives_up=False,
    )
    return Certified(
        small=names[0], teacher=names[1], form=form, certificate=certificate, seconds=time.monotonic() - began
    )


def _ground(
    play: Play, teacher: str, settings: CertifySettings, end: float, progress: Callable[[str, int], None]
) -> tuple[Paired, ReturnRange]:
    """Return the earlier returns from which the bets start, and the range, from episodes that the claim does not
    use.
    """
    rows: list[list[float]] = []
    for seed in settings.range_seeds:
        if len(rows) >= _MIN_RANGE and time.monotonic() > end:
            break
        found = play(seed, 2)
        failed = next((entry for entry in found if isinstance(entry, FailedEpisodeError)), None)
        if failed is not None:
            raise failed
        rows.append([entry for entry in found if not isinstance(entry, FailedEpisodeError)])
        progress("the range", len(rows))
    reference, random = np.asarray(rows, np.float64).T
    clip_range = settings.clip_range or range_of(reference, random)
    _require_gain(clip_range.clip(reference), clip_range.clip(random), teacher, settings.clip_range)
    return Paired(small=reference, teacher=reference, random=random), clip_range


def _require_gain(reference: Array, random: Array, teacher: str, given: ReturnRange | None) -> None:
    gains = reference - random
    error = float(gains.std(ddof=1)) / math.sqrt(len(gains))
    if float(gains.mean()) > _CLEARLY * error:
        return
    within = "" if given is None else f" with returns clipped to {given}"
    advice = "check `env` and the normalizer" if given is None else "give a `clip_range` that tells the two apart"
    raise NothingToKeepError(
        f"{teacher}: earns {reference.mean():.1f}{within}, not clearly more than the random policy's "
        f"{random.mean():.1f}, so there is nothing to keep; {advice}"
    )


@final
class _Against:
    """Bets against the claim, episode by episode; a claim with two parts gives each bet half of the level."""

    def __init__(self, claim: Claim, before: Paired) -> None:
        self._claim = claim
        self._alpha = ALPHA if claim.max_failures is None else ALPHA / 2.0
        known = before.clipped(claim.clip_range)
        turned = Paired(small=-known.small, teacher=-known.teacher, random=-known.random)
        self._bettor = Bettor(claim.keep, claim.clip_range.width, turned)
        self._failed: list[bool] = []

    def play(self, small: float, teacher: float, random: float) -> None:
        """Add the returns of one episode."""
        episode = Paired(small=np.asarray([small]), teacher=np.asarray([teacher]), random=np.asarray([random])).clipped(
            self._claim.clip_range
        )
        self._bettor.play(-float(episode.differences(self._claim.keep)[0]))
        self._failed.append(small < self._claim.fails_below)

    @property
    def refutes(self) -> bool:
        """Return whether the claim is refuted."""
        maximum = self._claim.max_failures
        if self._bettor.refutes(self._alpha):
            return True
        return maximum is not None and is_exceeded(self._failed, maximum, self._alpha)
