"""Schedules: the growth, and the dynamic threshold against a brute-force reading of its definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prunekit.errors import InputError
from prunekit.pruning.schedules import Budget, Clock, Phases, Sparsity, growth, units_below


@final
@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit as the threshold sees it. Whole scores and dyadic shares keep every sum here exact."""

    group: str
    score: int
    removed: bool
    protected: bool


# few distinct scores, so that ties are common
units = st.lists(
    st.builds(
        Unit, group=st.sampled_from("abc"), score=st.integers(0, 6), removed=st.booleans(), protected=st.booleans()
    ),
    min_size=1,
    max_size=24,
).map(lambda found: sorted(found, key=lambda unit: unit.group))
dyadic = st.integers(0, 63).map(lambda k: k / 64)
growths = st.integers(0, 16).map(lambda k: k / 16)


def below(threshold: Sparsity | Budget, growth: float, given_units: list[Unit]) -> list[bool]:
    """Return whether each unit is below, in the order given; units are sorted by group."""
    names = sorted({unit.group for unit in given_units})

    def of(name: str) -> list[Unit]:
        return [unit for unit in given_units if unit.group == name]

    def flags(attribute: str) -> dict[str, Tensor]:
        return {name: torch.tensor([getattr(unit, attribute) for unit in of(name)], dtype=torch.bool) for name in names}

    scores = {name: torch.tensor([float(unit.score) for unit in of(name)]) for name in names}
    result = units_below(threshold, growth, scores, flags("removed"), flags("protected"))
    assert list(result) == names
    return [bool(flag) for name in names for flag in result[name]]


@settings(deadline=None, max_examples=300)
@given(units, dyadic, growths)
def test_budget_takes_the_largest_threshold_that_the_budget_allows(
    given_units: list[Unit], target: float, growth: float
) -> None:
    allowed = target * growth * sum(unit.score for unit in given_units)
    affordable = [
        tau
        for tau in range(-1, 7)
        if sum(unit.score for unit in given_units if unit.score <= tau) <= allowed
    ]  # fmt: skip
    tau = max(affordable)
    expected = [unit.score <= tau and not unit.removed and not unit.protected for unit in given_units]
    assert below(Budget(target), growth, given_units) == expected


@settings(deadline=None, max_examples=300)
@given(units, dyadic, growths)
def test_sparsity_takes_the_weakest_units_that_are_still_missing(
    given_units: list[Unit], target: float, growth: float
) -> None:
    found = below(Sparsity(target), growth, given_units)
    free = [unit for unit in given_units if not unit.removed and not unit.protected]
    due = math.floor(math.ceil(target * len(given_units)) * growth) - sum(unit.removed for unit in given_units)
    chosen = [unit for unit, is_below in zip(given_units, found, strict=True) if is_below]
    spared = [unit for unit, is_below in zip(given_units, found, strict=True) if unit in free and not is_below]
    assert len(chosen) == min(max(due, 0), len(free))
    assert all(unit in free for unit in chosen)
    assert max((unit.score for unit in chosen), default=-1) <= min((unit.score for unit in spared), default=7)


def alive(*scores: int) -> list[Unit]:
    return [Unit(group="a", score=score, removed=False, protected=False) for score in scores]


def test_budget_takes_all_of_a_tie_or_none_of_it() -> None:
    assert below(Budget(0.5), 1.0, alive(1, 1, 1, 3)) == [True, True, True, False]
    assert below(Budget(0.375), 1.0, alive(1, 1, 1, 5)) == [True, True, True, False]
    assert below(Budget(0.25), 1.0, alive(1, 1, 1, 5)) == [False, False, False, False]


def test_removed_units_use_up_the_budget_with_their_last_score() -> None:
    gone = [Unit(group="a", score=2, removed=True, protected=False)]
    assert below(Budget(0.5), 1.0, alive(1, 7)) == [True, False]
    assert below(Budget(0.25), 1.0, gone + alive(1, 7)) == [False, True, False]
    assert below(Budget(0.25), 1.0, gone + alive(2, 4)) == [False, False, False]


def test_units_without_importance_are_below_even_a_budget_of_nothing() -> None:
    assert below(Budget(0.0), 1.0, alive(0, 2, 0)) == [True, False, True]


def test_sparsity_counts_over_all_groups_together() -> None:
    given_units = [
        Unit(group=name, score=score, removed=False, protected=False)
        for name, score in (("a", 1), ("a", 2), ("b", 5), ("b", 6))
    ]
    assert below(Sparsity(0.5), 1.0, given_units) == [True, True, False, False]


def test_sparsity_takes_the_first_of_a_tie() -> None:
    assert below(Sparsity(0.5), 1.0, alive(3, 3, 3, 3)) == [True, True, False, False]


