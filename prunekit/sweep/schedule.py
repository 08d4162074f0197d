"""The order of jobs: cells in the order of the file, each after those that it depends on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from prunekit.sweep.beginnings import Beginning
from prunekit.sweep.cells import Cell
from prunekit.sweep.folder import SweepFolder
from prunekit.sweep.mirror import Work
from prunekit.sweep.records import failure_in, random_returns_in, result_in
from prunekit.sweep.work import FAILURE, RESULT, CellWork, RandomWork, TrunkWork, model_of


@final
@dataclass(kw_only=True)
class Schedule:
    """The unfinished part of a sweep.

    ``results`` and ``failures`` are by name of the cell, ``random`` (the random policy's returns) by environment, and
    ``beginnings`` (shared ones) by name of the cell. ``again`` are cells whose results are known from elsewhere but
    whose models are needed here. ``broken`` are failed jobs that belong to no cell, with reasons.
    """

    folder: SweepFolder
    cells: Mapping[str, Cell]
    results: dict[str, dict[str, Any]]
    failures: dict[str, str]
    random: dict[str, list[float]]
    again: set[str]
    beginnings: Mapping[str, Beginning] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    _begun: set[str] = field(default_factory=set)
    _checkpoints: dict[str, Path | None] = field(default_factory=dict)

    def next_jobs(self, count: int) -> list[tuple[str, Work]]:
        """Return (name, work) of up to ``count`` jobs that can start now and have not been started, in order."""
        found: list[tuple[str, Work]] = []
        for name, work in self._possible() if count > 0 else ():
            if name not in self._begun:
                self._begun.add(name)
                found.append((name, work))
                if len(found) == count:
                    break
        return found

    @property
    def left(self) -> list[Cell]:
        """Cells that are neither done nor failed, and do not wait for a failed one."""
        return [cell for cell in self.cells.values() if self._is_open(cell)]

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return not self.left and not self._without_random()

    @property
    def blocked(self) -> dict[str, str]:
        """Cells that cannot run because the cell that they need has failed, with that cell's name."""
        return {
            name: cell.needs
            for name, cell in self.cells.items()
            if cell.needs in self.failures and name not in self.results and name not in self.failures
        }

    def done(self, name: str, result: dict[str, Any]) -> Path | None:
        """Record the result of a cell; return the folder of a beginning that is no longer needed."""
        self.results[name] = result
        self.again.discard(name)
        return self._unneeded(name)

    def failed(self, name: str, reason: str) -> Path | None:
        """Record the failure of a cell; return the folder of a beginning that is no longer needed."""
        self.failures[name] = reason
        return self._unneeded(name)

    def begun_together(self, name: str) -> None:
        """Record that the job of a beginning has ended and its checkpoint exists."""
        self._checkpoints.pop(name, None)

    def unshare(self, name: str) -> None:
        """Record that the job of a beginning has failed, so its cells start alone."""
        self.beginnings = {cell: entry for cell, entry in self.beginnings.items() if entry.name != name}

    def _unneeded(self, name: str) -> Path | None:
        own = self.beginnings.get(name)
        if own is None or any(
            beginning.name == own.name and self._is_open(self.cells[other])
            for other, beginning in self.beginnings.items()
        ):
            return None
        return own.folder

    def _is_open(self, cell: Cell) -> bool:
        if cell.name in self.failures or cell.needs in self.failures:
            return False
        return cell.name not in self.results or cell.name in self.again

    def _without_random(self) -> dict[str, Cell]:
        """Return one cell of every environment that has results, but no returns of the random policy."""
        found = {}
        for name in self.results:
            cell = self.cells[name]
            if cell.environment not in self.random:
                found[cell.environment] = cell
        return found

    def _possible(self) -> Iterator[tuple[str, Work]]:
        for environment, cell in self._without_random().items():
            name = f"random policy in {environment}"
            seeds = tuple(range(cell.first_seed, cell.first_seed + cell.episodes))
            path = self.folder.random(cell)
            yield name, RandomWork(environment=environment, kwargs=dict(cell.kwargs), seeds=seeds, file=path)
        for cell in self.cells.values():
            if cell.name not in self._begun and self._is_open(cell):
                found = self._next_of(cell)
                if found is not None:
                    yield found

    def _next_of(self, cell: Cell) -> tuple[str, Work] | None:
        """Return the next job of a cell, which may be its beginning; None while it waits for another cell."""
        place, beginning = self.folder.cell(cell.name), self.beginnings.get(cell.name)
        if beginning is not None:
            checkpoint = self._checkpoint_of(beginning)
            if checkpoint is None:
                return beginning.name, TrunkWork(trunk=beginning.trunk, folder=beginning.folder)
            return cell.name, CellWork(cell=cell, folder=place, trunk=checkpoint)
        if cell.needs is None:
            return cell.name, CellWork(cell=cell, folder=place)
        found = self.results.get(cell.needs)
        if found is None:
            return None
        if cell.method.widths_of is not None:
            return cell.name, CellWork(cell=cell, folder=place, widths=tuple(found["hidden"]))
        if cell.needs in self.again:
            return None
        return cell.name, CellWork(cell=cell, folder=place, teacher=model_of(self.folder.cell(cell.needs)))

    def _checkpoint_of(self, beginning: Beginning) -> Path | None:
        if beginning.name not in self._checkpoints:
            self._checkpoints[beginning.name] = beginning.checkpoint()
        return self._checkpoints[beginning.name]


def loaded(folder: SweepFolder, cells: Mapping[str, Cell], known: Mapping[str, dict[str, Any]]) -> Schedule:
    """Return the schedule of ``cells`` from the files in ``folder`` and the results ``known`` from elsewhere."""
    results, failures, random = {}, {}, {}
    for name, cell in cells.items():
        place = folder.cell(name)
        found = result_in(place / RESULT, cell) or known.get(name)
        if found is not None:
            results[name] = found
        elif (reason := failure_in(place / FAILURE)) is not None:
            failures[name] = reason
    for environment, cell in {cell.environment: cell for cell in cells.values()}.items():
        returns = random_returns_in(folder.random(cell), cell.episodes)
        if returns is not None:
            random[environment] = returns
    again = {
        cell.needs
        for cell in cells.values()
        if cell.needs in results
        and cell.method.compress is not None
        and cell.name not in results
        and not model_of(folder.cell(cell.needs)).exists()
    }
    return Schedule(folder=folder, cells=cells, results=results, failures=failures, random=random, again=again)
