"""How much ``bench`` measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from prunekit.errors import InputError

FIRST_SEED = 10_000
LARGEST_SEED = 2**32 - 1
LEAST_EPISODES = 20


@final
@dataclass(frozen=True)
class BenchSettings:
    """How much to measure. Episode seeds run from ``first_seed`` upwards, the same for every model.

    ``loop_episodes`` are those with an emulated processor in the loop, which is slow; the first ones of ``episodes``.
    """

    episodes: int = 100
    first_seed: int = FIRST_SEED
    calls: int = 5_000
    paced_ticks: int = 250
    loop_episodes: int = 3

    def __post_init__(self) -> None:
        least = {"episodes": 1, "calls": 1, "paced_ticks": 1, "first_seed": 0, "loop_episodes": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise InputError(f"--{name.replace('_', '-')} must be at least {value}, got {getattr(self, name)}")
        if self.first_seed + self.episodes - 1 > LARGEST_SEED:
            raise InputError(
                f"--first-seed {self.first_seed} and --episodes {self.episodes} lead to seeds beyond {LARGEST_SEED}; "
                "give smaller ones"
            )
        if self.loop_episodes > LARGEST_SEED:
            raise InputError(f"--loop-episodes must be at most {LARGEST_SEED}, got {self.loop_episodes}")

    @property
    def seeds(self) -> range:
        """The episode seeds."""
        return range(self.first_seed, self.first_seed + self.episodes)

    @property
    def loop_seeds(self) -> range:
        """The seeds of the episodes with an emulated processor in the loop."""
        return self.seeds[: self.loop_episodes]


def check_keep(keep: float, episodes: int) -> None:
    """Raise InputError where ``keep`` is no share or so few ``episodes``, those of the first device, bound nothing."""
    if not 0.0 < keep <= 1.0:
        raise InputError(f"--keep must lie in (0, 1], got {keep:g}")
    if episodes < LEAST_EPISODES:
        raise InputError(
            f"--keep needs at least {LEAST_EPISODES} episodes for its bound, got {episodes} on the first device"
        )
