"""Emulated processors: a policy as firmware, its sizes and costs, and its actions in the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from prunekit.benching.figures import Cost, DeviceFigures, FirmwareFigures, Place
from prunekit.benching.models import BenchModel
from prunekit.benching.runtimes import Runtime
from prunekit.benching.settings import BenchSettings
from prunekit.devices.build import Image, build
from prunekit.devices.chips import Chip
from prunekit.devices.cores import Core
from prunekit.devices.emulator import Counts, EmulatedPolicy, count
from prunekit.devices.policy_code import PolicyCode
from prunekit.devices.toolchain import require_tools, tool_versions
from prunekit.errors import TooLargeError
from prunekit.export.c_code import CCode
from prunekit.export.c_text import AVR_ARRAY_BYTES, AVR_FLASH_BYTES
from prunekit.runtimes.native import NativePolicy


@final
class LoopRuntime:
    """Firmware in an emulator; every action is compared bit for bit with the same C on the host."""

    def __init__(self, image: Image) -> None:
        self._host = NativePolicy(image.code)
        self._emulated = EmulatedPolicy(image)
        self._rest = np.zeros(image.code.inputs, np.float32)
        self.compared, self.different = 0, 0

    @property
    def inputs(self) -> int:
        """The width of an observation."""
        return self._host.inputs

    def act(self, observation: Any) -> Any:
        """Return the firmware's action for a raw observation [inputs]."""
        seen = np.ascontiguousarray(observation, np.float32)
        action, host = self._emulated.act(seen), self._host.act(seen)
        self.compared += 1
        self.different += np.asarray(action).tobytes() != np.asarray(host).tobytes()
        return action

    def call(self) -> None:
        """Run the policy once on zeros."""
        self._emulated.act(self._rest)

    def close(self) -> None:
        """End the emulator."""
        self._emulated.close()


@final
@dataclass(frozen=True, kw_only=True)
class _Built:
    """A model as firmware: by how much it is too large, its image, its costs, and its runtime in the loop."""

    overflow: dict[str, int]
    flash_bytes: int
    image: Image | None = None
    counts: Counts | None = None
    runs: Image | None = None


@final
class Board:
    """An emulated core, or a ``chip`` with that core and its own amount of memory."""

    def __init__(self, core: Core, chip: Chip | None, code: PolicyCode) -> None:
        self._core, self._chip, self._code = core, chip, code
        self._memory = core if chip is None else chip
        self._built: dict[Path, _Built] = {}

    @property
    def name(self) -> str:
        """The name on the command line."""
        return self._memory.name

    def seeds(self, settings: BenchSettings) -> range:
        """Return the seeds of the episodes with the processor in the loop."""
        return settings.loop_seeds

    def runtime(self, model: BenchModel, place: Place) -> Runtime | None:
        """Return ``model`` in the emulator, or None if it is too large; raises InputError if a tool is missing."""
        require_tools(self._core)
        code = self._code.of(model, place)
        built = self._built[model.path] = self._build(code, model, place)
        return None if built.runs is None else LoopRuntime(built.runs)

    def figures(
        self, models: Sequence[BenchModel], runtimes: Sequence[Runtime | None], _settings: BenchSettings
    ) -> list[DeviceFigures]:
        """Return the figures that were measured when the models were opened, and how many actions equalled those of the
        host.
        """
        return [
            DeviceFigures(code=self._code.form, firmware=self._figures(self._built[model.path], runtime))
            for model, runtime in zip(models, runtimes, strict=True)
        ]

    def _build(self, code: CCode, model: BenchModel, place: Place) -> _Built:
        min_ram = self._code.buffer_bytes(model)
        try:
            image = build(code, self._core, self._chip)
        except TooLargeError:
            return _Built(
                overflow={"flash": beyond_avr(code, self._memory.flash_bytes), "ram": 0},
                flash_bytes=sum(code.constant_bytes),
            )
        if not image.fits:
            return _Built(overflow=dict(image.overflow), flash_bytes=image.flash_bytes, image=image)
        over = image.static_ram_bytes + min_ram - self._memory.ram_bytes
        roomy = build(code, self._core, ample=True)
        if over > 0 or roomy.machine is None:  # too large for the stack to be found, or for every machine
            return _Built(overflow={"flash": 0, "ram": max(0, over)}, flash_bytes=image.flash_bytes, image=image)
        counts = count(roomy, self._code.observations(model, place))
        over = max(0, image.static_ram_bytes + counts.total_stack_bytes - self._memory.ram_bytes)
        runs = None
        if not over:
            runs = build(code, self._core, self._chip, stack_bytes=counts.total_stack_bytes)
            runs = runs if runs.machine is not None else roomy
        return _Built(
            overflow={"flash": 0, "ram": over}, flash_bytes=image.flash_bytes, image=image, counts=counts, runs=runs
        )

    def _figures(self, built: _Built, runtime: Runtime | None) -> FirmwareFigures:
        image, counts = built.image, built.counts
        cost = None
        if counts is not None and len(counts.per_inference):
            taken = counts.per_inference
            cost = Cost(
                unit=counts.unit, p50=round(float(np.median(taken))), maximum=int(taken.max()), observations=len(taken)
            )
        looped = runtime if isinstance(runtime, LoopRuntime) else None
        return FirmwareFigures(
            flash_bytes=built.flash_bytes,
            static_ram_bytes=None if image is None else image.static_ram_bytes,
            harness_flash_bytes=None if image is None else image.harness_flash_bytes,
            harness_ram_bytes=None if image is None else image.harness_ram_bytes,
            overflow=built.overflow,
            at_least=any(built.overflow.values()) and (image is None or (image.fits and counts is None)),
            stack_bytes=None if counts is None else counts.stack_bytes,
            cost=cost,
            compared=0 if looped is None else looped.compared,
            different=0 if looped is None else looped.different,
            tools=tool_versions(self._core),
        )


def beyond_avr(code: CCode, flash_bytes: int) -> int:
    """Return by how many bytes the constants alone exceed what an AVR can hold or address."""
    total, largest = sum(code.constant_bytes), max(code.constant_bytes)
    return max(total - min(flash_bytes, AVR_FLASH_BYTES), largest - AVR_ARRAY_BYTES)
