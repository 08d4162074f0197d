"""Latency: batch 1, one thread, with the models interleaved in one run, so noise affects all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from prunekit.benching.runtimes import Runtime

_BLOCK = 100
_PACED_BLOCK = 10
_WARM_UP = 50


@final
@dataclass(frozen=True, kw_only=True)
class Percentiles:
    """Microseconds per call, without the timer's own cost."""

    p50: float
    p99: float

    def to_dict(self) -> dict[str, float]:
        """Return plain data."""
        return {"p50": self.p50, "p99": self.p99}


def back_to_back_us(runtimes: Sequence[Runtime], calls: int) -> list[Percentiles]:
    """Time ``calls`` calls of each runtime without pauses, in alternating blocks."""
    times: list[list[int]] = [[] for _ in runtimes]
    for runtime in runtimes:
        for _ in range(_WARM_UP):
            runtime.call()
    collecting = gc.isenabled()
    gc.disable()
    try:
        while len(times[-1]) < calls:
            for runtime, record in zip(runtimes, times, strict=True):
                record.extend(_timed(runtime) for _ in range(_BLOCK))
    finally:
        if collecting:
            gc.enable()
    return [_percentiles(record[:calls]) for record in times]


def paced_us(runtimes: Sequence[Runtime], ticks: int, rate_hz: float = 50.0) -> list[Percentiles]:
    """Time ``ticks`` calls of each runtime at ``rate_hz``, as in a control loop: caches and clocks are cold."""
    times: list[list[int]] = [[] for _ in runtimes]
    period = 1.0 / rate_hz
    deadline = time.perf_counter()
    while len(times[-1]) < ticks:
        for runtime, record in zip(runtimes, times, strict=True):
            for _ in range(min(_PACED_BLOCK, ticks - len(record))):
                deadline = max(deadline + period, time.perf_counter())  # after a stall the pace starts anew
                time.sleep(max(deadline - time.perf_counter(), 0.0))
                record.append(_timed(runtime))
    return [_percentiles(record) for record in times]


def _timed(runtime: Runtime) -> int:
    start = time.perf_counter_ns()
    runtime.call()
    return time.perf_counter_ns() - start


def _timer_cost_ns() -> float:
    samples = []
    for _ in range(1000):
        start = time.perf_counter_ns()
        samples.append(time.perf_counter_ns() - start)
    return float(np.median(samples))


def _percentiles(times_ns: Sequence[int]) -> Percentiles:
    p50, p99 = (np.percentile(times_ns, [50, 99]) - _timer_cost_ns()) / 1000.0
    return Percentiles(p50=round(max(float(p50), 0.0), 3), p99=round(max(float(p99), 0.0), 3))
