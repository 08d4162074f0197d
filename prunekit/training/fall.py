"""Whether a run ended far below what it had earned, by its record of training returns."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, variance
from typing import final

from prunekit.errors import InputError


@final
@dataclass(frozen=True, kw_only=True)
class Fall:
    """Mean training returns: of the last part of a run, and of its best part, which ended at ``best_steps``."""

    end: float
    best: float
    best_steps: int

    @property
    def sentence(self) -> str:
        """What happened, and what to do."""
        return (
            f"the return fell during training, from {self.best:,.1f} up to step {self.best_steps:,} to {self.end:,.1f} "
            "at the end; train again with another `seed`"
        )


def fall_of(
    steps: Sequence[int],
    returns: Sequence[float | None],
    floor: float,
    *,
    parts: int = 10,
    share: float = 0.5,
    margin: float = 3.0,
    min_returns: int = 3,
) -> Fall | None:
    """Return the fall of a run whose last part of ``parts`` lost more than ``share`` of what its best part had gained.

    ``returns`` [n] are the means of the episodes that ended up to each of ``steps`` [n], None where none did. Gains are
    over ``floor``, the random policy's return. The loss has to show beyond chance: the last part is taken ``margin``
    standard errors higher and the others as much lower, by the deviation within parts. Parts with fewer than
    ``min_returns`` returns are left out. Returns None where there was no fall, or where the last part is left out.
    Raises InputError unless there are at least 2 parts of at least 2 returns.

    >>> fall_of(range(1, 31), [*[100.0] * 24, *[3.0] * 6], 0.0, parts=5)
    Fall(end=3.0, best=100.0, best_steps=6)
    """
    if parts < 2 or min_returns < 2:
        raise InputError(f"a fall needs at least 2 parts of at least 2 returns, got {parts} of {min_returns}")
    edges = [len(steps) * part // parts for part in range(parts + 1)]
    known = [[value for value in returns[begin:end] if value is not None] for begin, end in pairwise(edges)]
    judged = [index for index, values in enumerate(known) if len(values) >= min_returns]
    if len(judged) < 2 or judged[-1] != parts - 1:
        return None
    deviation = math.sqrt(fmean(variance(known[index]) for index in judged))
    means = {index: fmean(known[index]) for index in judged}
    errors = {index: margin * deviation / math.sqrt(len(known[index])) for index in judged}
    best, last = max(judged[:-1], key=lambda index: means[index] - errors[index]), judged[-1]
    gain, left = means[best] - errors[best] - floor, means[last] + errors[last] - floor
    if gain <= 0.0 or left >= (1.0 - share) * gain:
        return None
    return Fall(end=means[last], best=means[best], best_steps=steps[edges[best + 1] - 1])


def fall_in(metrics: Path, floor: float) -> Fall | None:
    """Return the fall that a run's ``metrics.csv`` records, as ``fall_of`` has it; damaged rows have no return."""
    return fall_of(*_returns_in(metrics), floor)


def last_return_in(metrics: Path) -> int | None:
    """Return the step of the last return that a run's ``metrics.csv`` records; None if there is none."""
    steps, returns = _returns_in(metrics)
    return next(
        (step for step, value in zip(reversed(steps), reversed(returns), strict=True) if value is not None), None
    )


def _returns_in(metrics: Path) -> tuple[list[int], list[float | None]]:
    try:
        with metrics.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = [row for row in csv.DictReader(file) if (row.get("steps") or "").isdecimal()]
    except (OSError, csv.Error):
        return [], []
    return [int(row["steps"]) for row in rows], [_number(row.get("mean_return")) for row in rows]


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