@pytest.mark.parametrize(
    ("target", "total", "removals"),
    [(0.0, 10, 0), (0.93, 100, 93), (0.93, 128, 120), (0.5, 7, 4), (0.01, 3, 1), (0.3, 10, 3), (0.7, 10, 7)],
)
def test_sparsity_removes_the_target_share_rounded_up(target: float, total: int, removals: int) -> None:
    assert Sparsity(target).removals(total) == removals


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(0, 1999))
def test_sparsity_removes_k_of_n_where_the_target_is_k_over_n(total: int, part: int) -> None:
    wanted = part % total
    assert Sparsity(wanted / total).removals(total) == wanted


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=20), st.floats(0.0, 0.9), st.floats(0.05, 1.0))
def test_growth_rises_from_zero_to_one(progress: list[float], start: float, full: float) -> None:
    phases = Phases(start=start, end=1.0, full=full)
    grown = [growth(phases.elapsed(value)) for value in sorted(progress)]
    assert grown == sorted(grown)
    assert all(0.0 <= value <= 1.0 for value in grown)
    assert growth(phases.elapsed(start)) == 0.0
    assert growth(phases.elapsed(0.0)) == 0.0
    assert growth(phases.elapsed(1.0)) == pytest.approx(1.0)


def test_growth_is_cubic_and_full_before_the_window_ends() -> None:
    phases = Phases(start=0.2, end=0.7, full=0.8)
    assert growth(phases.elapsed(0.4)) == pytest.approx(1.0 - 0.5**3)
    assert growth(phases.elapsed(0.3)) == pytest.approx(1.0 - 0.75**3)
    assert growth(phases.elapsed(0.6)) == pytest.approx(1.0)
    assert growth(phases.elapsed(0.59)) < 1.0
    assert growth(phases.elapsed(0.65)) == 1.0


def test_the_default_window_is_from_a_half_to_eight_tenths() -> None:
    phases = Phases()
    assert (phases.start, phases.end, phases.full) == (0.5, 0.8, 0.9)
    assert growth(phases.elapsed(0.5 + 0.27 / 2)) == pytest.approx(0.875)


def clock_after(pauses: Callable[[float], bool], ticks: int = 200) -> list[float]:
    """Return the clock's positions over the window; ``pauses`` says whether pruning waits at an elapsed time."""
    clock, positions = Clock(), [0.0]
    for tick in range(1, ticks + 1):
        elapsed = tick / ticks
        clock.advance(elapsed, paused=pauses(elapsed) and not clock.late)
        positions.append(clock.position)
    return positions


def test_a_clock_without_pauses_keeps_the_time() -> None:
    assert clock_after(lambda _: False) == pytest.approx([tick / 200 for tick in range(201)])


@settings(deadline=None)
@given(st.sets(st.integers(1, 200)))
def test_a_clock_stands_while_paused_and_arrives_without_a_burst(paused: set[int]) -> None:
    positions = clock_after(lambda elapsed: round(elapsed * 200) in paused)
    assert positions[-1] == 1.0 or 200 in paused  # and then it arrives at the next tick
    for tick, (before, after) in enumerate(pairwise(positions), start=1):
        assert before <= after
        # twice the usual speed, but for the last tick of a window that was paused until then
        assert after - before <= 2.05 / 200 or tick >= 199


def test_a_clock_makes_up_for_a_pause_over_all_of_the_time_left() -> None:
    positions = clock_after(lambda elapsed: 0.2 < elapsed <= 0.4)
    assert positions[80] == positions[40] == pytest.approx(0.2)
    steps = [after - before for before, after in pairwise(positions[80:])]
    assert steps == pytest.approx([0.8 / 120] * 120)


@pytest.mark.parametrize(
    ("start", "end", "full"),
    [(-0.1, 0.7, 0.9), (0.2, 1.1, 0.9), (0.7, 0.2, 0.9), (0.5, 0.5, 0.9), (0.2, 0.7, 0.0), (0.2, 0.7, 1.1),
     (math.nan, 0.7, 0.9), (0.2, math.nan, 0.9), (0.2, 0.7, math.nan)],
)  # fmt: skip
def test_phases_out_of_order_are_refused(start: float, end: float, full: float) -> None:
    with pytest.raises(InputError, match="phases need"):
        Phases(start=start, end=end, full=full)


@pytest.mark.parametrize("target", [-0.01, 1.0, 1.5, math.nan, math.inf])
def test_targets_outside_of_the_unit_interval_are_refused(target: float) -> None:
    with pytest.raises(InputError, match="`sparsity` must be at least 0 and below 1"):
        Sparsity(target)
    with pytest.raises(InputError, match="`budget` must be at least 0 and below 1"):
        Budget(target)
