"""The content of a sweep file: methods, and grids of environments, algorithms, methods and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from prunekit.disturbances.record import Disturbance
from prunekit.pruning.plan import PruningPlan


@final
@dataclass(frozen=True, kw_only=True)
class Method:
    """A method that makes a policy. ``plan`` prunes during training; ``hidden`` are the widths that training begins
    with (None: those of the preset).

    ``widths_of`` names the method whose final widths are trained from scratch. ``compress`` names the method whose
    policy is compressed. ``guard_share``, ``rate_schedule`` and ``learning_rate`` override the defaults of training.
    """

    name: str
    plan: PruningPlan | None = None
    hidden: tuple[int, ...] | None = None
    control: bool = False
    widths_of: str | None = None
    compress: str | None = None
    keep: float = 0.95
    minutes: float = 5.0
    guard_share: float | None = 0.9
    live_shrink: bool = True
    rate_schedule: str | None = None
    learning_rate: float | None = None

    @property
    def needs(self) -> str | None:
        """The method whose cell must be done before."""
        return self.widths_of or self.compress


@final
@dataclass(frozen=True, kw_only=True)
class Grid:
    """A grid: every combination of its values is a cell. ``steps`` None is the preset's length."""

    environments: tuple[str, ...]
    algorithms: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: tuple[int | None, ...] = (None,)
    disturbances: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class EnvironmentSettings:
    """The arguments of an environment, and overrides of the presets of its algorithms."""

    kwargs: Mapping[str, Any] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@final
@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep file. Every policy plays ``episodes`` episodes, with seeds from ``first_seed`` on."""

    title: str
    grids: tuple[Grid, ...]
    methods: Mapping[str, Method]
    environments: Mapping[str, EnvironmentSettings]
    disturbances: Mapping[str, Disturbance]
    episodes: int = 100
    first_seed: int = 10_000
