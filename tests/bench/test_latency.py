"""Latency on a clock of our own: every figure below is exact, whatever the machine is doing."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from itertools import cycle, groupby
from typing import Any

import numpy as np
import pytest

from prunekit.benching import latency
from prunekit.benching.latency import Percentiles, back_to_back_us, paced_us


class Clock:
    """Stands in for ``time``: moves only when somebody works, sleeps, or (by ``read_ns``) asks."""

    def __init__(self, read_ns: int = 0) -> None:
        self.now_ns, self.read_ns = 5_000_000_000, read_ns

    def perf_counter_ns(self) -> int:
        self.now_ns += self.read_ns
        return self.now_ns

    def perf_counter(self) -> float:
        return self.perf_counter_ns() / 1e9

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0.0
        self.now_ns += round(seconds * 1e9)


class Worker:
    """A runtime whose calls take the given times, in turn, and are written down."""

    def __init__(self, clock: Clock, name: str, durations_us: list[int], calls: list[tuple[str, int]]) -> None:
        self.clock, self.name, self.calls = clock, name, calls
        self.durations_us: Iterator[int] = cycle(durations_us)

    inputs = 1

    def act(self, observation: Any) -> Any:
        raise AssertionError("latency is that of call")

    def call(self) -> None:
        self.calls.append((self.name, self.clock.now_ns))
        self.clock.now_ns += 1000 * next(self.durations_us)


@pytest.fixture
def calls() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(latency, "time", fake)
    return fake


def runs_of(calls: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return [(name, len(list(group))) for name, group in groupby(name for name, _ in calls)]


def test_percentiles_are_those_of_the_calls(clock: Clock, calls: list[tuple[str, int]]) -> None:
    durations = [*range(1, 1001)]
    steady = Worker(clock, "steady", [7], calls)
    varied = Worker(clock, "varied", durations, calls)
    first, second = back_to_back_us([steady, varied], 1000)
    assert first == Percentiles(p50=7.0, p99=7.0)
    p50, p99 = np.percentile(durations, [50, 99])
    assert (second.p50, second.p99) == pytest.approx((p50, p99), abs=1e-3)
    assert second.to_dict() == {"p50": second.p50, "p99": second.p99}


def test_the_timers_own_cost_is_taken_off(monkeypatch: pytest.MonkeyPatch, calls: list[tuple[str, int]]) -> None:
    fake = Clock(read_ns=300)
    monkeypatch.setattr(latency, "time", fake)
    assert back_to_back_us([Worker(fake, "a", [2], calls)], 100) == [Percentiles(p50=2.0, p99=2.0)]
    assert paced_us([Worker(fake, "a", [2], calls)], 20) == [Percentiles(p50=2.0, p99=2.0)]


def test_a_call_faster_than_the_timer_is_not_negative(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, calls: list[tuple[str, int]]
) -> None:
    monkeypatch.setattr(latency, "_timer_cost_ns", lambda: 50_000.0)
    assert back_to_back_us([Worker(clock, "a", [2], calls)], 100) == [Percentiles(p50=0.0, p99=0.0)]


def test_models_take_turns_in_blocks_after_a_warm_up(clock: Clock, calls: list[tuple[str, int]]) -> None:
    back_to_back_us([Worker(clock, name, [1], calls) for name in "abc"], 250)
    warm_up, timed = runs_of(calls)[:3], runs_of(calls)[3:]
    assert warm_up == [("a", 50), ("b", 50), ("c", 50)]
    assert timed == [(name, 100) for name in "abc"] * 3


def test_warm_up_calls_and_calls_beyond_the_number_do_not_count(clock: Clock, calls: list[tuple[str, int]]) -> None:
    durations = [9_000] * 50 + [3] * 250 + [9_000] * 50
    assert back_to_back_us([Worker(clock, "a", durations, calls)], 250) == [Percentiles(p50=3.0, p99=3.0)]


def test_garbage_is_not_collected_while_timing_but_again_afterwards(clock: Clock, calls: list[tuple[str, int]]) -> None:
    collecting: list[bool] = []

    class Watching(Worker):
        def call(self) -> None:
            super().call()
            collecting.append(gc.isenabled())
            if len(calls) > 120:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_to_back_us([Watching(clock, "a", [1], calls)], 200)
    assert not any(collecting[50:])
    assert gc.isenabled()


def test_garbage_that_the_caller_does_not_collect_stays(clock: Clock, calls: list[tuple[str, int]]) -> None:
    gc.disable()
    try:
        back_to_back_us([Worker(clock, "a", [1], calls)], 1)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("rate_hz", [50.0, 200.0])
def test_paced_calls_come_at_the_rate(clock: Clock, calls: list[tuple[str, int]], rate_hz: float) -> None:
    began = clock.now_ns
    result = paced_us([Worker(clock, "a", [900], calls), Worker(clock, "b", [40], calls)], 25, rate_hz)
    assert result == [Percentiles(p50=900.0, p99=900.0), Percentiles(p50=40.0, p99=40.0)]
    starts = np.asarray([start for _, start in calls], float) - began
    np.testing.assert_allclose(starts, 1e9 / rate_hz * np.arange(1, 51), atol=100.0)
    assert runs_of(calls) == [("a", 10), ("b", 10), ("a", 10), ("b", 10), ("a", 5), ("b", 5)]


def test_the_paced_rate_is_that_of_a_control_loop_at_50_hz(clock: Clock, calls: list[tuple[str, int]]) -> None:
    paced_us([Worker(clock, "a", [10], calls)], 11)
    assert calls[-1][1] - calls[0][1] == pytest.approx(0.2e9, abs=1000)


def test_a_stall_is_not_made_up_for_by_hurrying(clock: Clock, calls: list[tuple[str, int]]) -> None:
    clock.read_ns = 10
    began = clock.now_ns
    paced_us([Worker(clock, "a", [10, 30_000, 10, 10, 10], calls)], 5, 50.0)
    starts_ms = [(start - began) / 1e6 for _, start in calls]
    assert starts_ms == pytest.approx([20.0, 40.0, 70.0, 90.0, 110.0], abs=1e-3)


def test_a_real_sleep_is_timed_in_microseconds() -> None:
    class Sleeper:
        inputs = 1

        def act(self, observation: Any) -> Any:
            raise AssertionError("latency is that of call")

        def call(self) -> None:
            time.sleep(0.002)

    for (result,) in (back_to_back_us([Sleeper()], 30), paced_us([Sleeper()], 3, 100.0)):
        assert 1_900.0 < result.p50 <= result.p99
