"""Shared beginnings: each is trained once, and several cells continue from its checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from prunekit.errors import PrunekitError
from prunekit.sweep.cells import Cell
from prunekit.sweep.folder import SweepFolder
from prunekit.sweep.work import RUN
from prunekit.training.branch import Trunk, trunk_of
from prunekit.training.checkpoint import checkpoints_in
from prunekit.training.config import NAME


@final
@dataclass(frozen=True, kw_only=True)
class Beginning:
    """The shared beginning of several cells: the ``name`` of the job that trains it, and its ``folder``."""

    name: str
    trunk: Trunk
    folder: Path

    def checkpoint(self) -> Path | None:
        """The checkpoint from which cells continue; None if it does not exist yet."""
        return _checkpoint_in(self.folder, self.trunk)


def shared_beginnings(folder: SweepFolder, cells: Sequence[Cell]) -> dict[str, Beginning]:
    """Return the shared beginnings of ``cells``, which are all unfinished cells, by the name of the cell.

    A beginning is shared if at least two cells have not started, or if it already exists. Other cells are left out.
    """
    known: dict[str, int] = {}
    places: dict[str, tuple[Path, Trunk]] = {}
    for cell in cells:
        trunk = _trunk_of(folder, cell, known)
        if trunk is not None:
            places[cell.name] = (folder.trunk(trunk), trunk)
    users = Counter(place for place, _ in places.values())
    names: dict[Path, str] = {}
    found = {}
    for name, (place, trunk) in places.items():
        if users[place] > 1 or _checkpoint_in(place, trunk) is not None:
            job = names.setdefault(place, f"shared start of {name}")
            found[name] = Beginning(name=job, trunk=trunk, folder=place)
    return found


def _trunk_of(folder: SweepFolder, cell: Cell, known: dict[str, int]) -> Trunk | None:
    begun = (folder.cell(cell.name) / RUN / NAME).exists()
    if begun or cell.request is None or cell.method.widths_of is not None:
        return None
    try:
        return trunk_of(cell.request, known)
    except PrunekitError:  # the cell reports the error when it runs
        return None


def _checkpoint_in(place: Path, trunk: Trunk) -> Path | None:
    found = [path for path in checkpoints_in(place / RUN) if int(path.stem) >= trunk.steps]
    return found[-1] if found else None
