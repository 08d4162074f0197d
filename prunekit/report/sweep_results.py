"""``results.json`` of a sweep: cells of environment, method and seed, possibly incomplete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from prunekit.report.reading import at_least, by_name, read_json, real, sentence
from prunekit.training.schema import WrongValueError, flag, list_of, one_of, or_none, text, whole

NAME = "results.json"
FORMAT, VERSION = "prunekit.sweep", 1
MANY, _HUGE = 100_000, 10**15
"""Most entries of a list in a result file: episodes of a cell, cells of a sweep."""
_COUNT = whole(0, _HUGE)
_REALS = list_of(real, MANY)
_NAMES = list_of(text, MANY)
_CURVE = at_least(
    {
        "steps": list_of(_COUNT, MANY),
        "return": list_of(or_none(real), MANY),
        "living": by_name(text, list_of(_COUNT, MANY)),
    },
    {"seconds": _REALS},
)
_CELL = at_least(
    {
        "name": text,
        "environment": text,
        "algorithm": text,
        "steps": _COUNT,
        "method": text,
        "seed": _COUNT,
        "hidden": list_of(_COUNT, 64),
        "parameters": _COUNT,
        "seconds": real,
        "returns": list_of(real, MANY, minimum=1),
    },
    {
        "disturbed": or_none(by_name(text, _REALS)),
        "curve": or_none(_CURVE),
        "date": text,
        "original_hidden": list_of(_COUNT, 64),
        "certified": flag,
        "certificate": or_none(sentence),
    },
)
_RESULTS = at_least(
    {
        "format": one_of(FORMAT),
        "version": one_of(VERSION),
        "title": text,
        "episodes": _COUNT,
        "first_seed": _COUNT,
        "random": by_name(text, list_of(real, MANY, minimum=1)),
        "methods": by_name(text, at_least({}, {"control": flag, "of": or_none(text)})),
        "cells": list_of(_CELL, MANY),
    },
    {
        "disturbances": by_name(text, at_least({})),
        "failed": list_of(at_least({"name": text, "reason": or_none(sentence)}), MANY),
        "missing": _NAMES,
    },
)


@final
@dataclass(frozen=True, kw_only=True)
class Curve:
    """A cell over its environment ``steps``: returns (None if no episode ended) and living units per group, [n]
    each.
    """

    steps: tuple[int, ...]
    returns: tuple[float | None, ...]
    living: dict[str, tuple[int, ...]]


@final
@dataclass(frozen=True, kw_only=True)
class SweepCell:
    """A training run of the sweep, and its policy's returns per episode; ``disturbed`` by name of the disturbance."""

    name: str
    environment: str
    algorithm: str
    steps: int
    method: str
    seed: int
    hidden: tuple[int, ...]
    parameters: int
    seconds: float
    returns: tuple[float, ...]
    disturbed: dict[str, tuple[float, ...]]
    curve: Curve | None


@final
@dataclass(frozen=True, kw_only=True)
class SweepResults:
    """A sweep: ``random`` returns by environment, which methods are controls, and its cells so far.

    ``failed`` are (name, reason).
    """

    title: str
    episodes: int
    first_seed: int
    random: dict[str, tuple[float, ...]]
    disturbances: tuple[str, ...]
    controls: dict[str, bool]
    cells: tuple[SweepCell, ...]
    failed: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    dates: tuple[str, ...]
    versions: dict[str, str]

    @property
    def methods(self) -> list[str]:
        """The methods that have cells, in the order of the sweep."""
        there = dict.fromkeys(cell.method for cell in self.cells)
        return [name for name in {**self.controls, **dict.fromkeys(there, False)} if name in there]


def read_sweep(folder: Path) -> SweepResults:
    """Return the results in ``folder``; raises ArtifactError, naming the file and the value, if they are not valid."""
    return from_json(plain_results(folder / NAME))


def plain_results(path: Path) -> dict[str, Any]:
    """Return the content of the ``results.json`` at ``path``; raises ArtifactError, as ``read_sweep`` does, if it is
    not valid.
    """
    return read_json(path, _RESULTS)


def is_cell(found: object) -> bool:
    """Return whether ``found`` is a valid entry of ``cells`` in a ``results.json``."""
    try:
        _CELL("", found)
    except WrongValueError:
        return False
    return True


def from_json(found: Mapping[str, Any]) -> SweepResults:
    """Return validated results from the data of a ``results.json``."""
    cells = [_cell(entry) for entry in found["cells"]]
    told = [entry["versions"] for entry in found["cells"] if isinstance(entry.get("versions"), dict)]
    return SweepResults(
        title=found["title"],
        episodes=found["episodes"],
        first_seed=found["first_seed"],
        random={name: tuple(map(float, values)) for name, values in found["random"].items()},
        disturbances=tuple(found.get("disturbances", {})),
        controls={name: entry.get("control", False) for name, entry in found["methods"].items()},
        cells=tuple(cells),
        failed=tuple((entry["name"], entry["reason"] or "no reason was given") for entry in found.get("failed", [])),
        missing=tuple(found.get("missing", [])),
        dates=tuple(sorted({entry["date"] for entry in found["cells"] if "date" in entry})),
        versions={str(name): str(value) for name, value in (told[0] if told else {}).items()},
    )


def _cell(entry: dict[str, Any]) -> SweepCell:
    curve = entry.get("curve")
    return SweepCell(
        name=entry["name"],
        environment=entry["environment"],
        algorithm=entry["algorithm"],
        steps=entry["steps"],
        method=entry["method"],
        seed=entry["seed"],
        hidden=tuple(entry["hidden"]),
        parameters=entry["parameters"],
        seconds=float(entry["seconds"]),
        returns=tuple(map(float, entry["returns"])),
        disturbed={name: tuple(map(float, values)) for name, values in (entry.get("disturbed") or {}).items()},
        curve=None if curve is None else _curve(curve),
    )


def _curve(entry: dict[str, Any]) -> Curve:
    """Return a curve; lists longer than that of its steps are cut."""
    count = min(map(len, (entry["steps"], entry["return"], *entry["living"].values())))
    return Curve(
        steps=tuple(entry["steps"][:count]),
        returns=tuple(entry["return"][:count]),
        living={name: tuple(values[:count]) for name, values in entry["living"].items()},
    )


def places_of(cells: Sequence[SweepCell]) -> dict[tuple[str, str, int], list[SweepCell]]:
    """Return ``cells`` by (environment, algorithm, steps), sorted."""
    found: dict[tuple[str, str, int], list[SweepCell]] = {}
    for cell in cells:
        found.setdefault((cell.environment, cell.algorithm, cell.steps), []).append(cell)
    return dict(sorted(found.items()))
