"""Statistics over the cells of a sweep: interquartile means over seeds, and their bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from prunekit.report.sweep_results import SweepCell
from prunekit.stats.bootstrap import interquartile_mean, iqm_interval

UNPRUNED = "unpruned"
"""The method that retention is measured by."""


@final
@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An interquartile mean over seeds and its 95% bootstrap interval (None with a single seed)."""

    value: float
    interval: tuple[float, float] | None

    @property
    def low(self) -> float | None:
        """The interval's lower end."""
        return None if self.interval is None else self.interval[0]

    @property
    def high(self) -> float | None:
        """The interval's upper end."""
        return None if self.interval is None else self.interval[1]


@final
@dataclass(frozen=True, kw_only=True)
class Summary:
    """All seeds of a method in one place; sizes and seconds are medians over seeds.

    ``disturbed`` is None if a seed has no such episodes.
    """

    method: str
    cells: tuple[SweepCell, ...]
    returns: Estimate
    disturbed: dict[str, Estimate | None]

    @property
    def parameters(self) -> float:
        """The median number of stored parameters."""
        return float(np.median([cell.parameters for cell in self.cells]))

    @property
    def seconds(self) -> float:
        """The median time of training."""
        return float(np.median([cell.seconds for cell in self.cells]))

    @property
    def units(self) -> float:
        """The median number of hidden units."""
        return float(np.median([sum(cell.hidden) for cell in self.cells]))

    @property
    def hidden(self) -> str:
        """Hidden widths, such as 18x17, or 13-18x17-22 if seeds differ."""
        shapes = {cell.hidden for cell in self.cells}
        if len({len(shape) for shape in shapes}) > 1:
            return f"{min(map(sum, shapes))}-{max(map(sum, shapes))} units"
        ranges = [(min(layer), max(layer)) for layer in zip(*shapes, strict=True)]
        return "x".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges) or "linear"


def summaries(cells: Sequence[SweepCell], methods: Sequence[str], disturbances: Sequence[str]) -> list[Summary]:
    """Return the summary of each of ``methods`` that has ``cells``, all in one place."""
    found = []
    for method in methods:
        own = tuple(sorted((cell for cell in cells if cell.method == method), key=lambda cell: cell.seed))
        if own:
            disturbed = {name: _over_seeds([cell.disturbed.get(name, ()) for cell in own]) for name in disturbances}
            returns = _over_seeds([cell.returns for cell in own])
            assert returns is not None, "cells without returns are refused"
            found.append(Summary(method=method, cells=own, returns=returns, disturbed=disturbed))
    return found


def retained(value: float, random: float | None, unpruned: float | None) -> float | None:
    """Return the share of the unpruned policy's gain over the random policy; None if that gain is not positive."""
    if random is None or unpruned is None or unpruned <= random:
        return None
    return (value - random) / (unpruned - random)


def unpruned_beside(entry: Summary, found: Sequence[Summary]) -> float | None:
    """Return the return of unpruned policies over the seeds of ``entry``; None if ``found`` lacks one of them."""
    cells = next((other.cells for other in found if other.method == UNPRUNED), ())
    own = {cell.seed: cell.returns for cell in cells}
    seeds = [cell.seed for cell in entry.cells]
    if not set(seeds) <= own.keys():
        return None
    whole = _over_seeds([own[seed] for seed in seeds])
    return None if whole is None else whole.value


def _over_seeds(returns: Sequence[Sequence[float]]) -> Estimate | None:
    if not all(returns):
        return None
    means = np.asarray([np.mean(own) for own in returns])
    return Estimate(value=interquartile_mean(means), interval=iqm_interval(means, np.random.default_rng(0)))
