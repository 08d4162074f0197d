"""What is claimed of a small policy, and whether so many episodes could show it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from prunekit.errors import InputError
from prunekit.stats.clipping import ReturnRange
from prunekit.stats.frequency import faultless_episodes

ALPHA = 0.05
"""A claim that is not true is certified with this probability at most."""
MIN_EPISODES = 20


@final
@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is to be shown: a retention of at least ``keep``, every return being clipped to ``clip_range``.

    An episode fails if its return is below ``failure_return``, None for the low end of the range. ``max_failures`` is
    the share of the policy's episodes that may fail, None for no limit. ``under`` names the disturbance that all
    policies play under, as in ``observation noise 0.02``. Raises InputError for values out of range.
    """

    keep: float
    clip_range: ReturnRange
    max_failures: float | None = None
    failure_return: float | None = None
    under: str = ""

    def __post_init__(self) -> None:
        check_claim(self.keep, self.max_failures)
        if self.failure_return is not None and not math.isfinite(self.failure_return):
            raise InputError(f"the return below which an episode fails must be finite, got {self.failure_return:g}")

    @property
    def condition(self) -> str:
        """The beginning of a sentence about the claim that names the disturbance; empty without one."""
        return f"Under {self.under}, alike for all policies: " if self.under else ""

    @property
    def fails_below(self) -> float:
        """The return below which an episode fails."""
        return self.clip_range.low if self.failure_return is None else self.failure_return


def check_claim(keep: float, max_failures: float | None) -> None:
    """Raise InputError where ``keep`` or ``max_failures`` is no share."""
    if not 0.0 < keep <= 1.0:
        raise InputError(f"`keep` must lie in (0, 1], got {keep:g}")
    if max_failures is not None and not 0.0 < max_failures < 1.0:
        raise InputError(f"`max_failures` must lie between 0 and 1, got {max_failures:g}")


def check_episodes(episodes: int, max_failures: float | None, where: str = "") -> None:
    """Raise InputError where so few ``episodes`` (``where`` says which) can show no claim, or not ``max_failures``."""
    if episodes < MIN_EPISODES:
        raise InputError(f"`keep` needs at least {MIN_EPISODES} episodes for its bound, got {episodes}{where}")
    minimum = 0 if max_failures is None else faultless_episodes(max_failures, ALPHA)
    if episodes < minimum:
        raise InputError(
            f"`max_failures` {max_failures:g} needs {minimum:,} episodes without a failure, got {episodes:,}{where}; "
            "give it more `episodes`"
        )


def counted(count: int, thing: str) -> str:
    """Return how many of a ``thing`` there are, in words: 1 episode, 2,000 episodes."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
