"""How much ``bench`` measures, where, and what it refuses before it starts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from prunekit import InputError
from prunekit.benching.figures import DeviceFigures
from prunekit.benching.latency import Percentiles
from prunekit.benching.memory import Memory
from prunekit.benching.models import BenchModel
from prunekit.benching.settings import RANGE_EPISODES, BenchSettings
from prunekit.devices import cpu, devices_named
from prunekit.stats.clipping import ReturnRange


@pytest.mark.parametrize("keep", [0.0, -0.5, 1.01, math.nan])
def test_a_share_to_keep_that_is_none_is_refused(keep: float) -> None:
    with pytest.raises(InputError, match=r"`keep` must lie in \(0, 1\]"):
        BenchSettings(keep=keep)


def test_what_belongs_to_a_claim_goes_with_one() -> None:
    clip_range = ReturnRange(low=0.0, high=1.0)
    with pytest.raises(InputError, match="`clip_range` needs `keep`"):
        BenchSettings(clip_range=clip_range, max_failures=0.1)
    with pytest.raises(InputError, match="`max_failures` needs `keep`"):
        BenchSettings(max_failures=0.1)
    BenchSettings(keep=0.9, clip_range=clip_range, max_failures=0.1)


def test_the_episodes_that_fix_the_range_are_no_others() -> None:
    settings = BenchSettings(episodes=30, first_seed=7)
    assert not set(settings.seeds) & set(settings.range_seeds)
    assert len(settings.range_seeds) == RANGE_EPISODES


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"episodes": 0}, "`episodes` must be at least 1, got 0"),
        ({"calls": 0}, "`calls` must be at least 1"),
        ({"paced_ticks": -3}, "`paced_ticks` must be at least 1"),
        ({"first_seed": -1}, "`first_seed` must be at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        BenchSettings(**settings)


def test_devices_go_by_name_each_once() -> None:
    assert [device.name for device in devices_named(["cpu", "avr-uno", "cpu"])] == ["cpu", "avr-uno"]
    with pytest.raises(InputError, match=r"`devices` toaster is unknown; choose among cpu"):
        devices_named(["cpu", "toaster"])


class Idle:
    inputs = 5

    def act(self, observation: Any) -> Any:
        raise AssertionError("nothing is asked of it here")

    def call(self) -> None:
        raise AssertionError("nothing is asked of it here")

    def close(self) -> None:
        raise AssertionError("nothing is asked of it here")


def test_the_cpu_measures_as_often_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []
    hot, cold = Percentiles(p50=1.0, p99=2.0), Percentiles(p50=3.0, p99=4.0)

    def answer(name: str, result: Any) -> Any:
        def measure(_: Any, amount: int) -> Any:
            asked.append((name, amount))
            return result

        return measure

    monkeypatch.setattr(cpu, "back_to_back_us", answer("hot", [hot]))
    monkeypatch.setattr(cpu, "paced_us", answer("cold", [cold]))
    monkeypatch.setattr(cpu, "measure_memory", answer("memory", Memory(memory_bytes=7, marginal_memory_bytes=8)))
    model = BenchModel(path=Path("m.onnx"), content=b"", size_bytes=0, hidden=(), parameters=0, macs=0)
    figures = cpu.Cpu().figures([model], [Idle()], BenchSettings(calls=70, paced_ticks=90))
    assert asked == [("hot", 70), ("cold", 90), ("memory", 5)]
    assert figures == [DeviceFigures(latency_us=hot, paced_latency_us=cold, memory_bytes=7, marginal_memory_bytes=8)]
    monkeypatch.setattr(cpu, "measure_memory", answer("memory", None))
    assert cpu.Cpu().figures([model], [Idle()], BenchSettings()) == [
        DeviceFigures(latency_us=hot, paced_latency_us=cold)
    ]
