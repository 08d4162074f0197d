"""The pruner's window: the guard's pauses, what the window's end does in each mode, and the penalty's end."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from pruning_helpers import batches, bits, early_plan, fit_step, idle_step, mlp
from torch import nn

from prunekit.pruning.groups import find_groups
from prunekit.pruning.guard import ReturnGuard
from prunekit.pruning.importance import Evidence, UnitImportance, unit_norms
from prunekit.pruning.penalties import GRADIENT, PROXIMAL, Penalty, median_norm, scale_free_lambda, unit_size
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Budget, Phases, Sparsity


def holding_guard() -> ReturnGuard:
    """Return a guard that holds pruning back until a good return is reported."""
    guard = ReturnGuard(floor=0.0, window=1)
    guard.record([100.0])
    guard.record([10.0])
    assert guard.paused
    return guard


def attach(
    network: nn.Sequential, plan: PruningPlan, guard: ReturnGuard | None = None, total_steps: int = 200
) -> Pruner:
    return Pruner(network, torch.optim.Adam(network.parameters(), lr=1e-3), total_steps, plan, guard=guard)


def dead_units(pruner: Pruner) -> int:
    return sum(int((~keep).sum()) for keep in pruner.masks.values())


@pytest.mark.parametrize("penalty", [PROXIMAL, GRADIENT])
def test_a_paused_pruner_neither_removes_nor_pulls(penalty: Penalty) -> None:
    plain, network = mlp(3, 20, 2), mlp(3, 20, 2)
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-3)
    pruner = attach(network, early_plan(Budget(0.5), penalty=penalty), holding_guard())
    states = batches(3)
    for step in range(1, 140):
        batch = states()
        fit_step(plain, optimizer, batch)
        fit_step(network, pruner.optimizer, batch)
        assert pruner.phase == ("dense" if step < 40 else "paused")
        assert (pruner.penalty_strength, pruner.sparsity) == (0.0, 0.0)
    assert bits(network) == bits(plain)


def test_pruning_goes_on_when_the_return_has_recovered() -> None:
    network, guard, states = mlp(3, 40, 2), ReturnGuard(floor=0.0, window=1), batches(3)
    pruner = attach(network, early_plan(Sparsity(0.5)), guard)
    reports = {1: 100.0, 60: 10.0, 80: 95.0}
    dead = []
    for step in range(200):
        if step in reports:
            guard.record([reports[step]])
        fit_step(network, pruner.optimizer, states())
        dead.append(dead_units(pruner))
        assert pruner.paused is (60 <= step < 80)
        assert (pruner.penalty_strength > 0.0) is (39 <= step < 139 and not pruner.paused and not pruner.frozen)
    assert dead[59] > 0
    assert dead[60:80] == [dead[59]] * 20
    assert dead[79] < dead[100] <= dead[-1] == 20


def test_a_guard_that_holds_for_long_is_overruled_in_good_time_where_a_sparsity_was_asked_for() -> None:
    network, states = mlp(3, 40, 2), batches(3)
    pruner = attach(network, early_plan(Sparsity(0.5)), holding_guard())
    dead, phases = [0], [pruner.phase]
    for _ in range(200):
        fit_step(network, pruner.optimizer, states())
        dead.append(dead_units(pruner))
        phases.append(pruner.phase)
        assert pruner.overruled is (pruner.phase == "overruled")
    # half of the 90 steps in which the threshold grows: from there it runs at twice its usual speed
    assert dead[85] == 0 < dead[90]
    assert 19 <= dead[139] <= dead[-1] == 20
    assert max(after - before for before, after in pairwise(dead)) <= 2
    assert list(dict.fromkeys(phases)) == ["dense", "paused", "overruled", "frozen"]
    assert 80 < phases.index("overruled") <= 90, "from where on units die though the return has not recovered"


def test_what_the_window_did_not_remove_goes_without_patience_after_it() -> None:
    network, states = mlp(3, 40, 2), batches(3)
    pruner = attach(network, early_plan(Sparsity(0.5), patience=200))
    dead = [0]
    for _ in range(200):
        fit_step(network, pruner.optimizer, states())
        dead.append(dead_units(pruner))
    assert dead[139] == 0
    # still by at most a tenth of the living at a check
    assert dead[140:148] == [4, 7, 10, 13, 15, 17, 19, 20]
    assert dead[-1] == 20


def test_no_penalty_acts_after_the_window_while_units_are_still_to_go() -> None:
    network, states = mlp(3, 40, 2), batches(3)
    pruner = attach(network, early_plan(Sparsity(0.9), share_per_check=1e-9, patience=200))
    for _ in range(141):
        idle_step(network, pruner.optimizer, states())
    assert (pruner.frozen, pruner.penalty_strength, dead_units(pruner)) == (False, 0.0, 2)
    norms = unit_norms(network, pruner.groups[0])
    for _ in range(10):
        idle_step(network, pruner.optimizer, states())
    after = unit_norms(network, pruner.groups[0])
    assert dead_units(pruner) == 12
    assert bool((after == torch.where(pruner.masks["0"], norms, 0.0)).all())


def test_a_budget_s_masks_are_frozen_when_the_window_ends() -> None:
    network, states = mlp(3, 40, 2), batches(3)
    pruner = attach(network, early_plan(Budget(0.3)))
    frozen, dead = [], []
    for _ in range(200):
        fit_step(network, pruner.optimizer, states())
        frozen.append(pruner.frozen)
        dead.append(dead_units(pruner))
    assert frozen == [False] * 139 + [True] * 61
    assert dead[138] > 0
    assert dead[138:] == [dead[138]] * 62


def test_the_end_of_the_window_removes_nothing_for_a_budget_that_the_guard_held_back() -> None:
    network, states = mlp(3, 40, 2), batches(3)
    pruner = attach(network, early_plan(Budget(0.9)), holding_guard())
    for _ in range(200):
        fit_step(network, pruner.optimizer, states())
    assert (pruner.frozen, pruner.sparsity) == (True, 0.0)


def test_a_budget_never_overrules_the_guard_even_before_the_first_check_after_the_window() -> None:
    network, states = mlp(3, 4, 2), batches(3)
    pruner = attach(network, early_plan(Budget(0.9), checks=20), holding_guard(), total_steps=2000)
    waited = 0
    while not pruner.frozen:
        idle_step(network, pruner.optimizer, states())
        assert not pruner.overruled, "nothing is removed"
        waited += pruner.progress >= 0.7 and not pruner.frozen
    assert waited > 1


def test_a_budget_gives_no_unit_less_patience_at_the_window_s_end() -> None:
    network, states = mlp(3, 10, 2), batches(3)

    def weak_at_the_end(_: Evidence) -> UnitImportance:
        scores = torch.ones(10)
        scores[4] = 0.01 if pruner.steps >= 140 else 1.0
        return {"0": scores}

    pruner = attach(network, early_plan(Budget(0.05), weak_at_the_end, memory=0.0))
    for _ in range(200):
        fit_step(network, pruner.optimizer, states())
    assert (pruner.frozen, pruner.sparsity) == (True, 0.0)


@pytest.mark.parametrize("penalty", [PROXIMAL, GRADIENT])
@pytest.mark.parametrize("threshold", [Sparsity(0.5), Budget(0.2)])
def test_the_penalty_acts_in_the_window_alone(threshold: Sparsity | Budget, penalty: Penalty) -> None:
    network, states = mlp(3, 20, 2), batches(3)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
    pruner = Pruner(network, optimizer, 200, early_plan(threshold, penalty=penalty, strength=0.1))
    sizes = []
    for _ in range(200):
        idle_step(network, optimizer, states())
        sizes.append(float(unit_norms(network, pruner.groups[0]).sum()))
    assert len(set(sizes[:40])) == 1
    assert all(later < earlier for earlier, later in pairwise(sizes[39:121]))
    assert len(set(sizes[140:])) == 1
    assert pruner.penalty_strength == 0.0


def test_dead_units_are_zero_whatever_the_optimizer_s_momentum_says() -> None:
    network, states = mlp(3, 20, 12, 2, activation=nn.Sigmoid), batches(3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.05, weight_decay=0.1)
    pruner = Pruner(network, optimizer, 200, early_plan(Sparsity(0.75)))
    for _ in range(200):
        fit_step(network, optimizer, states())
        for group in pruner.groups:
            dead = ~pruner.masks[group.name]
            assert bool((unit_norms(network, group)[dead] == 0.0).all())
    assert dead_units(pruner) == 24


def test_lambda_is_settled_once_from_the_networks_first_norms_in_the_window() -> None:
    network, states = mlp(3, 20, 2), batches(3)
    expected = scale_free_lambda(median_norm(network, find_groups(network)), 0.5, 1e-2, 50)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
    pruner = Pruner(
        network, optimizer, 128, early_plan(Sparsity(0.5), strength=0.5, phases=Phases(start=0.25, end=0.640625))
    )
    seen = set()
    for _ in range(128):
        idle_step(network, optimizer, states())
        seen.add(pruner.lambda_)
    assert seen == {0.0, expected}


def test_lambda_waits_for_a_learning_rate_that_starts_at_zero() -> None:
    network, states = mlp(3, 20, 2), batches(3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    pruner = Pruner(network, optimizer, 200, early_plan(Budget(0.0), phases=Phases(start=0.25, end=0.75)))
    seen = []
    for step in range(100):
        optimizer.param_groups[0]["lr"] = 0.0 if step < 60 else 1e-2
        idle_step(network, optimizer, states())
        seen.append(pruner.lambda_)
    assert seen[:60] == [0.0] * 60
    assert seen[60:] == [scale_free_lambda(median_norm(mlp(3, 20, 2), pruner.groups), 1.0, 1e-2, 100)] * 40


def test_important_units_are_pulled_less() -> None:
    network, states = mlp(3, 20, 2), batches(3)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
    scores = {"0": torch.linspace(0.1, 1.9, 20)}
    pruner = Pruner(network, optimizer, 200, early_plan(Budget(0.0), lambda _: scores, strength=0.1))
    norms = []
    for _ in range(41):
        idle_step(network, optimizer, states())
        norms.append(unit_norms(network, pruner.groups[0]))
    taken = norms[39] - norms[40]
    assert bool((taken.diff() < 0.0).all())
    # an average pull of lr * lambda * sqrt(|g|), whatever the importances are
    width = unit_size(network, pruner.groups[0])
    assert float(taken.mean()) == pytest.approx(1e-2 * pruner.lambda_ * width**0.5)


@pytest.mark.parametrize("checks", [1, 5, 10, 200])
def test_the_sparsity_is_reached_however_few_the_checks(checks: int) -> None:
    network, states = mlp(3, 64, 64, 2), batches(3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    pruner = Pruner(network, optimizer, 400, early_plan(Sparsity(0.93), checks=checks))
    for _ in range(400):
        fit_step(network, optimizer, states())
    assert pruner.frozen
    assert sum(int(keep.sum()) for keep in pruner.masks.values()) == 8  # floor of 7% of 128 units
