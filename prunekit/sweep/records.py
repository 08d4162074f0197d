"""Results of cells in files, which count only if they are valid and were made with the same settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunekit.errors import InputError
from prunekit.files import require_file, write_atomically
from prunekit.report.reading import at_least, read_json, real, sentence
from prunekit.report.sweep_results import is_cell, plain_results
from prunekit.sweep.cells import Cell
from prunekit.training.config import MAX_LAYERS, MAX_WIDTH
from prunekit.training.differences import first_difference
from prunekit.training.schema import Check, WrongValueError, list_of, whole

_KEYS = (
    "name", "environment", "algorithm", "steps", "method", "seed", "hidden", "original_hidden", "parameters", "seconds",
    "curve", "certified", "certificate", "returns", "disturbed", "asked", "date", "versions",
)  # fmt: skip
_CURVE_KEYS = ("steps", "return", "living", "seconds")
_WIDTHS = list_of(whole(1, MAX_WIDTH), MAX_LAYERS)


def result_in(path: Path, cell: Cell) -> dict[str, Any] | None:
    """Return the result of ``cell`` in the file ``path``; None if there is no valid one."""
    return sound_result(_plain(path, at_least({})), cell)


def known_results(paths: Sequence[Path], cells: Mapping[str, Cell]) -> dict[str, dict[str, Any]]:
    """Return the results of ``cells`` in the files ``paths``, by name; later files override earlier ones.

    The result of a cell that builds on another counts only if the file has a valid result of the other. Raises
    InputError, naming the file and the value, for a file that a sweep would not write.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        require_file(path)
        entries = {entry["name"]: entry for entry in plain_results(path)["cells"]}
        sound = {name: sound_result(entries[name], cells[name]) for name in cells if name in entries}
        for name, result in sound.items():
            needs, widths_of = cells[name].needs, cells[name].method.widths_of
            other = None if needs is None else sound.get(needs)
            lost = needs is not None and other is None
            if other is not None and widths_of is not None and result is not None:
                lost = other["hidden"] != result["hidden"]
            if result is not None and not lost:
                found[name] = result
    return found


def sound_result(found: object, cell: Cell) -> dict[str, Any] | None:
    """Return the result of ``cell`` in ``found``; None if it belongs to another cell or is damaged."""
    if not isinstance(found, dict) or not is_cell(found):
        return None
    if any(found[key] != value for key, value in cell.identity.items()):
        return None
    disturbed = found.get("disturbed") or {}
    played = {len(found["returns"]), *map(len, disturbed.values())} == {cell.episodes}
    if not played or disturbed.keys() != cell.disturbances.keys() or not _takes(_WIDTHS, found["hidden"]):
        return None
    if first_difference("", found.get("asked"), cell.asked):
        return None
    curve, versions = found.get("curve"), found.get("versions")
    told = versions.items() if isinstance(versions, dict) else ()
    return {
        **{key: found[key] for key in _KEYS if key in found},
        "disturbed": disturbed,
        "curve": None if curve is None else {key: curve[key] for key in _CURVE_KEYS if key in curve},
        "versions": {str(key): str(value)[:200] for key, value in told},
    }


def random_returns_in(path: Path, episodes: int) -> list[float] | None:
    """Return the random policy's returns in the file ``path``; None if there are no valid ones."""
    found = _plain(path, at_least({"returns": list_of(real, episodes, episodes)}))
    return None if found is None else list(found["returns"])


def failure_in(path: Path) -> str | None:
    """Return the reason of a cell's failure in the file ``path``; None if there is none."""
    if not path.exists():
        return None
    found = _plain(path, at_least({"reason": sentence}))
    return f"it failed, but {path.name} cannot be read" if found is None else str(found["reason"])


def write_failure(path: Path, reason: str, traceback: str) -> None:
    """Write the reason of a cell's failure."""
    write_atomically(path, (json.dumps({"reason": reason, "traceback": traceback}) + "\n").encode())


def _plain(path: Path, check: Check) -> dict[str, Any] | None:
    try:
        return read_json(path, check)
    except InputError:
        return None


def _takes(check: Check, value: object) -> bool:
    try:
        check("", value)
    except WrongValueError:
        return False
    return True
