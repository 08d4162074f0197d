"""Synthetic returns of policies: skewed ones, rare crashes, and teachers that hit a jackpot now and then."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from prunekit.stats.bootstrap import Array
from prunekit.stats.clipping import ReturnRange

KEEP = 0.95
DENSE, RANDOM = 1000.0, 20.0
Draw = Callable[[np.random.Generator, float, int], Array]
"""Draws returns of a small policy with so much unclipped retention."""
Teacher = Callable[[np.random.Generator, int], Array]
_SAMPLES = 100_000


def mean_of(retention: float) -> float:
    """Return the mean return of a policy with so much retention."""
    return RANDOM + retention * (DENSE - RANDOM)


def steady(generator: np.random.Generator, count: int) -> Array:
    """Draw returns of a teacher that earns about the same in every episode."""
    return generator.normal(DENSE, 30.0, count)


def random_policy(generator: np.random.Generator, count: int) -> Array:
    """Draw returns of the random policy."""
    return generator.normal(RANDOM, 5.0, count)


def jackpots(times: float, share: float = 0.003) -> Teacher:
    """Return a teacher that earns so many times as much in a small share of its episodes."""

    def draw(generator: np.random.Generator, count: int) -> Array:
        return np.where(generator.random(count) < share, times * DENSE, steady(generator, count))

    draw.__name__ = f"jackpots_of_{times:g}"
    return draw


def normal(generator: np.random.Generator, retention: float, count: int) -> Array:
    """Now a little better, now a little worse."""
    return generator.normal(mean_of(retention), 80.0, count)


def falling_now_and_then(generator: np.random.Generator, retention: float, count: int) -> Array:
    """Perfect, or no better than random."""
    return np.where(generator.random(count) < retention, DENSE, RANDOM)


def long_tail_down(generator: np.random.Generator, retention: float, count: int) -> Array:
    """Mostly good, seldom very poor."""
    losses = np.minimum(generator.exponential(1.0, count) ** 2, 16.0)  # of mean 1.85
    return DENSE + 10.0 - losses / 1.85 * (DENSE + 10.0 - mean_of(retention))


def long_tail_up(generator: np.random.Generator, retention: float, count: int) -> Array:
    """Mostly poor, seldom splendid."""
    return mean_of(retention) * generator.gamma(0.5, 2.0, count)


def crashes(gains: float) -> Draw:
    """Return a policy that is as good as the teacher, but for crashes that lose so many times the teacher's gain."""

    def draw(generator: np.random.Generator, retention: float, count: int) -> Array:
        crashed = generator.random(count) < (1.0 - retention) / gains
        return np.where(crashed, DENSE - gains * (DENSE - RANDOM), generator.normal(DENSE, 30.0, count))

    draw.__name__ = f"crashes_of_{gains:g}_gains"
    return draw


DRAWS: tuple[Draw, ...] = (normal, falling_now_and_then, long_tail_down, long_tail_up)
WORLDS: tuple[tuple[Teacher, Draw], ...] = (
    *((steady, draw) for draw in DRAWS),
    *((steady, crashes(gains)) for gains in (1.5, 7.0, 29.0, 1000.0)),
    *((jackpots(times), draw) for times in (2.0, 50.0, 1000.0) for draw in (normal, falling_now_and_then)),
)
"""Teachers and small policies beside them."""


def world_name(world: tuple[Teacher, Draw]) -> str:
    """Return the name of a teacher and a small policy beside it."""
    return f"{world[0].__name__}-{world[1].__name__}"


@cache
def at_the_threshold(teacher: Teacher, draw: Draw, clip_range: ReturnRange, keep: float = KEEP) -> float:
    """Return the unclipped retention at which that of clipped returns is ``keep``, to sampling error."""
    large = clip_range.clip(teacher(np.random.default_rng(1), _SAMPLES)).mean()
    none = clip_range.clip(random_policy(np.random.default_rng(2), _SAMPLES)).mean()
    wanted, low, high = keep * large + (1.0 - keep) * none, -100.0, 10.0
    for _ in range(30):
        middle = (low + high) / 2.0
        below = clip_range.clip(draw(np.random.default_rng(3), middle, _SAMPLES)).mean() < wanted
        low, high = (middle, high) if below else (low, middle)
    return low
