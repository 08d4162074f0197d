"""How much ``bench`` measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from prunekit.disturbances.record import Disturbance
from prunekit.errors import InputError
from prunekit.stats.claim import check_claim
from prunekit.stats.clipping import ReturnRange

FIRST_SEED = 10_000
RANGE_EPISODES = 20
"""Of the first model and of the random policy each, to fix the range that returns are clipped to."""
LARGEST_SEED = 2**32 - 1


@final
@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How much to measure. Episode seeds start at ``first_seed`` and are the same for every model.

    ``loop_episodes`` of the ``episodes``, the first ones, are played with an emulated processor in the loop, which is
    slow.

    With ``keep``, it is tested whether the models keep that share of the first one's return, with every return clipped
    to ``clip_range``. ``RANGE_EPISODES`` other episodes fix the range, unless it is given, and are the earlier returns
    from which the bets start. At most ``max_failures`` of a model's episodes may return less than the range; None means
    no limit.

    Every model plays the episodes again on the first device under each kind of ``disturbance``; noise is scaled by the
    observations under the first model.
    """

    episodes: int = 100
    first_seed: int = FIRST_SEED
    calls: int = 5_000
    paced_ticks: int = 250
    loop_episodes: int = 3
    keep: float | None = None
    clip_range: ReturnRange | None = None
    max_failures: float | None = None
    disturbance: Disturbance = field(default_factory=Disturbance)

    def __post_init__(self) -> None:
        if self.keep is not None:
            check_claim(self.keep, self.max_failures)
        elif self.clip_range is not None or self.max_failures is not None:
            raise InputError(f"`{'max_failures' if self.clip_range is None else 'clip_range'}` needs `keep`")
        minimums = {"episodes": 1, "calls": 1, "paced_ticks": 1, "first_seed": 0, "loop_episodes": 1}
        for name, value in minimums.items():
            if getattr(self, name) < value:
                raise InputError(f"`{name}` must be at least {value}, got {getattr(self, name)}")
        played = self.seeds if self.keep is None else self.range_seeds
        if played.stop - 1 > LARGEST_SEED:
            raise InputError(
                f"`first_seed` {self.first_seed} and `episodes` {self.episodes} lead to seeds beyond {LARGEST_SEED}; "
                "give smaller ones"
            )
        if self.loop_episodes > LARGEST_SEED:
            raise InputError(f"`loop_episodes` must be at most {LARGEST_SEED}, got {self.loop_episodes}")

    @property
    def disturbances(self) -> dict[str, Disturbance]:
        """The disturbances, one kind each, by name."""
        return self.disturbance.apart()

    @property
    def seeds(self) -> range:
        """The episode seeds."""
        return range(self.first_seed, self.first_seed + self.episodes)

    @property
    def range_seeds(self) -> range:
        """The seeds of the episodes that fix the range: those after ``seeds``."""
        return range(self.first_seed + self.episodes, self.first_seed + self.episodes + RANGE_EPISODES)

    @property
    def loop_seeds(self) -> range:
        """The seeds of the episodes with an emulated processor in the loop."""
        return self.seeds[: self.loop_episodes]
