"""The schedule of pruning: phases, cubic growth, and the dynamic threshold in its two modes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from prunekit.errors import InputError


@final
@dataclass(frozen=True, kw_only=True)
class Phases:
    """The phases as shares of training: unpruned before ``start``, pruning until ``end``, then frozen.

    The threshold reaches its final value at ``full``, a share of the pruning window, so the patience of the last units
    still fits into the window.
    """

    start: float = 0.5
    end: float = 0.8
    full: float = 0.9

    def __post_init__(self) -> None:
        if not (0.0 <= self.start < self.end <= 1.0 and 0.0 < self.full <= 1.0):
            raise InputError(f"phases need 0 <= start < end <= 1 and 0 < full <= 1, got {self}")

    def elapsed(self, progress: float) -> float:
        """Return how much of the growing part of the window is over, in [0, 1]; ``progress`` is the share of training
        done.
        """
        window = (self.end - self.start) * self.full
        return min(max((progress - self.start) / window, 0.0), 1.0)


def growth(x: float) -> float:
    """Return 1 - (1 - x)^3: the threshold at ``x`` in [0, 1], relative to its final value."""
    return 1.0 - (1.0 - x) ** 3


@final
@dataclass(kw_only=True)
class Clock:
    """The time of pruning: it stands still during a pause, and catches up over all of the remaining time.

    Both ``elapsed`` time and ``position`` go from 0 to 1. Without pauses they are equal. After a pause, position runs
    faster by ``catch_up_rate = (1 - position) / (1 - elapsed)``, at most 2, so it arrives in time without a jump. It
    arrives at the end in any case.
    """

    position: float = 0.0
    elapsed: float = 0.0

    @property
    def catch_up_rate(self) -> float:
        """The factor by which the position must move faster than without pauses from now on."""
        if self.position >= 1.0:
            return 1.0
        return min((1.0 - self.position) / max(1.0 - self.elapsed, 1e-9), _MAX_CATCH_UP_RATE)

    @property
    def late(self) -> bool:
        """Whether the clock could no longer catch up after another pause."""
        return self.catch_up_rate >= _MAX_CATCH_UP_RATE

    def advance(self, elapsed: float, *, paused: bool) -> None:
        """Move on to ``elapsed``."""
        if elapsed >= 1.0 and not paused:
            self.position = 1.0
        elif not paused:
            self.position = min(self.position + (elapsed - self.elapsed) * self.catch_up_rate, 1.0)
        self.elapsed = elapsed


@final
@dataclass(frozen=True)
class Sparsity:
    """Remove exactly the share ``goal`` of all hidden units (rounded up to whole units)."""

    goal: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.goal < 1.0:
            raise InputError(f"`sparsity` must be at least 0 and below 1, got {self.goal:g}")

    @property
    def target(self) -> float:  # for one release
        """The old name of ``goal``."""
        warnings.warn("Sparsity.target is called goal now", DeprecationWarning, stacklevel=2)  # for one release
        return self.goal

    def removals(self, total: int) -> int:
        """Return how many of ``total`` units must be removed."""
        return math.ceil(self.goal * total - 1e-9)


@final
@dataclass(frozen=True)
class Budget:
    """Remove as many units as possible whose importances add up to at most the share ``goal`` of the total."""

    goal: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.goal < 1.0:
            raise InputError(f"`budget` must be at least 0 and below 1, got {self.goal:g}")

    @property
    def target(self) -> float:  # for one release
        """The old name of ``goal``."""
        warnings.warn("Budget.target is called goal now", DeprecationWarning, stacklevel=2)  # for one release
        return self.goal


Threshold = Sparsity | Budget

_MAX_CATCH_UP_RATE = 2.0


def units_below(
    threshold: Threshold,
    growth: float,
    importance: Mapping[str, Tensor],
    removed: Mapping[str, Tensor],
    protected: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Return bool [width] per group: the living units at or below the dynamic threshold tau.

    ``importance`` [width] is normalized; a removed unit has the value that it had when it was removed. ``removed`` and
    ``protected`` are bool [width]. In sparsity mode tau is the quantile that removes the share goal * growth of all
    units. In budget mode tau is the largest value for which all units at or below it have at most goal * growth of
    the total importance.
    """
    names = list(importance)
    values = torch.cat([importance[name].double().cpu() for name in names])
    gone = torch.cat([removed[name] for name in names])
    free = ~gone & ~torch.cat([protected[name] for name in names])
    below = torch.zeros_like(gone)
    match threshold:
        case Sparsity():
            wanted = int(threshold.removals(gone.numel()) * growth + 1e-9) - int(gone.sum())
            ranked = torch.argsort(torch.where(free, values, torch.inf), stable=True)
            below[ranked[: min(max(wanted, 0), int(free.sum()))]] = True
        case Budget():
            ascending = values.sort().values
            unaffordable = ascending[ascending.cumsum(dim=0) > threshold.goal * growth * values.sum()]
            tau = unaffordable[0] if unaffordable.numel() else torch.inf
            below = (values < tau) & free
    sections = [importance[name].numel() for name in names]
    return dict(zip(names, torch.split(below, sections), strict=True))
