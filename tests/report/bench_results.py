"""Results of ``bench`` as the tests need them: nothing is measured."""

from __future__ import annotations

from pathlib import Path

from prunekit.benching.figures import DeviceFigures, DeviceResult
from prunekit.benching.latency import Percentiles
from prunekit.benching.models import BenchModel
from prunekit.benching.result import BenchResult
from prunekit.benching.settings import BenchSettings
from prunekit.stats.betting import NOTHING
from prunekit.stats.bootstrap import Retention
from prunekit.stats.certificate import Certificate
from prunekit.stats.certify import Candidate, certify
from prunekit.stats.claim import Claim
from prunekit.stats.clipping import ReturnRange

UNMEASURED = DeviceFigures()
DENSE = BenchModel(
    path=Path("runs/demo/dense/model.onnx"),
    content=b"",
    size_bytes=276_480,
    hidden=(256, 256),
    parameters=69_635,
    macs=69_120,
)
SMALL = BenchModel(
    path=Path("runs/demo/masked/model.compact.onnx"),
    content=b"",
    size_bytes=3_072,
    hidden=(18, 18),
    parameters=615,
    macs=576,
)
KEPT = Retention(estimate=0.9734, ci95=(0.949, 0.99))
REFERENCE = Retention(estimate=1.0, ci95=(1.0, 1.0))


def figures(p50: float, memory: int) -> DeviceFigures:
    return DeviceFigures(
        latency_us=Percentiles(p50=p50, p99=2 * p50),
        paced_latency_us=Percentiles(p50=10 * p50, p99=20 * p50),
        memory_bytes=8_388_608,
        marginal_memory_bytes=memory,
    )


def result_of(
    models: list[BenchModel], measured: list[DeviceFigures], kept: list[Retention] | None = None
) -> BenchResult:
    return BenchResult(
        host={"versions": {"python": "3.12.0", "gymnasium": "1.4.0", "mujoco": "4.0.0"}},
        environment=("Hopper-v5", {}),
        settings=BenchSettings(episodes=4),
        models=tuple(models),
        devices=tuple(
            {"cpu": DeviceResult(figures=entry, returns=(3000.0 + number, 1000.0), ci95=(1050.25, 2990.75))}
            for number, entry in enumerate(measured)
        ),
        random=(10.0, 26.0),
        retentions=tuple(kept or [REFERENCE, *[KEPT] * (len(models) - 1)]),
        certificates=(None,) * len(models),
        disturbed=tuple({} for _ in models),
    )


def certificate(small: float, episodes: int) -> Certificate:
    claim = Claim(keep=0.95, clip_range=ReturnRange(low=-10.0, high=110.0))
    candidate = Candidate(name="model", play=lambda _: small, before=NOTHING)
    (found,) = certify([candidate], lambda _: 100.0, lambda _: 0.0, claim, range(episodes))
    return found
