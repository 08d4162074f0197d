"""The pruner's schedule: when units die, which ones, how many at once, and what is left at the end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from pruning_helpers import batches, bits, early_plan, fit, fit_step, fixed_importance, idle_step, mlp
from torch import nn

from prunekit.errors import CheckError
from prunekit.pruning.importance import Evidence, UnitImportance, output_sensitivity, unit_norms
from prunekit.pruning.penalties import GRADIENT, PROXIMAL, Penalty
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Budget, Phases, Sparsity

AT_ONCE = Phases(start=0.25, end=0.75, full=1e-9)


def dead_units(pruner: Pruner) -> int:
    return sum(int((~keep).sum()) for keep in pruner.masks.values())


def history(network: nn.Sequential, pruner: Pruner, steps: int) -> list[int]:
    """Train and return the number of dead units after every step, the first entry being before any."""
    dead = [dead_units(pruner)]
    states = batches(3)
    for _ in range(steps):
        fit_step(network, pruner.optimizer, states())
        dead.append(dead_units(pruner))
    return dead


def attach(network: nn.Sequential, total_steps: int, plan: PruningPlan, learning_rate: float = 1e-3) -> Pruner:
    return Pruner(network, torch.optim.Adam(network.parameters(), lr=learning_rate), total_steps, plan)


def constantly_below(fraction: float = 0.05) -> dict[str, list[float]]:
    """Scores of ten units of which the fourth alone holds less than ``fraction`` of the sum."""
    return {"g0": [1.0, 1.0, 1.0, fraction, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]}


@pytest.mark.parametrize("penalty", [PROXIMAL, GRADIENT])
@pytest.mark.parametrize(("target", "removed"), [(0.0, 0), (0.5, 16), (0.75, 24), (0.93, 30)])
def test_training_ends_with_exactly_the_target_sparsity(target: float, removed: int, penalty: Penalty) -> None:
    network = mlp(3, 20, 12, 2)
    pruner = attach(network, 200, early_plan(Sparsity(target), penalty=penalty))
    fit(network, pruner.optimizer, 200)
    assert dead_units(pruner) == removed
    assert pruner.sparsity == pytest.approx(removed / 32)
    assert (pruner.frozen, pruner.phase, pruner.steps, pruner.progress) == (True, "frozen", 200, 1.0)
    zeros = [int((unit_norms(network, group) == 0.0).sum()) for group in pruner.groups]
    assert sum(zeros) == removed


def test_the_dense_phase_trains_as_if_no_pruner_were_there() -> None:
    plain, network = mlp(3, 20, 2), mlp(3, 20, 2)
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-3)
    pruner = attach(network, 200, early_plan(Sparsity(0.5)))
    states, same = batches(3), []
    for _ in range(45):
        batch = states()
        fit_step(plain, optimizer, batch)
        fit_step(network, pruner.optimizer, batch)
        same.append(bits(network) == bits(plain))
    # the check after step 40 is the first, and the penalty follows with step 41
    assert same == [True] * 40 + [False] * 5


def test_by_default_nothing_changes_the_network_until_units_die() -> None:
    plain, network = mlp(3, 20, 2), mlp(3, 20, 2)
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-3)
    plan = PruningPlan(threshold=Sparsity(0.5), phases=Phases(start=0.2, end=0.7), patience=200)
    pruner = attach(network, 200, plan)
    states = batches(3)
    for step in range(1, 200):
        batch = states()
        fit_step(plain, optimizer, batch)
        fit_step(network, pruner.optimizer, batch)
        same, died = bits(network) == bits(plain), pruner.sparsity > 0.0
        assert (pruner.phase == "dense", pruner.penalty_strength) == (step < 40, 0.0)
        assert same is not died
        if died:
            break
    assert pruner.sparsity > 0.0


def test_phases_come_at_their_shares_of_the_training() -> None:
    network = mlp(3, 20, 2)
    pruner = attach(network, 200, early_plan(Sparsity(0.5)))
    states, phases, strengths = batches(3), [pruner.phase], [pruner.penalty_strength]
    for _ in range(200):
        fit_step(network, pruner.optimizer, states())
        phases.append(pruner.phase)
        strengths.append(pruner.penalty_strength)
    frozen = phases.index("frozen")
    assert phases == ["dense"] * 40 + ["pruning"] * (frozen - 40) + ["frozen"] * (201 - frozen)
    assert 120 < frozen <= 140
    assert strengths == [0.0] * 40 + [pruner.lambda_] * (frozen - 40) + [0.0] * (201 - frozen)
    assert pruner.lambda_ > 0.0


@pytest.mark.parametrize(("total_steps", "checks"), [(100, 25), (100, 10), (800, 200)])
def test_a_plan_s_checks_are_made_over_the_window(total_steps: int, checks: int) -> None:
    network = mlp(3, 10, 2)
    made: list[int] = []

    def counting(_: Evidence) -> UnitImportance:
        made.append(pruner.steps)
        return {"0": torch.ones(10)}

    pruner = attach(network, total_steps, early_plan(Budget(0.0), counting, checks=checks))
    states = batches(3, size=2)
    network(states())
    for _ in range(total_steps):
        pruner.optimizer.step()
    interval = total_steps // 2 // checks
    assert made == list(range(total_steps // 5, total_steps * 7 // 10 + 1, interval))


def test_a_check_that_removes_units_runs_the_network_once() -> None:
    network = mlp(3, 40, 2)
    pruner = attach(network, 100, early_plan(Sparsity(0.5)))
    source, runs, extra = batches(3, size=8), 0, set[int]()

    def count(*_: object) -> None:
        nonlocal runs
        runs += 1

    network.register_forward_hook(count)
    for _ in range(100):
        before, runs = pruner.sparsity, 0
        fit_step(network, pruner.optimizer, source())
        if pruner.sparsity > before:
            extra.add(runs)
    assert extra == {2}  # the loop's own run and the check's


def test_units_die_in_the_window_and_nowhere_else() -> None:
    network = mlp(3, 40, 2)
    dead = history(network, attach(network, 200, early_plan(Sparsity(0.5))), 200)
    assert dead[: 40 + 1] == [0] * 41
    assert dead == sorted(dead)
    assert 0 < dead[80] < 20
    assert dead[140:] == [20] * 61


@pytest.mark.parametrize("patience", [1, 3, 5])
def test_a_unit_dies_at_the_check_that_ends_its_patience(patience: int) -> None:
    network = mlp(3, 10, 2)
    plan = early_plan(Budget(0.1), fixed_importance(**constantly_below()), phases=AT_ONCE, checks=25, patience=patience)
    pruner = attach(network, 100, plan)
    dead = history(network, pruner, 100)
    # a check every second step of the window, which starts with step 25
    last = 24 + 2 * patience
    assert dead == [0] * last + [1] * (101 - last)
    assert (~pruner.masks["0"]).nonzero().flatten().tolist() == [3]


def alternating(period: int) -> Callable[[Evidence], UnitImportance]:
    """Return an importance under which the fourth unit recovers at every ``period``-th check."""
    checks = 0

    def importance(evidence: Evidence) -> UnitImportance:
        nonlocal checks
        checks += 1
        scores = constantly_below(1.0 if checks % period == 0 else 0.05)
        return fixed_importance(**scores)(evidence)

    return importance


@pytest.mark.parametrize(("period", "dies"), [(3, False), (4, True)])
def test_a_unit_that_recovers_in_time_starts_over(period: int, dies: bool) -> None:
    network = mlp(3, 10, 2)
    plan = early_plan(Budget(0.1), alternating(period), phases=AT_ONCE, checks=50, memory=0.0)
    pruner = attach(network, 100, plan)
    fit(network, pruner.optimizer, 100)
    assert dead_units(pruner) == int(dies)


@pytest.mark.parametrize(("share", "width"), [(0.1, 60), (0.25, 40), (0.1, 5)])
def test_at_most_a_share_of_a_group_s_living_units_dies_at_one_check(share: float, width: int) -> None:
    network = mlp(3, width, 2)
    plan = early_plan(Sparsity(0.6), phases=AT_ONCE, share_per_check=share)
    dead = history(network, attach(network, 200, plan), 200)
    drops = [after - before for before, after in pairwise(dead)]
    caps = [max(1, int(share * (width - before))) for before in dead[:-1]]
    assert all(drop <= cap for drop, cap in zip(drops, caps, strict=True))
    assert max(drops) == caps[0]
    assert dead[-1] == round(0.6 * width)


def test_the_weakest_units_over_all_groups_die() -> None:
    network = mlp(3, 6, 4, 2)
    # after each group is divided by its own mean of 1 these rank as they stand
    scores = {"g0": [0.1, 2.5, 0.2, 0.3, 2.4, 0.5], "g2": [0.4, 1.6, 1.7, 0.3]}
    pruner = attach(network, 200, early_plan(Sparsity(0.6), fixed_importance(**scores), share_per_check=1.0))
    fit(network, pruner.optimizer, 200)
    assert pruner.masks["0"].tolist() == [False, True, False, False, True, False]
    assert pruner.masks["2"].tolist() == [False, True, True, False]


@pytest.mark.parametrize(("common_scale", "kept"), [(True, (2, 7)), (False, (5, 4))])
def test_groups_are_compared_as_they_are_or_each_in_terms_of_its_mean(
    common_scale: bool, kept: tuple[int, int]
) -> None:
    network = mlp(3, 10, 8, 2)
    scores = {"g0": [0.01 * unit for unit in range(1, 11)], "g2": [0.05 + 0.1 * unit for unit in range(1, 9)]}
    plan = early_plan(Sparsity(0.5), fixed_importance(**scores), common_scale=common_scale, compensate=False)
    pruner = attach(network, 300, plan)
    fit(network, pruner.optimizer, 300)
    assert tuple(int(keep.sum()) for keep in pruner.keep.values()) == kept


def test_no_layer_becomes_a_bottleneck() -> None:
    for min_share, kept in ((0.5, 5), (1.0, 10), (0.0, 1)):
        network = mlp(3, 20, 20, 2)
        plan = early_plan(Sparsity(0.5), fixed_importance(g0=[0.01] * 20, g2=[1.0] * 20), min_share=min_share)
        pruner = attach(network, 300, plan)
        fit(network, pruner.optimizer, 300)
        assert int(pruner.keep["0"].sum()) == kept


@pytest.mark.parametrize("min_units", [1, 3])
def test_a_group_keeps_its_min_units_however_little_they_matter(min_units: int) -> None:
    network = mlp(3, 6, 12, 2)
    scores = {"g0": [1e-6, 1e-6, 1e-5, 1e-4, 1e-3, 5.0], "g2": [1.0] * 12}
    importance = fixed_importance(**scores)
    plan = early_plan(Sparsity(0.5), lambda evidence: importance(evidence), min_units=min_units)
    pruner = attach(network, 300, plan)
    fit(network, pruner.optimizer, 300)
    assert pruner.masks["0"].tolist() == [index >= 6 - min_units for index in range(6)]
    assert dead_units(pruner) == 9


@pytest.mark.parametrize("threshold", [Sparsity(0.9), Budget(0.5)])
def test_the_dead_never_revive(threshold: Sparsity | Budget) -> None:
    network = mlp(3, 20, 12, 2)
    generator = torch.Generator().manual_seed(3)

    def lots(evidence: Evidence) -> UnitImportance:
        return {group.name: torch.rand(group.width, generator=generator) for group in evidence.groups}

    pruner = attach(network, 200, early_plan(threshold, lots, memory=0.0, patience=1))
    states, before = batches(3), dict(pruner.masks)
    for _ in range(200):
        fit_step(network, pruner.optimizer, states())
        assert all(not bool((pruner.masks[name] & ~before[name]).any()) for name in before)
        before = dict(pruner.masks)
    assert dead_units(pruner) > 5


def test_a_dead_unit_counts_with_the_score_it_died_with() -> None:
    network = mlp(3, 10, 2)
    plan = early_plan(Budget(0.1), fixed_importance(**constantly_below()), phases=AT_ONCE, checks=25)
    pruner = attach(network, 100, plan)
    fit(network, pruner.optimizer, 60)
    assert pruner.importance["0"].tolist() == pytest.approx([0.05 / 0.905 if i == 3 else 1.0 for i in range(10)])


def test_scores_are_moving_averages_of_what_is_measured() -> None:
    network = mlp(3, 2, 2)
    measured = iter([[3.0, 1.0], [1.0, 3.0], [4.0, 0.0]])
    plan = early_plan(Budget(0.0), lambda _: {"0": torch.tensor(next(measured))}, phases=AT_ONCE, checks=4, memory=0.75)
    pruner = attach(network, 16, plan)
    fit(network, pruner.optimizer, 8)
    # checks at steps 4, 6 and 8: (3, 1), then (2.5, 1.5), then (2.875, 1.125), each over its mean of 2
    assert pruner.importance["0"].tolist() == pytest.approx([2.875 / 2.0, 1.125 / 2.0])


def test_an_importance_that_is_not_finite_stops_the_run() -> None:
    network = mlp(3, 6, 2)
    plan = early_plan(Sparsity(0.5), fixed_importance(g0=[1.0, 1.0, 1.0, float("inf"), 1.0, 1.0]))
    with pytest.raises(CheckError, match="group '0' is not finite at optimizer step 20"):
        fit(network, attach(network, 100, plan).optimizer, 100)


def test_a_network_that_has_diverged_stops_the_run() -> None:
    network = mlp(3, 6, 2)
    pruner = attach(network, 100, early_plan(Sparsity(0.5)))
    states = batches(3)
    for _ in range(19):
        fit_step(network, pruner.optimizer, states())
    with torch.no_grad():
        network[0].weight[0, 0] = float("nan")
    with pytest.raises(CheckError, match="not finite"):
        idle_step(network, pruner.optimizer, states())


def test_a_network_without_hidden_units_is_trained_as_it_is() -> None:
    network = mlp(3, 2)
    pruner = attach(network, 10, early_plan())
    fit(network, pruner.optimizer, 10)
    assert (pruner.groups, pruner.phase, pruner.sparsity, pruner.steps) == ((), "frozen", 0.0, 10)


@pytest.mark.parametrize("live_shrink", [False, True])
def test_importance_is_measured_on_the_living_units_alone(live_shrink: bool) -> None:
    network, widths = mlp(3, 40, 30, 2), set[tuple[int, ...]]()

    def looking(evidence: Evidence) -> UnitImportance:
        assert [group.width for group in evidence.groups] == [int(keep.sum()) for keep in evidence.keep.values()]
        assert [values.shape[1] for values in evidence.seen.hidden.values()] == [
            group.width for group in evidence.groups
        ]
        widths.add(tuple(group.width for group in evidence.groups))
        return output_sensitivity(evidence)

    plan, optimizer = early_plan(Sparsity(0.5), looking), torch.optim.SGD(network.parameters(), lr=0.1)
    pruner = Pruner(network, optimizer, 100, plan, live_shrink=live_shrink)
    fit(network, pruner.optimizer, 100)
    assert len(widths) > 5
    assert pruner.sparsity == 0.5
