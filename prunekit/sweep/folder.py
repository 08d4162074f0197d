"""A sweep's output folder: which sweep it is of, and what is known of every cell.

DIR/sweep.json           the title and what every cell that was ever begun here was asked
DIR/cells/NAME/          a cell: run/ (as of ``prunekit train``), policy.onnx, result.json, failure.json, log.txt
DIR/trunks/, DIR/random/ beginnings that cells share, and what the random policy earns
DIR/results.json         all results that there are
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from prunekit.errors import InputError
from prunekit.files import write_atomically
from prunekit.sweep.cells import Cell
from prunekit.sweep.spec import Sweep
from prunekit.sweep.work import FAILURE, RESULT
from prunekit.training.branch import Trunk

FORMAT, VERSION = "prunekit.sweep", 1
MARK, RESULTS, TABLE = "sweep.json", "results.json", "results.md"
_MAX_BYTES = 2**28


@final
@dataclass(frozen=True, kw_only=True)
class SweepFolder:
    """Where things lie in the output folder ``root``."""

    root: Path

    def cell(self, name: str) -> Path:
        """Return the folder of a cell."""
        return self.root / "cells" / name

    def trunk(self, trunk: Trunk) -> Path:
        """Return the folder of a trunk."""
        described = json.dumps([trunk.request.to_dict(), trunk.steps], sort_keys=True, default=list)
        return self.root / "trunks" / hashlib.sha256(described.encode()).hexdigest()[:16]

    def random(self, cell: Cell) -> Path:
        """Return the file of what the random policy earns in a cell's environment."""
        described = json.dumps([cell.environment, dict(cell.kwargs), cell.first_seed, cell.episodes], sort_keys=True)
        return self.root / "random" / f"{hashlib.sha256(described.encode()).hexdigest()[:16]}.json"

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """Return the result of a cell that is done."""
        found = read_json(self.cell(cell.name) / RESULT)
        return found if found is not None and same(found.get("asked"), cell.asked) else None

    def failure(self, cell: Cell) -> str | None:
        """Return why a cell failed, where it did."""
        found = read_json(self.cell(cell.name) / FAILURE)
        return None if found is None else str(found.get("reason"))

    def forget_failure(self, cell: Cell) -> None:
        """Let a cell that failed be run again."""
        (self.cell(cell.name) / FAILURE).unlink(missing_ok=True)

    def write_failure(self, cell: Cell, reason: str) -> None:
        """Keep why a cell failed."""
        write_atomically(self.cell(cell.name) / FAILURE, (json.dumps({"reason": reason}) + "\n").encode())


def require_own(folder: SweepFolder, sweep: Sweep, cells: Mapping[str, Cell]) -> None:
    """Make ``folder`` one of ``sweep``, or see that it is: a sweep may grow, but no cell that was begun may change.

    Raises InputError, naming the folder and the cell, where it holds another sweep or something else.
    """
    path = folder.root / MARK
    if folder.root.exists() and not folder.root.is_dir():
        raise InputError(f"{folder.root}: is no folder; name another with --out")
    found = read_json(path)
    if found is None and folder.root.is_dir() and any(entry.name != ".lock" for entry in folder.root.iterdir()):
        raise InputError(f"{folder.root}: holds something else than a sweep (no {MARK}); name another with --out")
    known = dict((found or {}).get("cells", {}))
    if found is not None and found.get("title") != sweep.title:
        raise InputError(f"{folder.root}: is of another sweep, '{found.get('title')}'; name another with --out")
    for name, cell in cells.items():
        begun = name in known and folder.cell(name).exists()
        if begun and not same(known[name], cell.asked):
            difference = first_difference(known[name], cell.asked)
            raise InputError(
                f"{folder.root}: cell {name} was asked something else here ({difference}); name another with --out"
            )
    content = {
        "format": FORMAT,
        "version": VERSION,
        "title": sweep.title,
        "cells": known | {name: cell.asked for name, cell in cells.items()},
    }
    write_atomically(path, (json.dumps(content) + "\n").encode())


def results_in(path: Path) -> dict[str, Any]:
    """Return a ``results.json``; raises InputError, naming it, for anything else."""
    found = read_json(path)
    if found is None or found.get("format") != FORMAT or not isinstance(found.get("cells"), list):
        raise InputError(f"{path}: holds no results of a sweep; name a results.json that prunekit sweep wrote")
    return found


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in ``path``; None where there is no file, or none that is whole."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def same(one: object, other: object) -> bool:
    """Return whether two values are the same JSON."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def first_difference(before: Any, now: Any, name: str = "") -> str:
    """Return the first thing in which two values differ, by dotted name."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted({*before, *now}):
            if not same(before.get(key), now.get(key)):
                return first_difference(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))
    return f"{name} was {_short(before)} and is {_short(now)} now"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def methods_json(sweep: Sweep, names: Sequence[str]) -> dict[str, Any]:
    """Return what a result file says of the methods called ``names``."""
    return {name: {"of": sweep.methods[name].needs} for name in names}
