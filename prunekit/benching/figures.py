"""What a device is, and what it tells of a model."""

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


@final
@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one call of a policy takes on an emulated core, over several observations, the call itself left out.

    QEMU knows instructions and no time; simavr's cycles are those of the chip.
    """

    unit: Literal["instructions", "cycles"]
    p50: int
    maximum: int
    observations: int


@final
@dataclass(frozen=True, kw_only=True)
class FirmwareFigures:
    """A policy as firmware, in bytes, the harness that feeds it included: its own share is ``harness_..._bytes``.

    ``overflow`` is how many bytes too many ``flash`` and ``ram`` (static variables, and the stack where it is known)
    take of the device; ``at_least`` says that constants or buffers alone were counted, which are too many already.
    ``stack_bytes`` is that of the policy's deepest call, by painting. Of ``compared`` actions in the loop
    ``different`` ones had other bits than those of the same C on the host. What was not run is None.
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
    """What a device tells of a model; None where it cannot. ``code`` says in which form of C it ran."""

    latency_us: Percentiles | None = None
    paced_latency_us: Percentiles | None = None
    memory_bytes: int | None = None
    marginal_memory_bytes: int | None = None
    code: str | None = None
    firmware: FirmwareFigures | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Place:
    """Where models act: what is known of the environment, and what a program observes in so many episodes there."""

    spaces: Spaces
    observe: Callable[[Graph, int], NDArray[np.float32]]


class Device(Protocol):
    """Where models are measured: all are opened, then play their episodes, then are measured, then closed."""

    @property
    def name(self) -> str:
        """The name on the command line."""

    def seeds(self, settings: BenchSettings) -> range:
        """Return the seeds of the episodes that are played here."""

    def runtime(self, model: BenchModel, place: Place) -> Runtime | None:
        """Return what runs ``model`` there, None where the device is too small for it.

        Raises InputError where it does not fit the environment, or something is missing that the device needs.
        """

    def figures(
        self, models: Sequence[BenchModel], runtimes: Sequence[Runtime | None], settings: BenchSettings, /
    ) -> list[DeviceFigures]:
        """Measure the models together, so that noise hits all alike."""


@final
@dataclass(frozen=True, kw_only=True)
class DeviceResult:
    """Figures of one model on one device, and returns [episodes]; none, and no interval, where it could not run."""

    figures: DeviceFigures
    returns: tuple[float, ...] = field(repr=False)
    ci95: tuple[float, float] | None

    @property
    def mean(self) -> float:
        """Mean return; NaN without episodes."""
        return float(np.mean(self.returns)) if self.returns else float("nan")

    @property
    def iqm(self) -> float:
        """Interquartile mean of the returns; NaN without episodes."""
        return interquartile_mean(np.asarray(self.returns)) if self.returns else float("nan")
