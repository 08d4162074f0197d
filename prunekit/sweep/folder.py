"""A sweep's output folder: where things lie in it, and which sweep it is of.

DIR/sweep.json           the title and what every cell that was ever begun here was asked
DIR/cells/NAME/          a cell: run/ (as of ``prunekit train``), policy.onnx, result.json, failure.json, log.txt
DIR/trunks/, DIR/random/ beginnings that cells share while they are needed, and what the random policy earns
DIR/results.json         all results that there are; DIR/results.md the tables of them
DIR/log.txt              what libraries print while cells are looked at
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from prunekit.errors import InputError
from prunekit.files import write_atomically
from prunekit.report.reading import at_least, by_name, read_json
from prunekit.report.sweep_results import FORMAT, NAME, VERSION
from prunekit.sweep.cells import Cell
from prunekit.sweep.spec import Sweep
from prunekit.training.branch import Trunk
from prunekit.training.differences import first_difference
from prunekit.training.schema import one_of, text

MARK, RESULTS, TABLE, LOG = "sweep.json", NAME, "results.md", "log.txt"
CELLS, TRUNKS, RANDOM = "cells", "trunks", "random"
_OWN = {MARK, RESULTS, TABLE, LOG, CELLS, TRUNKS, RANDOM, ".lock", "report.html"}
_MARK = at_least(
    {"format": one_of(FORMAT), "version": one_of(VERSION), "title": text, "cells": by_name(text, at_least({}))}
)


@final
@dataclass(frozen=True, kw_only=True)
class SweepFolder:
    """The paths in the output folder ``root``."""

    root: Path

    def cell(self, name: str) -> Path:
        """Return the folder of a cell."""
        return self.root / CELLS / name

    def trunk(self, trunk: Trunk) -> Path:
        """Return the folder of a trunk."""
        return self.root / TRUNKS / _digest([trunk.request.to_dict(), trunk.steps])

    def random(self, cell: Cell) -> Path:
        """Return the file with the random policy's returns in a cell's environment."""
        described = [cell.environment, dict(cell.kwargs), cell.first_seed, cell.episodes]
        return self.root / RANDOM / f"{_digest(described)}.json"


def require_own(folder: SweepFolder, sweep: Sweep, cells: Mapping[str, Cell]) -> dict[str, Any]:
    """Return the settings of every cell that was ever started in ``folder``, by name; writes nothing.

    A sweep may grow, but started cells and the cells that they build on must not change. Raises InputError, naming the
    folder and the cell, if the folder holds another sweep or something else.
    """
    root = folder.root
    if root.exists() and not root.is_dir():
        raise InputError(f"{root}: is not a folder; name another with `out`")
    if not (root / MARK).exists():
        others = sorted(entry.name for entry in root.iterdir() if not _is_own(entry)) if root.is_dir() else []
        if others:
            raise InputError(f"{root}: holds something other than a sweep ({others[0]}); name another with `out`")
        return {}
    try:
        found = read_json(root / MARK, _MARK)
    except InputError as error:
        told = str(error).removesuffix("; write it again")
        raise InputError(f"{told}; remove it, and the sweep continues with the cells that are there") from error
    if found["title"] != sweep.title:
        raise InputError(f"{root}: belongs to another sweep, '{found['title']}'; name another with `out`")
    known: dict[str, Any] = found["cells"]
    begun = {name for name in cells if folder.cell(name).exists()}
    begun |= {cell.needs for cell in cells.values() if cell.needs is not None and cell.name in begun}
    for name in cells:
        difference = first_difference("", known[name], cells[name].asked) if name in begun and name in known else ""
        if difference:
            raise InputError(f"{root}: cell {name} had other settings here ({difference}); name another with `out`")
    return known


def claim_(folder: SweepFolder, sweep: Sweep, cells: Mapping[str, Cell]) -> None:
    """Make ``folder``, which the caller has locked, the folder of ``sweep``; raises InputError as ``require_own``
    does.
    """
    known = require_own(folder, sweep, cells)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "title": sweep.title,
        "cells": known | {name: cell.asked for name, cell in cells.items()},
    }
    write_atomically(folder.root / MARK, (json.dumps(content) + "\n").encode())


def _is_own(entry: Path) -> bool:
    return entry.name in _OWN or entry.name.startswith(f".{MARK}.")  # what a killed write has left


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=list).encode()).hexdigest()[:16]
