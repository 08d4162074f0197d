"""The return guard: when it pauses, when it goes on, and what it remembers."""

from __future__ import annotations

import math

import pytest

from prunekit.errors import CheckError
from prunekit.pruning.guard import ReturnGuard


def guard_after(*returns: float, floor: float = 0.0, momentum: float = 0.0, share: float = 0.9) -> ReturnGuard:
    guard = ReturnGuard(floor, share, momentum)
    for value in returns:
        guard.record(value)
    return guard


def test_a_guard_without_returns_does_not_pause() -> None:
    assert not ReturnGuard(floor=20.0).paused


def test_it_pauses_below_the_share_of_the_best_and_goes_on_when_recovered() -> None:
    guard = guard_after(50.0, 100.0)
    states = []
    for value in (91.0, 89.0, 60.0, 89.9, 90.0, 95.0):
        guard.record(value)
        states.append(guard.paused)
    assert states == [False, True, True, True, False, False]


def test_a_new_best_raises_the_bar() -> None:
    guard = guard_after(100.0, 95.0)
    assert not guard.paused
    guard.record(200.0)
    guard.record(95.0)
    assert guard.paused


def test_returns_are_measured_from_the_random_policy_s() -> None:
    assert not guard_after(100.0, 95.0, floor=0.0).paused
    assert guard_after(100.0, 95.0, floor=60.0).paused
    assert not guard_after(100.0, 97.0, floor=60.0).paused


@pytest.mark.parametrize(
    ("recent", "paused"), [(-200.0, False), (-299.0, False), (-301.0, True), (-1200.0, True), (-1500.0, True)]
)
def test_negative_returns_above_the_floor_are_judged_like_positive_ones(recent: float, paused: bool) -> None:
    # a tenth of the way from the best return, -200, back to the random policy's, -1200, is -300
    assert guard_after(-200.0, recent, floor=-1200.0).paused is paused


def test_a_return_that_rose_through_zero_is_judged_by_its_distance_to_the_floor() -> None:
    assert not guard_after(200.0, 161.0, floor=-200.0).paused
    assert guard_after(200.0, 159.0, floor=-200.0).paused


def test_a_policy_that_was_never_better_than_the_random_one_has_nothing_to_lose() -> None:
    assert not guard_after(-300.0, -400.0, floor=-205.0).paused
    assert guard_after(-300.0, -200.0, -400.0, floor=-205.0).paused


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_return_that_is_not_finite_is_refused_and_forgotten(value: float) -> None:
    guard = guard_after(100.0)
    with pytest.raises(CheckError, match="finite"):
        guard.record(value)
    assert (guard.recent, guard.best) == (100.0, 100.0)


def test_the_share_is_a_parameter() -> None:
    assert guard_after(100.0, 60.0).paused
    assert not guard_after(100.0, 60.0, share=0.5).paused


def test_one_bad_report_is_averaged_and_not_taken_alone() -> None:
    guard = guard_after(100.0, momentum=0.7)
    guard.record(70.0)
    assert guard.recent == pytest.approx(0.7 * 100.0 + 0.3 * 70.0)
    assert not guard.paused
    guard.record(70.0)
    assert guard.recent == pytest.approx(0.7 * 91.0 + 0.3 * 70.0)
    assert guard.best == 100.0
    assert guard.paused


def test_the_best_is_a_moving_average_and_not_a_lucky_report() -> None:
    guard = guard_after(100.0, 500.0, momentum=0.7)
    assert guard.best == pytest.approx(0.7 * 100.0 + 0.3 * 500.0)


def test_a_guard_goes_on_from_its_state() -> None:
    first = guard_after(100.0, 80.0, 60.0, momentum=0.7)
    state = first.state_dict()
    second = ReturnGuard(floor=0.0, momentum=0.7)
    second.load_state_dict(state)
    assert (second.recent, second.best, second.paused) == (first.recent, first.best, True)
    for guard in (first, second):
        guard.record(300.0)
    assert second.recent == first.recent
    assert not second.paused
    fresh = ReturnGuard(floor=0.0)
    fresh.load_state_dict(ReturnGuard(floor=0.0).state_dict())
    assert not fresh.paused
