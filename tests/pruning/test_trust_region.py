"""The trust region of removals: no check moves the policy further than it may, and the sparsity is reached."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_helpers import batches, bits, early_plan, fit_step, mlp
from torch import Tensor, nn

from prunekit.errors import CheckError, InputError
from prunekit.pruning.due import Due, Unit
from prunekit.pruning.guard import ReturnGuard
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.reconstruction import Reconstruction
from prunekit.pruning.schedules import Budget, Sparsity
from prunekit.pruning.surgery import shrink
from prunekit.pruning.trust_region import fitting, late_pace, smallest

STEPS, STATES = 100, 64


def gaussian(before: Tensor, after: Tensor) -> Tensor:
    """Return the KL divergence of Gaussians with the deviation 0.5."""
    return ((after - before) / 0.5).square().sum(dim=1) / 2


@dataclass(kw_only=True)
class Loop:
    """A training loop that measures by itself how far every check moves the network on its latest inputs."""

    plan: PruningPlan
    seed: int = 0
    live_shrink: bool = False
    guard: ReturnGuard | None = None
    divergence: Callable[[Tensor, Tensor], Tensor] | None = gaussian
    measure: Callable[[Tensor, Tensor], Tensor] = gaussian
    moved: dict[int, float] = field(default_factory=dict)
    died: dict[int, int] = field(default_factory=dict)
    waited: dict[int, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network, self.twin = mlp(3, 14, 10, 2, seed=self.seed), mlp(3, 14, 10, 2, seed=self.seed + 1)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-2)
        self._inputs: list[Tensor] = []
        self.optimizer.register_step_post_hook(lambda *_: self._look())  # before the pruner's own
        self.pruner = Pruner(
            self.network,
            self.optimizer,
            STEPS,
            self.plan,
            twins=[self.twin],
            guard=self.guard,
            live_shrink=self.live_shrink,
            divergence=self.divergence,
        )

    def _look(self) -> None:
        """Remember what the network gives as it is before a check."""
        before = copy.deepcopy(self.network)
        with torch.no_grad():
            for name, keep in self.pruner.masks.items():
                own, reader = before[int(name)], before[int(name) + 2]
                own.weight[~keep] = 0.0
                own.bias[~keep] = 0.0
                reader.weight[:, ~keep] = 0.0
        self._before = before

    def run(self, steps: int = STEPS) -> Loop:
        states = batches(3, self.seed)
        for step in range(1, steps + 1):
            batch = states()
            self._inputs = [*self._inputs, batch][-self.plan.states // 16 :]
            living = self.living
            fit_step(self.network, self.optimizer, batch)
            rows = torch.cat(self._inputs)
            with torch.no_grad():
                apart = self.measure(self._before(rows), self.network(rows))
                for target, online in zip(self.twin.parameters(), self.network.parameters(), strict=True):
                    target.lerp_(online, 0.1)
            self.moved[step], self.died[step] = float(apart.mean()), living - self.living
            self.waited[step] = self.pruner.waiting
        return self

    @property
    def living(self) -> int:
        return sum(int(keep.sum()) for keep in self.pruner.keep.values())


def plan_of(limit: float | None, **changes: Any) -> PruningPlan:
    """Return a plan without a penalty, which would move the network too; its window is from step 20 to 70."""
    found = {"strength": 0.0, "checks": 25, "patience": 2, "share_per_check": 0.3, "states": STATES}
    return early_plan(Sparsity(0.75), **{**found, "max_divergence": limit, **changes})


limits = st.floats(-5.0, -1.0).map(lambda power: 10.0**power)


@settings(deadline=None, max_examples=8)
@given(limits, st.integers(0, 100), st.booleans(), st.booleans())
def test_no_check_moves_the_policy_further_than_it_may(
    limit: float, seed: int, compensate: bool, live_shrink: bool
) -> None:
    loop = Loop(plan=plan_of(limit, compensate=compensate), seed=seed, live_shrink=live_shrink).run()
    for step, moved in loop.moved.items():
        if step < 70:
            assert moved <= limit * (1 + 1e-6) + 1e-12
        elif moved > limit * (1 + 1e-6) + 1e-12:
            assert loop.died[step] == 1, "what does not fit goes one by one after the window"
    assert loop.pruner.frozen
    assert loop.living == 24 - 18
    assert loop.pruner.waiting == 0
    assert loop.pruner.divergence == pytest.approx(max(loop.moved.values()), rel=1e-6, abs=1e-9)
    loop.pruner.shrink_()
    for module in (loop.network, loop.twin):
        assert [layer.out_features for layer in module if isinstance(layer, nn.Linear)][:2] == [
            int(keep.sum()) for keep in loop.pruner.keep.values()
        ]


@settings(deadline=None, max_examples=8)
@given(limits, st.integers(0, 100), st.booleans(), st.booleans())
def test_nor_does_a_check_with_reconstruction(limit: float, seed: int, live_shrink: bool, is_skewed: bool) -> None:
    """A fit weighs outputs by their deviations, a divergence may not."""
    weights = torch.tensor([1e3, 1e-3] if is_skewed else [4.0, 4.0])

    def divergence(before: Tensor, after: Tensor) -> Tensor:
        return ((after - before).square() * weights).sum(dim=1) / 2

    plan = plan_of(limit, states=256, reconstruction=3)
    loop = Loop(plan=plan, seed=seed, live_shrink=live_shrink, divergence=divergence, measure=divergence).run()
    for step, moved in loop.moved.items():
        if moved > limit * (1 + 1e-6) + 1e-12:
            assert step >= 70
            assert loop.died[step] == 1, "what does not fit goes one by one after the window"
    assert loop.living == 24 - 18
    assert loop.pruner.divergence == pytest.approx(max(loop.moved.values()), rel=1e-4, abs=1e-9)


def test_a_fit_that_moves_the_policy_too_far_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    def worse(_: Reconstruction, network: nn.Module, *__: object, **___: object) -> None:
        next(network.parameters()).data.add_(0.3)

    monkeypatch.setattr(Reconstruction, "fit_", worse)
    plain = Loop(plan=plan_of(1e-3)).run()
    fitted = Loop(plan=plan_of(1e-3, reconstruction=3)).run()
    assert bits(fitted.network) == bits(plain.network)
    assert fitted.pruner.divergence == plain.pruner.divergence
    free = Loop(plan=plan_of(1e3, reconstruction=3)).run()
    assert bits(free.network) != bits(plain.network)
    assert free.pruner.divergence == pytest.approx(max(free.moved.values()), rel=1e-4)


def test_units_wait_for_as_long_as_they_do_not_fit() -> None:
    free, bound = Loop(plan=plan_of(None)).run(), Loop(plan=plan_of(3e-4)).run()
    assert max(free.moved.values()) > 2e-3, "or there is nothing to bound"
    assert max(moved for step, moved in bound.moved.items() if step < 70) <= 3e-4
    early = [sum(loop.died[step] for step in range(1, 70)) for loop in (free, bound)]
    assert early[0] == 18 > early[1] > 0
    assert bound.waited[69] in (18 - early[1], 18 - early[1] - 1), "all units that are due, which the last may not be"
    assert [free.living, bound.living] == [6, 6]
    assert free.pruner.waiting is free.pruner.divergence is None


def test_the_largest_divergence_is_of_the_checks_since_it_was_reset() -> None:
    loop = Loop(plan=plan_of(1e-2)).run(60)
    first = loop.pruner.divergence
    assert first == pytest.approx(max(loop.moved.values()))
    assert first is not None
    assert 0.0 < first <= 1e-2
    loop.pruner.reset_divergence_()
    assert loop.pruner.divergence == 0.0


@pytest.mark.parametrize("changes", [{}, {"patience": 200}, {"threshold": Budget(0.3), "strength": 1.0}])
@pytest.mark.parametrize(("live_shrink", "limit"), [(False, float("inf")), (True, float("inf")), (True, 1e6)])
def test_a_limit_that_all_fits_into_changes_nothing(changes: dict[str, Any], live_shrink: bool, limit: float) -> None:
    free, bound = (Loop(plan=plan_of(found, **changes), live_shrink=live_shrink).run() for found in (None, limit))
    assert free.pruner.sparsity > 0.0
    assert bits(bound.network) == bits(free.network)
    assert bits(bound.twin) == bits(free.twin)
    one, other = (loop.pruner.state_dict() for loop in (free, bound))
    assert other.keys() - one.keys() == {"trust_region"}
    assert (one["clock"], one["lambda"]) == (other["clock"], other["lambda"])
    for part in ("exp_avg", "exp_avg_sq"):
        pairs = zip(free.optimizer.state.values(), bound.optimizer.state.values(), strict=True)
        assert all(torch.equal(mine[part], its[part]) for mine, its in pairs)


def test_a_limit_changes_no_step_at_which_nothing_is_due() -> None:
    free, bound = Loop(plan=plan_of(None)).run(20), Loop(plan=plan_of(1e-9)).run(20)
    assert bits(bound.network) == bits(free.network)
    assert [loop.living for loop in (free, bound)] == [24, 24]


def test_trials_leave_network_twins_and_optimizer_as_they_were() -> None:
    """Where nothing fits in the whole window, training is what it is without pruning, to the bit."""
    plain = mlp(3, 14, 10, 2)
    optimizer, states = torch.optim.Adam(plain.parameters(), lr=1e-2), batches(3, 0)
    for _ in range(69):
        fit_step(plain, optimizer, states())
    loop = Loop(plan=plan_of(1e-12)).run(69)
    assert loop.waited[69] == 18
    assert bits(plain) == bits(loop.network)
    assert all(module.training for module in loop.network.modules())
    for mine, its in zip(optimizer.state.values(), loop.optimizer.state.values(), strict=True):
        assert torch.equal(mine["exp_avg"], its["exp_avg"])


@pytest.mark.parametrize("limit", [1e-4, 1e-3])
def test_live_shrinking_gives_the_weights_of_training_with_masks(limit: float) -> None:
    masked, live = (Loop(plan=plan_of(limit), live_shrink=shrinks).run() for shrinks in (False, True))
    assert {name: keep.tolist() for name, keep in masked.pruner.keep.items()} == {
        name: keep.tolist() for name, keep in live.pruner.keep.items()
    }
    for one, other in ((masked.network, live.network), (masked.twin, live.twin)):
        small = shrink(one, masked.pruner.masks)
        for mine, its in zip(small.parameters(), shrink(other, live.pruner.masks).parameters(), strict=True):
            torch.testing.assert_close(its, mine, rtol=1e-8, atol=1e-10)


def test_the_guard_pauses_as_it_does_without_a_limit() -> None:
    guard = ReturnGuard(floor=0.0, window=1)
    guard.record([100.0])
    guard.record([10.0])
    loop = Loop(plan=plan_of(3e-4), guard=guard).run()
    assert sum(loop.died[step] for step in range(1, 42)) == 0 < sum(loop.died[step] for step in range(1, 70))
    assert max(moved for step, moved in loop.moved.items() if step < 70) <= 3e-4
    assert loop.living == 6


def test_a_budget_s_masks_are_frozen_with_what_fitted() -> None:
    free, bound = (Loop(plan=plan_of(limit, threshold=Budget(0.5))).run() for limit in (None, 1e-4))
    assert free.living < bound.living
    assert bound.pruner.frozen
    assert max(bound.moved.values()) <= 1e-4
    assert sum(bound.died[step] for step in range(71, STEPS + 1)) == 0


def test_networks_with_a_state_have_a_trust_region_too() -> None:
    torch.manual_seed(0)

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = nn.GRUCell(3, 12), nn.Linear(12, 2)

        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            after = self.cell(x, h)
            return self.out(after), after

    network = Recurrent().double()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    plan = plan_of(1e-3, threshold=Sparsity(0.5))
    pruner = Pruner(network, optimizer, STEPS, plan, states=1, divergence=gaussian)
    states, h = batches(3), torch.zeros(16, 12, dtype=torch.float64)
    for _ in range(STEPS):
        output, h = network(states(), h.detach())
        optimizer.zero_grad()
        (output - 0.5).square().mean().backward()
        optimizer.step()
        if pruner.steps < 70:
            assert pruner.divergence is not None
            assert pruner.divergence <= 1e-3
    assert pruner.frozen
    assert pruner.sparsity == 0.5


def due_of(costs: Sequence[int], ready: Sequence[int], cap: int = 100) -> tuple[Due, Callable[[Sequence[Unit]], float]]:
    """Return units of group "a" with the importances 0, 1, ... and a trial that adds up ``costs``."""
    width = len(costs)
    due = Due(
        ready={"a": torch.tensor(list(ready), dtype=torch.int64)},
        caps={"a": cap},
        free={"a": torch.ones(width, dtype=torch.bool)},
        importance={"a": torch.arange(float(width))},
        streaks={},
    )
    return due, lambda units: float(sum(costs[index] for _, index in units))


@pytest.mark.parametrize(
    ("costs", "ready", "cap", "chosen"),
    [
        ([1, 1, 1], [0, 1, 2], 100, [0, 1, 2]),  # all fit
        ([4, 4, 4, 4], [0, 1, 2, 3], 100, [0, 1]),  # the weakest that fit together
        ([50, 4, 50, 4, 1], [0, 1, 2, 3, 4], 100, [1, 3, 4]),  # those that do not fit wait, and hold up no other
        ([50, 4, 4], [0, 1, 2], 1, [1]),  # no more than a group may lose
        ([50, 4, 4], [0], 100, []),  # none that is not due
        ([50] * 30 + [1], range(31), 100, []),  # no endless search
        ([50] * 16 + [1], range(17), 100, [16]),
    ],
)
def test_the_weakest_that_fit_die(costs: list[int], ready: Sequence[int], cap: int, chosen: list[int]) -> None:
    due, trial = due_of(costs, ready, cap)
    units, moved = fitting(due, 9.0, trial)
    assert [index for _, index in units] == chosen
    assert moved == sum(costs[index] for index in chosen)


def test_few_trials_are_made() -> None:
    made = []
    due, trial = due_of([50] * 200, range(200))

    def counted(units: Sequence[Unit]) -> float:
        made.append(len(units))
        return trial(units)

    fitting(due, 9.0, counted)
    assert len(made) == 1 + 6 + 16


def test_units_of_several_groups_are_compared_on_one_scale() -> None:
    due = Due(
        ready={"a": torch.tensor([1, 0]), "b": torch.tensor([0])},
        caps={"a": 1, "b": 1},
        free={"a": torch.tensor([True, True, False]), "b": torch.tensor([True])},
        importance={"a": torch.tensor([3.0, 1.0, 0.0]), "b": torch.tensor([2.0])},
        streaks={},
    )
    assert due.units == due.candidates == [("a", 1), ("b", 0), ("a", 0)]
    assert due.weakest == [("a", 1), ("b", 0)]
    costs = {("a", 1): 9.0, ("b", 0): 1.0, ("a", 0): 1.0}
    assert fitting(due, 2.0, lambda units: sum(costs[unit] for unit in units)) == ([("b", 0), ("a", 0)], 2.0)


def test_after_the_window_the_units_die_that_move_the_policy_least() -> None:
    due, trial = due_of([5, 3, 4, 1], [0])
    assert smallest(due, 1, trial) == ([("a", 3)], 1.0)
    assert smallest(due, 2, trial) == ([("a", 3), ("a", 1)], 4.0)
    assert smallest(due_of([9] * 16 + [1], [0])[0], 1, due_of([9] * 16 + [1], [0])[1]) == ([("a", 0)], 9.0)


@pytest.mark.parametrize(
    ("living", "checks", "pace"),
    [(100, 64, 1), (50, 64, 0), (90, 40, 1), (90, 20, 2), (90, 1, 40), (51, 1, 1), (60, 9, 2)],
)
def test_what_is_missing_is_spread_evenly(living: int, checks: int, pace: int) -> None:
    keep = torch.arange(100) < living
    assert late_pace(PruningPlan(threshold=Sparsity(0.5)), {"a": keep}, checks) == pace


@pytest.mark.parametrize("total", [24, 30, 40, 100])
def test_the_sparsity_is_reached_where_it_is_without_a_limit(total: int) -> None:
    """However short training is, a limit that nothing fits into keeps no run from its share."""
    ends = []
    for limit in (None, 1e-12):
        network, states = mlp(3, 40, 30, 2), batches(3)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        plan = early_plan(Sparsity(0.9), patience=3, checks=10, states=STATES, max_divergence=limit)
        pruner = Pruner(network, optimizer, total, plan, divergence=gaussian)
        for _ in range(total):
            fit_step(network, optimizer, states())
        ends.append((pruner.frozen, sum(int(keep.sum()) for keep in pruner.keep.values())))
    assert ends[1] == (True, 7)
    assert ends[0] == ends[1] or not ends[0][0], "where it is not reached without a limit, there are too few checks"


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("-inf")])
def test_a_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(InputError, match="max_divergence must be above 0, got"):
        PruningPlan(max_divergence=limit)


def test_a_limit_without_a_divergence_is_refused() -> None:
    with pytest.raises(InputError, match="max_divergence needs `divergence`"):
        Loop(plan=plan_of(0.1), divergence=None)
    Loop(plan=plan_of(None), divergence=None)


@pytest.mark.parametrize(
    ("divergence", "words"),
    [
        (lambda before, after: (before - after).square(), r"returned \[64, 2\] for 64 inputs"),
        (lambda before, after: 0.5, "returned float for 64 inputs"),
        (lambda before, after: (before - after).square().mean(), r"returned \[\] for 64 inputs"),
    ],
)
def test_a_divergence_is_one_number_per_input(divergence: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Loop(plan=plan_of(0.1), divergence=divergence).run()


def test_a_divergence_that_is_no_number_is_told() -> None:
    with pytest.raises(CheckError, match="not a number at optimizer step"):
        Loop(plan=plan_of(0.1), divergence=lambda before, _: before[:, 0] * float("nan")).run()


def test_an_infinite_divergence_fits_into_no_limit_but_the_infinite_one() -> None:
    loop = Loop(plan=plan_of(1e300), divergence=lambda before, _: before[:, 0] * 0.0 + float("inf")).run()
    assert sum(loop.died[step] for step in range(1, 70)) == 0
    assert loop.living == 6
    assert loop.pruner.divergence == sys.float_info.max
