"""The reader of ``SWEEP.toml``, which checks every key and type before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from math import prod
from pathlib import Path
from typing import Any

from prunekit.compression.settings import FIRST_SEED, LARGEST_SEED
from prunekit.disturbances.record import Disturbance
from prunekit.errors import InputError, PrunekitError
from prunekit.files import read_toml
from prunekit.pruning.importance import IMPORTANCES
from prunekit.pruning.penalties import PENALTIES
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Budget, Phases, Sparsity
from prunekit.sweep.schema import SWEEP
from prunekit.sweep.spec import EnvironmentSettings, Grid, Method, Sweep
from prunekit.training.request import check_widths
from prunekit.training.schema import (
    WrongValueError,
    one_of,
)

_MAX_CELLS, _MAX_RETURNS = 20_000, 20_000_000


def read_sweep(path: Path) -> Sweep:
    """Return the sweep in ``path``; raises InputError, naming the file and the key, if it is not valid."""
    found = read_toml(path)
    try:
        SWEEP("", found)
        return _sweep(found)
    except (WrongValueError, InputError) as error:
        raise InputError(f"{path}: {error}") from error


def _sweep(found: dict[str, Any]) -> Sweep:
    methods = {name: _method(name, table) for name, table in found["methods"].items()}
    disturbances = {name: Disturbance(**table) for name, table in found.get("disturbances", {}).items()}
    grids = []
    for number_, table in enumerate(found["grid"]):
        where = f"grid[{number_}]"
        for key, known in (("methods", methods), ("disturbances", disturbances)):
            for name in table.get(key, []):
                _require_known(f"{where}.{key}", name, known)
        for key, value in table.items():
            if len(set(value)) != len(value):
                raise WrongValueError(f"{where}.{key} names something twice")
        compressed = any(methods[name].compress is not None for name in table["methods"])
        if compressed and max(table["seeds"]) > LARGEST_SEED:
            raise WrongValueError(f"{where}.seeds must be at most {LARGEST_SEED:,} where a method compresses")
        grids.append(Grid(**{key: tuple(value) for key, value in table.items()}))
    for name, method in methods.items():
        if method.needs is not None:
            key = "widths_of" if method.compress is None else "compress"
            _require_known(f"methods.{name}.{key}", method.needs, methods)
            if methods[method.needs].compress is not None or methods[method.needs].widths_of is not None:
                raise WrongValueError(
                    f"methods.{name} builds on '{method.needs}', which itself builds on another; name one that does not"
                )
    there = dict.fromkeys(name for grid in grids for name in grid.environments)
    for name in found.get("environments", {}):
        if name not in there:
            near = get_close_matches(name, there, 1)
            meant = f"did you mean {near[0]}?" if near else "name it in a grid, or leave its settings out"
            raise WrongValueError(f"environments.{name} is in no grid; {meant}")
    sweep = Sweep(
        title=found["title"],
        grids=tuple(grids),
        methods=methods,
        environments={name: EnvironmentSettings(**table) for name, table in found.get("environments", {}).items()},
        disturbances=disturbances,
        **{key: found[key] for key in ("episodes", "first_seed") if key in found},
    )
    _require_size(sweep)
    return sweep


def _require_size(sweep: Sweep) -> None:
    """Raise WrongValueError if there are not enough seeds, or if the result file would be too large to be read."""
    if sweep.first_seed + sweep.episodes > FIRST_SEED:
        raise WrongValueError(
            f"first_seed and episodes go beyond seed {FIRST_SEED - 1:,}; larger seeds are reserved for compress"
        )
    cells = [
        prod(map(len, (grid.environments, grid.algorithms, grid.methods, grid.seeds, grid.steps)))
        for grid in sweep.grids
    ]
    if sum(cells) > _MAX_CELLS:
        raise WrongValueError(f"the grids have {sum(cells):,} cells, but at most {_MAX_CELLS:,} fit into a sweep")
    returns = sum(
        count * sweep.episodes * (1 + len(grid.disturbances)) for count, grid in zip(cells, sweep.grids, strict=True)
    )
    if returns > _MAX_RETURNS:
        raise WrongValueError(
            f"the cells have {returns:,} episodes in all, but at most {_MAX_RETURNS:,} fit into results.json; lower "
            "episodes"
        )


def _require_known(where: str, name: str, known: Mapping[str, object]) -> None:
    one_of(*known)(where, name) if known else _refuse_all(where, name)


def _refuse_all(where: str, name: str) -> None:
    raise WrongValueError(f"{where} names '{name}', which the file does not describe")


def _method(name: str, table: dict[str, Any]) -> Method:
    try:
        plan = _plan(table)
        check_widths(table.get("hidden", []))
    except PrunekitError as error:
        raise WrongValueError(f"methods.{name}: {error}") from error
    guard = table.get("guard", 0.9)
    plain = ("control", "widths_of", "compress", "keep", "minutes", "live_shrink", "learning_rate")
    return Method(
        name=name,
        plan=plan,
        hidden=tuple(table["hidden"]) if "hidden" in table else None,
        guard_share=(0.9 if guard else None) if isinstance(guard, bool) else guard,
        rate_schedule=table.get("lr_schedule"),
        **{key: table[key] for key in plain if key in table},
    )


def _plan(table: dict[str, Any]) -> PruningPlan | None:
    if "sparsity" not in table and "budget" not in table:
        return None
    given = dict(table.get("plan", {}))
    phases = Phases(**{key: given.pop(key) for key in ("start", "end", "full") if key in given})
    if "importance" in given:
        given["importance"] = IMPORTANCES[given["importance"]]
    if "penalty" in given:
        given["penalty"] = PENALTIES[given["penalty"]]
    threshold = Sparsity(table["sparsity"]) if "sparsity" in table else Budget(table["budget"])
    return PruningPlan(threshold=threshold, phases=phases, **given)
