"""Resume: a run that was cut off and went on with a fresh pruner ends with the same bits."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

import pytest
import torch
from pruning_helpers import bits, early_plan, fit, fit_step, mlp
from torch import Tensor, nn

from prunekit.errors import InputError
from prunekit.pruning import reconstruction
from prunekit.pruning.guard import ReturnGuard
from prunekit.pruning.penalties import GRADIENT, PROXIMAL, Penalty
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Budget, Sparsity

STEPS = 200


@final
@dataclass(frozen=True, kw_only=True)
class Run:
    """All that one training run holds."""

    network: nn.Sequential
    optimizer: torch.optim.Optimizer
    pruner: Pruner
    guard: ReturnGuard


def begin(plan: PruningPlan, live_shrink: bool = False) -> Run:
    network = mlp(3, 20, 12, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    guard = ReturnGuard(floor=0.0, window=2)
    pruner = Pruner(network, optimizer, STEPS, plan, guard=guard, live_shrink=live_shrink)
    return Run(network=network, optimizer=optimizer, pruner=pruner, guard=guard)


def inputs(step: int) -> Tensor:
    return torch.randn(16, 3, generator=torch.Generator().manual_seed(step), dtype=torch.float64)


def constant(_: int) -> float:
    return 1e-2


def go_on(run: Run, start: int, end: int, rate: Callable[[int], float]) -> None:
    for step in range(start, end):
        if step % 10 == 0:
            run.guard.record([30.0 if 60 <= step < 90 else 100.0])
        run.optimizer.param_groups[0]["lr"] = rate(step)
        fit_step(run.network, run.optimizer, inputs(step))


def saved(run: Run) -> dict[str, Any]:
    """Write the run's state as plain weights and read it again, as a process that starts anew would."""
    file = io.BytesIO()
    parts = {"network": run.network, "optimizer": run.optimizer, "pruner": run.pruner}
    torch.save({name: part.state_dict() for name, part in parts.items()}, file)
    file.seek(0)
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state


def restored(plan: PruningPlan, state: dict[str, Any], live_shrink: bool = False) -> Run:
    run = begin(plan, live_shrink)
    run.pruner.load_state_dict(state["pruner"])  # first: it brings the network to the state's widths
    run.network.load_state_dict(state["network"])
    run.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))  # torch shares the tensors that it loads
    return run


def plain(state: Any) -> Any:
    """Return nested state with its tensors as lists, so that == compares all of it."""
    if isinstance(state, torch.Tensor):
        return state.tolist()
    if isinstance(state, dict):
        return {name: plain(value) for name, value in state.items()}
    return [plain(value) for value in state] if isinstance(state, list | tuple) else state


def assert_same(run: Run, other: Run) -> None:
    assert bits(run.network) == bits(other.network)
    mine, its = run.pruner.state_dict(), other.pruner.state_dict()
    assert plain(mine) == plain(its)


@pytest.mark.parametrize("live_shrink", [False, True])
@pytest.mark.parametrize(
    ("threshold", "penalty", "steps"),
    [
        (Sparsity(0.75), PROXIMAL, 0),
        (Sparsity(0.75), GRADIENT, 0),
        (Budget(0.3), PROXIMAL, 0),
        (Sparsity(0.75), PROXIMAL, 2),
    ],
)
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(
    threshold: Sparsity | Budget, penalty: Penalty, steps: int, live_shrink: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconstruction, "_VALUES_EACH", 0.1)  # so that few states suffice for a fit
    plan = early_plan(threshold, penalty=penalty, checks=33, states=100, reconstruction=steps)
    whole = begin(plan, live_shrink)
    go_on(whole, 0, STEPS, constant)
    assert whole.pruner.frozen
    assert whole.pruner.sparsity > 0.0
    if steps:
        without = begin(replace(plan, reconstruction=0), live_shrink)
        go_on(without, 0, STEPS, constant)
        assert bits(without.network) != bits(whole.network)
    # in the dense phase, in the window, while the guard holds, before the window's end, after it
    for cut in (25, 50, 75, 138, 160):
        first = begin(plan, live_shrink)
        go_on(first, 0, cut, constant)
        second = restored(plan, saved(first), live_shrink)
        go_on(second, cut, STEPS, constant)
        assert_same(second, whole)


