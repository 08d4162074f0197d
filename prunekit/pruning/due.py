"""The decision which units are due at a check: dynamic threshold, patience, and the limit per check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import units_below

Unit = tuple[str, int]
"""The name of a group, and the index of one of its original units."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Due:
    """The units that are due at a check.

    ``ready`` (int64 [due]) are their indices per group, the least important first, of which at most ``caps`` may die.
    ``free`` (bool [width]) are all units that may die at all. ``importance`` and ``streaks`` are [width] per group.
    """

    ready: Mapping[str, Tensor]
    caps: Mapping[str, int]
    free: Mapping[str, Tensor]
    importance: Mapping[str, Tensor]
    streaks: dict[str, Tensor]

    @property
    def units(self) -> list[Unit]:
        """The units that are due, of all groups, the least important first."""
        return self._ranked(self.ready)

    @property
    def weakest(self) -> list[Unit]:
        """The least important of the units that are due, as many as may die."""
        return self._ranked({name: ready[: self.caps[name]] for name, ready in self.ready.items()})

    @property
    def candidates(self) -> list[Unit]:
        """All units that may die, due or not, the least important first."""
        return self._ranked({name: free.nonzero().squeeze(1) for name, free in self.free.items()})

    def allows(self, units: Sequence[Unit]) -> bool:
        """Return whether ``units`` may die together at one check."""
        return all(sum(unit[0] == name for unit in units) <= cap for name, cap in self.caps.items())

    def _ranked(self, indices: Mapping[str, Tensor]) -> list[Unit]:
        units = [(name, index) for name, found in indices.items() for index in found.tolist()]
        values = {name: self.importance[name].tolist() for name in indices}
        return sorted(units, key=lambda unit: values[unit[0]][unit[1]])


def due_units(
    plan: PruningPlan,
    growth: float,
    patience: int,
    importance: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    streaks: Mapping[str, Tensor],
) -> Due:
    """Return which units are due at one check; all arguments are [width] per group.

    A streak (int64) is the number of consecutive checks at which a unit was below the threshold. Units with a streak of
    ``patience`` are due, and up to ``plan.share_per_check`` of a group's living units may die, but at least one. The
    ``plan.min_living`` most important units of a group never die.
    """
    removed = {name: ~keep for name, keep in masks.items()}
    protected = {
        name: _strongest(importance[name], keep, plan.min_living(keep.numel())) for name, keep in masks.items()
    }
    below = units_below(plan.threshold, growth, importance, removed, protected)
    counts: dict[str, Tensor] = {}
    weakest: dict[str, Tensor] = {}
    for name in masks:
        counts[name] = torch.where(below[name], streaks[name] + 1, 0)
        ready = (counts[name] >= patience).nonzero().squeeze(1)
        weakest[name] = ready[torch.argsort(importance[name].cpu()[ready], stable=True)]
    return Due(
        ready=weakest,
        caps={name: max(1, int(plan.share_per_check * int(keep.sum()))) for name, keep in masks.items()},
        free={name: keep & ~protected[name] for name, keep in masks.items()},
        importance=importance,
        streaks=counts,
    )


def without_units(masks: Mapping[str, Tensor], units: Sequence[Unit]) -> dict[str, Tensor]:
    """Return ``masks`` without ``units``."""
    indices = {name: [index for other, index in units if other == name] for name in masks}
    return {
        name: keep.index_fill(0, torch.tensor(indices[name], dtype=torch.int64), False) for name, keep in masks.items()
    }


def _strongest(importance: Tensor, keep: Tensor, count: int) -> Tensor:
    ranked = torch.argsort(torch.where(keep, importance.cpu(), -torch.inf), descending=True)
    return torch.zeros_like(keep).index_fill(0, ranked[:count], True)
