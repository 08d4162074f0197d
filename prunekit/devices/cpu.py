"""The device ``cpu``: ONNX Runtime on this machine, in one thread without spinning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from prunekit.benching.figures import DeviceFigures, Place
from prunekit.benching.latency import back_to_back_us, paced_us
from prunekit.benching.memory import measure_memory
from prunekit.benching.models import BenchModel
from prunekit.benching.runtimes import OnnxRuntime, Runtime
from prunekit.benching.settings import BenchSettings


@final
class Cpu:
    """The host's processor."""

    name = "cpu"

    def seeds(self, settings: BenchSettings) -> range:
        """Return the seeds of all episodes."""
        return settings.seeds

    def runtime(self, model: BenchModel, place: Place) -> Runtime:
        """Return ``model`` in ONNX Runtime."""
        return OnnxRuntime(model, place.spaces)

    def figures(
        self, models: Sequence[BenchModel], runtimes: Sequence[Runtime | None], settings: BenchSettings
    ) -> list[DeviceFigures]:
        """Measure latency, back to back and paced, and memory, each model in a process of its own."""
        opened = [runtime for runtime in runtimes if runtime is not None]
        hot = back_to_back_us(opened, settings.calls)
        cold = paced_us(opened, settings.paced_ticks)
        memories = [measure_memory(model, runtime.inputs) for model, runtime in zip(models, opened, strict=True)]
        return [
            DeviceFigures(
                latency_us=back_to_back,
                paced_latency_us=paced,
                memory_bytes=None if memory is None else memory.memory_bytes,
                marginal_memory_bytes=None if memory is None else memory.marginal_memory_bytes,
            )
            for back_to_back, paced, memory in zip(hot, cold, memories, strict=True)
        ]