def test_a_resumed_run_follows_a_falling_learning_rate() -> None:
    plan = early_plan(Sparsity(0.75), strength=3.0)

    def falling(step: int) -> float:
        return 1e-2 * (1.0 - step / STEPS)

    whole = begin(plan)
    go_on(whole, 0, STEPS, falling)
    first = begin(plan)
    go_on(first, 0, 75, falling)
    second = restored(plan, saved(first))
    go_on(second, 75, STEPS, falling)
    assert_same(second, whole)


def test_a_state_is_a_snapshot() -> None:
    plan = early_plan(Sparsity(0.75))
    run = begin(plan)
    go_on(run, 0, 100, constant)
    state = run.pruner.state_dict()
    before = {name: keep.tolist() for name, keep in state["units"]["keep"].items()}
    kept = sum(len(states) for states in state["states"])
    go_on(run, 100, STEPS, constant)
    assert {name: keep.tolist() for name, keep in state["units"]["keep"].items()} == before
    assert (state["steps"], sum(len(states) for states in state["states"])) == (100, kept)
    assert before != {name: keep.tolist() for name, keep in run.pruner.keep.items()}


def test_inputs_are_kept_as_long_as_they_are_needed() -> None:
    plan = early_plan(Sparsity(0.75), states=50)
    run = begin(plan)
    go_on(run, 0, 30, constant)
    early = restored(plan, saved(run))
    go_on(early, 30, 40, constant)
    assert [len(batch) for batch in early.pruner.state_dict()["states"]] == [16] * 4
    go_on(run, 30, STEPS, constant)
    late = restored(plan, saved(run))
    go_on(late, STEPS, STEPS + 5, constant)
    for finished in (run, late):
        assert finished.pruner.frozen
        assert finished.pruner.state_dict()["states"] == []


def test_two_pruners_of_one_state_do_not_disturb_each_other() -> None:
    plan = early_plan(Sparsity(0.75))
    run = begin(plan)
    go_on(run, 0, 100, constant)
    state = saved(run)
    one, two = restored(plan, state), restored(plan, state)
    go_on(one, 100, STEPS, constant)
    go_on(two, 100, STEPS, constant)
    assert_same(one, two)


def test_loading_a_state_zeroes_the_dead_units_of_network_and_twins() -> None:
    plan = early_plan(Sparsity(0.75))
    run = begin(plan)
    go_on(run, 0, STEPS, constant)
    network, twin = mlp(3, 20, 12, 2, seed=5), mlp(3, 20, 12, 2, seed=6)
    pruner = Pruner(network, torch.optim.Adam(network.parameters()), STEPS, plan, twins=[twin])
    pruner.load_state_dict(run.pruner.state_dict())
    for module in (network, twin):
        dead = ~run.pruner.masks["0"]
        assert bool((module[0].weight[dead] == 0.0).all())
        assert bool((module[2].weight[:, dead] == 0.0).all())
        assert bool((module[0].weight[~dead] != 0.0).all())


@pytest.mark.parametrize("widths", [(3, 20, 2), (3, 21, 12, 2)])
def test_a_state_of_another_network_is_refused(widths: tuple[int, ...]) -> None:
    plan = early_plan(Sparsity(0.5))
    other = mlp(*widths)
    pruner = Pruner(other, torch.optim.Adam(other.parameters()), STEPS, plan)
    fit(other, pruner.optimizer, 30)
    with pytest.raises(InputError, match="state belongs to a network"):
        begin(plan).pruner.load_state_dict(pruner.state_dict())
