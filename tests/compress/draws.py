"""Synthetic returns of policies whose retention is known, skewed ones too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from prunekit.bench.stats import Array

KEEP = 0.95
DENSE, RANDOM = 1000.0, 20.0
Draw = Callable[[np.random.Generator, float, int], Array]


def mean_of(retention: float) -> float:
    return RANDOM + retention * (DENSE - RANDOM)


def normal(generator: np.random.Generator, retention: float, count: int) -> Array:
    return generator.normal(mean_of(retention), 80.0, count)


def falling_now_and_then(generator: np.random.Generator, retention: float, count: int) -> Array:
    """Perfect, or no better than random."""
    return np.where(generator.random(count) < retention, DENSE, RANDOM)


def long_tail_down(generator: np.random.Generator, retention: float, count: int) -> Array:
    losses = np.minimum(generator.exponential(1.0, count) ** 2, 16.0)  # of mean 1.85
    return DENSE + 10.0 - losses / 1.85 * (DENSE + 10.0 - mean_of(retention))


def long_tail_up(generator: np.random.Generator, retention: float, count: int) -> Array:
    """Mostly poor, seldom splendid."""
    return mean_of(retention) * generator.gamma(0.5, 2.0, count)


DRAWS: tuple[Draw, ...] = (normal, falling_now_and_then, long_tail_down, long_tail_up)
