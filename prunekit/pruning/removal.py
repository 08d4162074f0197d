"""The decision which units die at a check: dynamic threshold, patience, and the limit per check."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import units_below


def remove_below(
    plan: PruningPlan,
    growth: float,
    patience: int,
    importance: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    streaks: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return (masks, streaks) after one check; all arguments and results are [width] per group.

    A streak (int64) is the number of consecutive checks at which a unit was below the threshold. Units with a streak of
    ``patience`` die, the least important first, up to ``plan.share_per_check`` of a group's living units but at least
    one. The ``plan.min_living`` most important units of a group never die.
    """
    removed = {name: ~keep for name, keep in masks.items()}
    protected = {
        name: _strongest(importance[name], keep, plan.min_living(keep.numel())) for name, keep in masks.items()
    }
    below = units_below(plan.threshold, growth, importance, removed, protected)
    kept: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    for name, keep in masks.items():
        counts[name] = torch.where(below[name], streaks[name] + 1, 0)
        ready = (counts[name] >= patience).nonzero().squeeze(1)
        weakest = ready[torch.argsort(importance[name].cpu()[ready], stable=True)]
        cap = max(1, int(plan.share_per_check * int(keep.sum())))
        kept[name] = keep.index_fill(0, weakest[:cap], False)
    return kept, counts


def _strongest(importance: Tensor, keep: Tensor, count: int) -> Tensor:
    ranked = torch.argsort(torch.where(keep, importance.cpu(), -torch.inf), descending=True)
    return torch.zeros_like(keep).index_fill(0, ranked[:count], True)
