"""``cpu``: this machine, through ONNX Runtime on one thread without spinning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from prunekit.bench.compare import BenchSettings, DeviceFigures
from prunekit.bench.latency import back_to_back_us, paced_us
from prunekit.bench.memory import measure_memory
from prunekit.bench.models import BenchModel
from prunekit.bench.runtimes import OnnxRuntime, Runtime
from prunekit.environments import Spaces


@final
class Cpu:
    """The host's processor."""

    name = "cpu"

    def runtime(self, model: BenchModel, spaces: Spaces) -> Runtime:
        """Return ``model`` in ONNX Runtime."""
        return OnnxRuntime(model, spaces)

    def figures(
        self, models: Sequence[BenchModel], runtimes: Sequence[Runtime], settings: BenchSettings
    ) -> list[DeviceFigures]:
        """Measure latency back to back and paced, and memory in processes of their own."""
        hot = back_to_back_us(runtimes, settings.calls)
        cold = paced_us(runtimes, settings.paced_ticks)
        memories = [measure_memory(model, runtime.inputs) for model, runtime in zip(models, runtimes, strict=True)]
        return [
            DeviceFigures(
                back_to_back,
                paced,
                None if memory is None else memory.memory_bytes,
                None if memory is None else memory.marginal_memory_bytes,
            )
            for back_to_back, paced, memory in zip(hot, cold, memories, strict=True)
        ]
