"""One check: which of the units below the threshold die, in which order, and which never do."""

from __future__ import annotations

import torch
from torch import Tensor

from prunekit.pruning.due import due_units, without_units
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Budget, Sparsity


def check(
    plan: PruningPlan, scores: list[float], alive: list[int], streaks: list[int] | None = None, patience: int = 1
) -> tuple[list[int], list[int]]:
    """Return (indices alive, streaks) after one check of a single group at full growth."""
    keep = torch.zeros(len(scores), dtype=torch.bool)
    keep[alive] = True
    counts = torch.tensor(streaks or [0] * len(scores))
    due = due_units(plan, 1.0, patience, {"a": torch.tensor(scores)}, {"a": keep}, {"a": counts})
    masks = without_units({"a": keep}, due.weakest)
    return masks["a"].nonzero().flatten().tolist(), due.streaks["a"].tolist()


def test_the_weakest_of_those_below_die_first() -> None:
    plan = PruningPlan(threshold=Sparsity(0.75), share_per_check=0.25)
    alive, _ = check(plan, [5.0, 2.0, 7.0, 3.0, 8.0, 1.0, 6.0, 4.0], list(range(8)))
    assert alive == [0, 2, 3, 4, 6, 7]


def test_a_weak_unit_without_the_patience_lets_a_stronger_one_die_before_it() -> None:
    plan = PruningPlan(threshold=Sparsity(0.5), share_per_check=0.25)
    alive, streaks = check(plan, [1.0, 2.0, 3.0, 4.0], [0, 1, 2, 3], [0, 2, 0, 2], patience=3)
    assert alive == [0, 2, 3]
    assert streaks == [1, 3, 0, 0]


def test_the_dead_count_for_no_cap_and_die_no_second_time() -> None:
    plan = PruningPlan(threshold=Sparsity(0.875), share_per_check=0.5)
    alive, streaks = check(plan, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [4, 5, 6, 7])
    assert alive == [6, 7]
    assert streaks == [0, 0, 0, 0, 1, 1, 1, 0]


def test_a_dead_unit_s_score_saves_no_living_one_and_takes_no_place_of_the_strongest() -> None:
    plan = PruningPlan(threshold=Budget(0.99), share_per_check=1.0, min_units=2)
    alive, _ = check(plan, [1000.0, 1.0, 3.0, 2.0, 1000.0], [1, 2, 3])
    assert alive == [2, 3]


def test_groups_are_capped_each_by_its_own_width() -> None:
    plan = PruningPlan(threshold=Sparsity(0.5), share_per_check=0.1)
    scores = {"wide": torch.arange(30.0), "narrow": torch.arange(4.0)}
    masks = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    streaks = {name: torch.zeros_like(score, dtype=torch.int64) for name, score in scores.items()}
    kept = without_units(masks, due_units(plan, 1.0, 1, scores, masks, streaks).weakest)
    assert {name: (~keep).nonzero().flatten().tolist() for name, keep in kept.items()} == {
        "wide": [0, 1, 2],
        "narrow": [0],
    }


def test_what_is_given_is_not_changed() -> None:
    plan = PruningPlan(threshold=Sparsity(0.5), share_per_check=1.0)
    given: list[dict[str, Tensor]] = [
        {"a": torch.arange(4.0)},
        {"a": torch.ones(4, dtype=torch.bool)},
        {"a": torch.zeros(4, dtype=torch.int64)},
    ]
    copies = [{name: value.clone() for name, value in part.items()} for part in given]
    masks = without_units(given[1], due_units(plan, 1.0, 1, *given).weakest)
    assert masks["a"].tolist() == [False, False, True, True]
    assert all(torch.equal(mine["a"], its["a"]) for mine, its in zip(given, copies, strict=True))
