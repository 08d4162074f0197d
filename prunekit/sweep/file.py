"""``SWEEP.toml``: read strictly, every key and type checked before anything runs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunekit.adapters.sb3 import ALGORITHMS
from prunekit.disturbances import Disturbance
from prunekit.environments import refused_argument
from prunekit.errors import InputError, PrunekitError
from prunekit.files import require_file
from prunekit.pruning.importance import IMPORTANCES
from prunekit.pruning.penalties import PENALTIES
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Budget, Phases, Sparsity
from prunekit.sweep.spec import EnvironmentSettings, Grid, Method, Sweep
from prunekit.training.config import MAX_SEED, MAX_STEPS, MAX_WIDTH
from prunekit.training.presets import SCHEDULES
from prunekit.training.schema import (
    Check,
    WrongValueError,
    either,
    flag,
    list_of,
    number,
    one_of,
    record,
    text,
    whole,
)

_MAX_ENTRIES = 10_000
_SHARE = number(0.0, 1.0)
_KINDS = ("unpruned", "sparsity", "budget", "hidden", "widths_of", "compress")
"""What a method does: exactly one of these keys stands in its table."""


def read_sweep(path: Path) -> Sweep:
    """Return the sweep in ``path``; raises InputError, naming the file and the key, for anything else."""
    require_file(path)
    try:
        found = tomllib.loads(path.read_bytes().decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: is no TOML ({error})") from error
    try:
        _SWEEP("", found)
        return _sweep(found)
    except (WrongValueError, InputError) as error:
        raise InputError(f"{path}: {error}") from error


_PLAN: dict[str, Check] = {
    "importance": one_of(*IMPORTANCES),
    "penalty": one_of(*PENALTIES),
    "strength": number(0.0, 1e6),
    "start": _SHARE,
    "end": _SHARE,
    "full": _SHARE,
    "checks": whole(1, 10**6),
    "patience": whole(1, 10**6),
    "share_per_check": _SHARE,
    "min_units": whole(1, 2**20),
    "min_share": _SHARE,
    "states": whole(1, 10**6),
    "memory": _SHARE,
    "common_scale": flag,
    "compensate": flag,
}


def _yes(name: str, value: object) -> None:
    if value is not True:
        raise WrongValueError(f"{name} can only be true; leave it out otherwise")


def _argument(name: str, value: object) -> None:
    either(text, either(flag, number(-1e300, 1e300)))(name, value)
    refused = refused_argument(name.rpartition(".")[2], value)
    if refused is not None:
        raise WrongValueError(f"{name} is {value}, {refused}")


def _table_of(inner: Check) -> Check:
    def check(name: str, value: object) -> None:
        keys = list(value) if isinstance(value, dict) else []
        for key in keys:
            text(f"a name in {name}", key)
        record({}, dict.fromkeys(keys, inner))(name, value)

    return check


def _any(_: str, __: object) -> None:
    return None


_METHOD_KEYS: dict[str, Check] = {
    "unpruned": _yes,
    "sparsity": _SHARE,
    "budget": _SHARE,
    "hidden": list_of(whole(1, MAX_WIDTH), 64),
    "widths_of": text,
    "compress": text,
    "control": flag,
    "keep": _SHARE,
    "minutes": number(0.0, 1e6),
    "guard": either(flag, number(0.0, 1e6)),
    "live_shrink": flag,
    "lr_schedule": one_of(*SCHEDULES),
    "learning_rate": number(0.0, 1e6),
    "plan": record({}, _PLAN),
}


def _method_table(name: str, value: object) -> None:
    record({}, _METHOD_KEYS)(name, value)
    assert isinstance(value, dict)
    given = [key for key in _KINDS if key in value]
    if len(given) != 1:
        raise WrongValueError(
            f"{name} must have exactly one of {', '.join(_KINDS)}, and has {' and '.join(given) or 'none'}"
        )
    pruned, compressed = given[0] in ("sparsity", "budget"), given[0] == "compress"
    for key in ("plan", "guard", "live_shrink"):
        if key in value and not pruned:
            raise WrongValueError(f"{name}.{key} goes with sparsity or budget alone")
    for key in ("keep", "minutes"):
        if key in value and not compressed:
            raise WrongValueError(f"{name}.{key} goes with compress alone")
    for key in ("lr_schedule", "learning_rate"):
        if key in value and compressed:
            raise WrongValueError(f"{name}.{key} does not go with compress, which trains nothing")


_GRID = record(
    {
        "environments": list_of(text, _MAX_ENTRIES, 1),
        "algorithms": list_of(one_of(*ALGORITHMS), len(ALGORITHMS), 1),
        "methods": list_of(text, _MAX_ENTRIES, 1),
        "seeds": list_of(whole(0, MAX_SEED), _MAX_ENTRIES, 1),
    },
    {
        "steps": list_of(whole(1, MAX_STEPS), _MAX_ENTRIES, 1),
        "disturbances": list_of(text, _MAX_ENTRIES),
    },
)
_SWEEP = record(
    {"title": text, "grid": list_of(_GRID, _MAX_ENTRIES, 1), "methods": _table_of(_method_table)},
    {
        "episodes": whole(1, 10**6),
        "first_seed": whole(0, MAX_SEED),
        "environments": _table_of(
            record({}, {"kwargs": _table_of(_argument), "presets": record({}, dict.fromkeys(ALGORITHMS, _any))})
        ),
        "disturbances": _table_of(record({}, {"observation_noise": number(0.0, 1e6), "delay_steps": whole(0, 1000)})),
    },
)


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
        grids.append(Grid(**{key: tuple(value) for key, value in table.items()}))
    for name, method in methods.items():
        if method.needs is not None:
            key = "widths_of" if method.compress is None else "compress"
            _require_known(f"methods.{name}.{key}", method.needs, methods)
            if methods[method.needs].compress is not None or methods[method.needs].widths_of is not None:
                raise WrongValueError(f"methods.{name} builds on '{method.needs}', which builds on another itself")
    return Sweep(
        title=found["title"],
        grids=tuple(grids),
        methods=methods,
        environments={name: EnvironmentSettings(**table) for name, table in found.get("environments", {}).items()},
        disturbances=disturbances,
        **{key: found[key] for key in ("episodes", "first_seed") if key in found},
    )


def _require_known(where: str, name: str, known: Mapping[str, object]) -> None:
    one_of(*known)(where, name) if known else _refuse_all(where, name)


def _refuse_all(where: str, name: str) -> None:
    raise WrongValueError(f"{where} names '{name}', but the file describes none")


def _method(name: str, table: dict[str, Any]) -> Method:
    try:
        plan = _plan(table)
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
