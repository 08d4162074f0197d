"""The return guard: when it pauses, when it goes on, and what it remembers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prunekit.errors import CheckError, InputError
from prunekit.pruning.guard import ReturnGuard


def guard_after(*returns: float, floor: float = 0.0, share: float = 0.9, window: int = 1) -> ReturnGuard:
    guard = ReturnGuard(floor=floor, share=share, window=window)
    for value in returns:
        guard.record([value])
    return guard


def test_a_guard_without_returns_does_not_pause() -> None:
    guard = ReturnGuard(floor=20.0)
    guard.record([])
    assert not guard.paused


def test_it_pauses_below_the_share_of_the_best_and_goes_on_when_recovered() -> None:
    guard = guard_after(50.0, 100.0)
    states = []
    for value in (91.0, 89.0, 60.0, 89.9, 90.0, 95.0):
        guard.record([value])
        states.append(guard.paused)
    assert states == [False, True, True, True, False, False]


def test_a_new_best_raises_the_bar() -> None:
    guard = guard_after(100.0, 95.0)
    assert not guard.paused
    guard.record([200.0])
    guard.record([95.0])
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
        guard.record([50.0, value])
    assert (guard.recent, guard.best) == (100.0, 100.0)


def test_the_share_is_a_parameter() -> None:
    assert guard_after(100.0, 60.0).paused
    assert not guard_after(100.0, 60.0, share=0.5).paused


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(InputError, match="window"):
        ReturnGuard(floor=0.0, window=0)


def test_nothing_is_judged_before_the_window_is_full() -> None:
    guard = guard_after(100.0, 100.0, 1.0, window=4)
    assert (guard.recent, guard.best, guard.paused) == (None, None, False)
    guard.record([1.0])
    assert guard.recent == 50.5
    assert guard.best is not None


def test_the_latest_episodes_count_and_no_older_ones() -> None:
    guard = ReturnGuard(floor=0.0, window=3)
    guard.record([7.0, 1.0, 2.0, 3.0])
    assert guard.recent == 2.0
    guard.record([4.0])
    assert guard.recent == 3.0


def test_best_and_recent_are_taken_with_their_standard_errors() -> None:
    returns = [80.0, 120.0, 100.0, 100.0]
    guard = ReturnGuard(floor=0.0, window=4)
    guard.record(returns)
    error = float(np.std(returns, ddof=1)) / 2.0
    assert guard.error == pytest.approx(error)
    assert guard.best == pytest.approx(100.0 - error)
    # the mean has fallen below 0.9 of the best, but not by more than its own error
    bar = 0.9 * (100.0 - error)
    for shift, paused in ((-error + 0.1, False), (-error - 0.1, True)):
        again = ReturnGuard(floor=0.0, window=4)
        again.record(returns)
        again.record([value - 100.0 + bar + shift for value in returns])
        assert again.recent is not None
        assert again.recent < bar
        assert again.paused is paused


def test_chance_alone_seldom_pauses() -> None:
    pauses = 0
    for seed in range(40):
        generator, guard = np.random.default_rng(seed), ReturnGuard(floor=0.0)
        for _ in range(100):
            guard.record(generator.normal(1000.0, 300.0, size=5).tolist())
            pauses += guard.paused
    assert pauses < 0.1 * 40 * 100


def test_a_guard_goes_on_from_its_state() -> None:
    first = guard_after(100.0, 80.0, 60.0, 20.0, window=2)
    second = ReturnGuard(floor=0.0, window=2)
    second.load_state_dict(first.state_dict())
    assert (second.recent, second.best, second.paused) == (first.recent, first.best, True)
    for guard in (first, second):
        guard.record([300.0, 310.0])
    assert second.recent == first.recent == 305.0
    assert not second.paused
    fresh = ReturnGuard(floor=0.0)
    fresh.load_state_dict(ReturnGuard(floor=0.0).state_dict())
    assert not fresh.paused
