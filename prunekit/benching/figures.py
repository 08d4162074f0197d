"""The interface of devices, and the figures that they report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, final

import numpy as np
from numpy.typing import NDArray

from prunekit.benching.latency import Percentiles
from prunekit.benching.models import BenchModel
from prunekit.benching.runtimes import Runtime
from prunekit.benching.settings import BenchSettings
from prunekit.environments import Spaces
from prunekit.graph.graph import Graph
from prunekit.stats.bootstrap import interquartile_mean
from prunekit.stats.claim import check_episodes


@final
@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of one call of a policy on an emulated core, over several observations, without the cost of an empty
    call.

    QEMU counts instructions and knows no time; simavr counts the chip's cycles.
    """

    unit: Literal["instructions", "cycles"]
    p50: int
    maximum: int
    observations: int


@final
@dataclass(frozen=True, kw_only=True)
class FirmwareFigures:
    """A policy as firmware, in bytes, including the harness, whose own share is in ``harness_..._bytes``.

    ``overflow`` says by how many bytes ``flash`` and ``ram`` (static variables, and the stack if known) exceed the
    device. ``at_least`` means that only constants or buffers were counted, which are already too many. ``stack_bytes``
    is the deepest stack of a call of the policy, found by filling the stack with a pattern. Of the ``compared`` actions
    in the loop, ``different`` ones differ in bits from the same C on the host. What was not run is None.
    """

    flash_bytes: int
    static_ram_bytes: int | None
    harness_flash_bytes: int | None
    harness_ram_bytes: int | None
    overflow: Mapping[str, int]
    at_least: bool
    stack_bytes: int | None
    cost: Cost | None
    compared: int
    different: int
    tools: Mapping[str, str]

    @property
    def fits(self) -> bool:
        """Whether the device can hold it."""
        return not any(self.overflow.values())


@final
@dataclass(frozen=True, kw_only=True)
class DeviceFigures:
    """The figures of a model on a device; None if the device cannot measure one. ``code`` is the form of C that ran."""

    latency_us: Percentiles | None = None
    paced_latency_us: Percentiles | None = None
    memory_bytes: int | None = None
    marginal_memory_bytes: int | None = None
    code: str | None = None
    firmware: FirmwareFigures | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Place:
    """The environment in which models act: what is known about it, and a function that records a program's observations
    there.
    """

    spaces: Spaces
    observe: Callable[[Graph, int], NDArray[np.float32]]


class Device(Protocol):
    """A place where models are measured: all models are opened, then play their episodes, are measured, and are
    closed.
    """

    @property
    def name(self) -> str:
        """The name on the command line."""

    def seeds(self, settings: BenchSettings) -> range:
        """Return the seeds of the episodes that are played on this device."""

    def runtime(self, model: BenchModel, place: Place) -> Runtime | None:
        """Return what runs ``model`` on the device, or None if it does not fit into the device's memory.

        Raises InputError if it does not fit the environment, or if something that the device needs is missing.
        """

    def figures(
        self, models: Sequence[BenchModel], runtimes: Sequence[Runtime | None], settings: BenchSettings, /
    ) -> list[DeviceFigures]:
        """Measure all models together, so noise affects all alike."""


def check_claimed(device: Device, settings: BenchSettings) -> None:
    """Raise InputError if ``device``, the first one, plays too few episodes to show the claim of ``settings``."""
    played = len(device.seeds(settings))
    parameter = "episodes" if played == settings.episodes else "loop_episodes"
    if settings.keep is not None:
        check_episodes(played, settings.max_failures, parameter=parameter, where=" on the first device")


@final
@dataclass(frozen=True, kw_only=True)
class DeviceResult:
    """Figures of one model on one device, and returns [episodes]; empty if it could not run.

    ``ci95`` is the interval of their mean; None for fewer than two episodes.
    """

    figures: DeviceFigures
    returns: tuple[float, ...] = field(repr=False)
    ci95: tuple[float, float] | None

    @property
    def mean(self) -> float:
        """The mean return; NaN without episodes."""
        return float(np.mean(self.returns)) if self.returns else float("nan")

    @property
    def iqm(self) -> float:
        """The interquartile mean of the returns; NaN without episodes."""
        return interquartile_mean(np.asarray(self.returns)) if self.returns else float("nan")
