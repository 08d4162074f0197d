"""Descriptive statistics of returns: interquartile mean, bootstrap intervals, retention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError

Array = NDArray[np.float64]
RESAMPLES = 10_000


def interquartile_mean(values: Array) -> float:
    """Return the mean of ``values`` [n] without the floor(n / 4) lowest and highest.

    Raises InputError if there are none.
    """
    if not len(values):
        raise InputError("the mean of no values is not defined")
    cut = len(values) // 4
    return float(np.sort(values)[cut : len(values) - cut].mean())


def bootstrap_means(values: Array, generator: np.random.Generator, *, resamples: int = RESAMPLES) -> Array:
    """Return the means of ``resamples`` resamples of ``values`` [n] with replacement."""
    return np.asarray(values[_resamples(len(values), generator, resamples)].mean(axis=1))


def mean_interval(
    values: Array, generator: np.random.Generator, *, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """Return the two-sided 95% percentile bootstrap interval of the mean of ``values`` [n].

    Returns None for a single value, which says nothing of the spread. Raises InputError if there are none.
    """
    if len(values) == 1:
        return None
    return _ends(bootstrap_means(values, generator, resamples=resamples))


def iqm_interval(
    values: Array, generator: np.random.Generator, *, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """Return the two-sided 95% percentile bootstrap interval of the interquartile mean of ``values`` [n].

    Returns None for a single value, which says nothing of the spread. Raises InputError if there are none.
    """
    if len(values) == 1:
        return None
    cut = len(values) // 4
    ordered = np.sort(values[_resamples(len(values), generator, resamples)], axis=1)
    return _ends(ordered[:, cut : len(values) - cut].mean(axis=1))


@final
@dataclass(frozen=True, kw_only=True)
class Retention:
    """The share of the return that is kept. ``estimate`` is None if it is undefined, for the ``reason``.

    ``ci95`` is the two-sided 95% bootstrap interval; None for a single episode. It describes the episodes that were
    played and is not a bound: it knows nothing of failures that are rarer than one in those episodes. Claims use
    ``certificate.py``.
    """

    estimate: float | None
    ci95: tuple[float, float] | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        interval = None if self.ci95 is None else list(self.ci95)
        return {"estimate": self.estimate, "ci95": interval, "reason": self.reason}


def retention(
    small: Array, teacher: Array, random: Array, generator: np.random.Generator, *, resamples: int = RESAMPLES
) -> Retention:
    """Return (R_small - R_random) / (R_teacher - R_random), of mean returns over the same episode seeds, [n] each.

    The bootstrap resamples episodes, the same ones for all three policies. Retention is undefined if the teacher's mean
    is not above the random policy's, or not in 95% of the resamples.
    """
    spread = float(teacher.mean() - random.mean())
    if spread <= 0.0:
        return Retention(estimate=None, reason="the reference earns no more than the random policy")
    chosen = _resamples(len(teacher), generator, resamples)
    spreads = (teacher - random)[chosen].mean(axis=1)
    if float((spreads <= 0.0).mean()) > 0.05:
        return Retention(
            estimate=None, reason="the reference is not clearly above the random policy; use more episodes"
        )
    ratios = (small - random)[chosen].mean(axis=1)[spreads > 0.0] / spreads[spreads > 0.0]
    estimate = float(small.mean() - random.mean()) / spread
    if len(teacher) == 1:
        return Retention(estimate=estimate)
    return Retention(estimate=estimate, ci95=_ends(ratios))


def bootstrap_bound(
    small: Array, teacher: Array, random: Array, generator: np.random.Generator, *, resamples: int = RESAMPLES
) -> float:
    """Return the 5th percentile of retention over resamples. Like ``Retention.ci95`` it is a description, not a claim.

    The teacher must beat the random policy in every resample.
    """
    chosen = _resamples(len(teacher), generator, resamples)
    ratios = (small - random)[chosen].mean(axis=1) / (teacher - random)[chosen].mean(axis=1)
    return float(np.percentile(ratios, 5.0))


def _ends(resampled: Array) -> tuple[float, float]:
    """Return the ends of the two-sided 95% percentile interval."""
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)


def _resamples(count: int, generator: np.random.Generator, resamples: int) -> NDArray[np.int64]:
    if not count:
        raise InputError("there are no values for an interval of their mean; at least one is needed")
    return generator.integers(0, count, size=(resamples, count))
