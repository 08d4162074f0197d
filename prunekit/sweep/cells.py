"""The cells of a sweep: their settings, the cells that they depend on, and their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, final

from prunekit.disturbances.record import Disturbance
from prunekit.environments import episode_limit_named
from prunekit.errors import InputError
from prunekit.sweep.spec import EnvironmentSettings, Grid, Method, Sweep
from prunekit.training.differences import first_difference
from prunekit.training.presets import Preset, overlaid, preset_for
from prunekit.training.request import TrainingRequest

_LONGEST_NAME = 200
"""Characters of a cell's name: folders have names of up to 255 bytes, and temporary files beside them longer ones."""


@final
@dataclass(frozen=True, kw_only=True)
class Cell:
    """A run of a sweep. ``request`` trains its policy; None means that it is compressed.

    If ``method.widths_of`` is set, the request does not have its widths yet. ``needs`` is the name of the cell that
    must be done before.
    """

    name: str
    environment: str
    kwargs: Mapping[str, Any]
    algorithm: str
    steps: int
    seed: int
    method: Method
    request: TrainingRequest | None
    needs: str | None
    episodes: int
    first_seed: int
    disturbances: Mapping[str, Disturbance]

    @property
    def identity(self) -> dict[str, Any]:
        """The data that distinguishes a cell from others, at the beginning of its result."""
        return {
            "name": self.name,
            "environment": self.environment,
            "algorithm": self.algorithm,
            "steps": self.steps,
            "method": self.method.name,
            "seed": self.seed,
        }

    @property
    def asked(self) -> dict[str, Any]:
        """Everything that determines the cell's result, as plain data; cells with the same data are interchangeable."""
        method = self.method
        training: dict[str, Any] = {}
        if self.request is None:
            training = {"compress": method.compress, "keep": method.keep, "minutes": method.minutes}
        else:
            training = {key: value for key, value in self.request.to_dict().items() if key not in ("env", "seed")}
            if method.widths_of is not None:
                training["hidden"] = {"widths_of": method.widths_of}
        return {
            "environment": {"id": self.environment, "kwargs": dict(self.kwargs)},
            "algorithm": self.algorithm,
            "steps": self.steps,
            "seed": self.seed,
            "method": method.name,
            "training": training,
            "episodes": self.episodes,
            "first_seed": self.first_seed,
            "disturbances": {name: entry.to_json() for name, entry in self.disturbances.items()},
        }


def cells_of(sweep: Sweep) -> dict[str, Cell]:
    """Return the cells by name, in the order of the file.

    Raises InputError if two cells have the same name (ignoring case) but different settings, if a name is too long, if
    a cell needs one that is in no grid, or if its settings exclude each other.
    """
    cells: dict[str, Cell] = {}
    folded: dict[str, str] = {}
    for grid in sweep.grids:
        combinations = product(grid.seeds, grid.environments, grid.algorithms, grid.steps, grid.methods)
        for seed, environment, algorithm, steps, method in combinations:
            cell = _cell(sweep, grid, environment, algorithm, steps, sweep.methods[method], seed)
            known = cells.setdefault(cell.name, cell)
            difference = "" if known is cell else first_difference("", known.asked, cell.asked)
            if difference:
                raise InputError(
                    f"two cells are called {cell.name}, and {difference}; put each cell in one grid, and give methods "
                    "names that differ in letters or digits"
                )
            other = folded.setdefault(cell.name.casefold(), cell.name)
            if other != cell.name:
                raise InputError(
                    f"cells {other} and {cell.name} differ only in capitals, which some file systems ignore; "
                    "rename a method"
                )
    for cell in cells.values():
        if cell.needs is not None and cell.needs not in cells:
            raise InputError(
                f"cell {cell.name} builds on '{cell.method.needs}', which no grid has for its environment, algorithm, "
                "length and seed; add it to a grid"
            )
    return cells


def name_of(environment: str, algorithm: str, steps: int, method: str, seed: int) -> str:
    """Return the name of a cell, which is also the name of its folder."""
    return f"{_plain(environment)}-{algorithm}-{steps}-{_plain(method)}-seed{seed}"


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.") or "-"


def _cell(
    sweep: Sweep, grid: Grid, environment: str, algorithm: str, steps: int | None, method: Method, seed: int
) -> Cell:
    settings = sweep.environments.get(environment, EnvironmentSettings())
    preset = _preset(environment, algorithm, settings)
    if method.rate_schedule is not None:
        preset = replace(preset, learning_rate_schedule=method.rate_schedule)
    if method.learning_rate is not None:
        preset = replace(preset, model={**preset.model, "learning_rate": method.learning_rate})
    length = preset.steps if steps is None else steps
    name = name_of(environment, algorithm, length, method.name, seed)
    if len(name) > _LONGEST_NAME:
        raise InputError(f"cell {name[:60]}... has a name of {len(name)} characters; give its method a shorter one")
    request = None
    if method.compress is None:
        try:
            request = TrainingRequest(
                env_id=environment,
                algorithm=algorithm,
                preset=preset,
                seed=seed,
                steps=length,
                plan=method.plan,
                hidden=method.hidden,
                env_kwargs=settings.kwargs,
                guard_share=method.guard_share,
                live_shrink=method.live_shrink,
                episode_steps=episode_limit_named(environment, settings.kwargs),
            )
        except InputError as error:
            raise InputError(f"cell {name}: {error}") from error
    needs = None if method.needs is None else name_of(environment, algorithm, length, method.needs, seed)
    return Cell(
        name=name,
        environment=environment,
        kwargs=settings.kwargs,
        algorithm=algorithm,
        steps=length,
        seed=seed,
        method=method,
        request=request,
        needs=needs,
        episodes=sweep.episodes,
        first_seed=sweep.first_seed,
        disturbances={name: sweep.disturbances[name] for name in grid.disturbances},
    )


def _preset(environment: str, algorithm: str, settings: EnvironmentSettings) -> Preset:
    preset = preset_for(environment, algorithm)
    merged = overlaid(asdict(preset), settings.presets.get(algorithm, {}))
    return Preset(**{**merged, "hidden": tuple(merged["hidden"])})
