"""The claim about a small policy, and checks that a number of episodes can show it."""

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
    """What is to be shown: a retention of at least ``keep``, with every return clipped to ``clip_range``.

    An episode fails if its return is below ``failure_return``; None means the low end of the range. ``max_failures`` is
    the share of the policy's episodes that may fail; None means no limit. ``under`` names the disturbance of all
    policies, as in ``observation noise 0.02``. Raises InputError for values out of range.
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
        """The first words of a sentence about the claim, which name the disturbance; empty without one."""
        return f"Under {self.under}, alike for all policies: " if self.under else ""

    @property
    def fails_below(self) -> float:
        """The return below which an episode fails."""
        return self.clip_range.low if self.failure_return is None else self.failure_return


def check_claim(keep: float, max_failures: float | None) -> None:
    """Raise InputError if ``keep`` or ``max_failures`` is out of range."""
    if not 0.0 < keep <= 1.0:
        raise InputError(f"`keep` must lie in (0, 1], got {keep:g}{meant_share(keep)}")
    if max_failures is not None and not 0.0 < max_failures < 1.0:
        raise InputError(f"`max_failures` must lie between 0 and 1, got {max_failures:g}{meant_share(max_failures)}")


def meant_share(value: float) -> str:
    """Return the end of an error about a share that was given in percent; empty for any other ``value``."""
    return f"; did you mean {value / 100:g}?" if 2.0 <= value < 100.0 else ""


def check_episodes(episodes: int, max_failures: float | None, *, parameter: str = "episodes", where: str = "") -> None:
    """Raise InputError if ``episodes`` are too few to show a claim, or ``max_failures``.

    The message names the ``parameter`` that is their number, and ``where`` they are played.
    """
    if episodes < MIN_EPISODES:
        raise InputError(f"`{parameter}` must be at least {MIN_EPISODES} for a certificate, got {episodes}{where}")
    minimum = 0 if max_failures is None else faultless_episodes(max_failures, ALPHA)
    if episodes < minimum:
        raise InputError(
            f"`max_failures` {max_failures:g} needs {minimum:,} episodes without a failure, got {episodes:,}{where}; "
            f"give it more `{parameter}`"
        )


def counted(count: int, thing: str) -> str:
    """Return a number with a noun in singular or plural: 1 episode, 2,000 episodes."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
