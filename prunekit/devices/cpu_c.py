"""The device ``cpu-c``: the policy's C on this machine, compiled into a Python extension."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

import numpy as np

from prunekit.benching.figures import DeviceFigures, Place
from prunekit.benching.latency import back_to_back_us, paced_us
from prunekit.benching.models import BenchModel
from prunekit.benching.runtimes import Runtime
from prunekit.benching.settings import BenchSettings
from prunekit.devices.policy_code import PolicyCode
from prunekit.export.c_code import CCode
from prunekit.runtimes.native import NativePolicy


@final
class NativeRuntime:
    """Compiled C with fixed input and output buffers."""

    def __init__(self, code: CCode) -> None:
        self._policy = NativePolicy(code)
        observation = np.zeros(code.inputs, np.float32)
        buffers = (observation,) if code.outputs is None else (observation, np.zeros(code.outputs, np.float32))
        self.call: Callable[[], Any] = partial(self._policy.run, *buffers)

    @property
    def inputs(self) -> int:
        """The width of an observation."""
        return self._policy.inputs

    def act(self, observation: Any) -> Any:
        """Return the action for a raw observation [inputs]."""
        return self._policy.act(observation)

    def close(self) -> None:
        """Do nothing: an extension stays loaded until the process ends."""


@final
class CpuC:
    """The host's processor without ONNX Runtime."""

    name = "cpu-c"

    def __init__(self, code: PolicyCode) -> None:
        self._code = code

    def seeds(self, settings: BenchSettings) -> range:
        """Return the seeds of all episodes."""
        return settings.seeds

    def runtime(self, model: BenchModel, place: Place) -> Runtime:
        """Return ``model`` as compiled C; raises InputError if there is no compiler, and for policies that C does not
        support.
        """
        return NativeRuntime(self._code.of(model, place))

    def figures(
        self, _models: Sequence[BenchModel], runtimes: Sequence[Runtime | None], settings: BenchSettings
    ) -> list[DeviceFigures]:
        """Measure latency back to back and paced."""
        opened = [runtime for runtime in runtimes if runtime is not None]
        hot, cold = back_to_back_us(opened, settings.calls), paced_us(opened, settings.paced_ticks)
        return [
            DeviceFigures(latency_us=one, paced_latency_us=other, code=self._code.form)
            for one, other in zip(hot, cold, strict=True)
        ]
