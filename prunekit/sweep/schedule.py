"""Which job comes next: cells in the order of the file, after what they need of others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from prunekit.errors import PrunekitError
from prunekit.sweep.cells import Cell
from prunekit.sweep.folder import SweepFolder, read_json
from prunekit.sweep.mirror import Work
from prunekit.sweep.work import LOG, RUN, CellWork, RandomWork, TrunkWork, logged, model_of
from prunekit.training.branch import Trunk, trunk_of
from prunekit.training.checkpoint import checkpoints_in
from prunekit.training.config import NAME


@final
@dataclass(kw_only=True)
class Schedule:
    """What is left of a sweep. ``results`` and ``failures`` go by the names of cells, and grow."""

    folder: SweepFolder
    cells: Mapping[str, Cell]
    results: dict[str, dict[str, Any]]
    failures: dict[str, str]
    begun: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    _trunks: dict[str, Trunk | None] = field(default_factory=dict)
    _untouched: dict[str, int] = field(default_factory=dict)

    def next_jobs(self, count: int) -> Iterator[tuple[str, Work]]:
        """Yield (name, work) of what can be begun now and was not, in order, ``count`` at most."""
        if count < 1:
            return
        for name, work in self._possible():
            if name not in self.begun:
                self.begun.add(name)
                yield name, work
                count -= 1
                if count == 0:
                    return

    @property
    def left(self) -> list[Cell]:
        """Cells that are neither done nor failed, nor wait for one that failed."""
        return [cell for cell in self.cells.values() if self._open(cell)]

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return not self.left and not self._without_random()

    @property
    def blocked(self) -> dict[str, str]:
        """Cells that cannot be run, as the one that they need has failed: its name."""
        return {
            name: cell.needs
            for name, cell in self.cells.items()
            if cell.needs in self.failures and name not in self.results and name not in self.failures
        }

    def trunk_of(self, cell: Cell) -> Trunk | None:
        """Return the run that a cell shares its beginning with others."""
        if cell.request is None or cell.method.widths_of is not None:
            return None
        if cell.name not in self._trunks:
            with logged(self.folder.root / LOG):
                try:
                    self._trunks[cell.name] = trunk_of(cell.request, self._untouched)
                except PrunekitError:  # the cell says it, when it is run
                    self._trunks[cell.name] = None
        return self._trunks[cell.name]

    def _open(self, cell: Cell) -> bool:
        done = cell.name in self.results or cell.name in self.failures or cell.needs in self.failures
        return not done or self._wanted_again(cell)

    def _wanted_again(self, cell: Cell) -> bool:
        """Return whether a cell that is done elsewhere is needed here, for its model."""
        if cell.name not in self.results or model_of(self.folder.cell(cell.name)).exists():
            return False
        return any(
            other.needs == cell.name and other.method.compress is not None and other.name not in self.results
            for other in self.cells.values()
        )

    def _without_random(self) -> list[Cell]:
        """Return a cell of every environment that has results, but none of its random policy."""
        found = {self.folder.random(cell): cell for cell in self.cells.values() if cell.name in self.results}
        return [cell for path, cell in found.items() if not path.exists()]

    def _possible(self) -> Iterator[tuple[str, Work]]:
        waiting = self.left
        for cell in self._without_random():
            path, first = self.folder.random(cell), cell.first_seed
            yield (
                f"random policy in {cell.environment} {path.stem}",
                RandomWork(
                    environment=cell.environment,
                    kwargs=dict(cell.kwargs),
                    seeds=tuple(range(first, first + cell.episodes)),
                    file=path,
                ),
            )
        fresh = [cell for cell in waiting if not (self.folder.cell(cell.name) / RUN / NAME).exists()]
        shared = Counter(self.folder.trunk(trunk) for cell in fresh if (trunk := self.trunk_of(cell)) is not None)
        for cell in waiting:
            place = self.folder.cell(cell.name)
            trunk = self.trunk_of(cell)
            if trunk is None or (place / RUN / NAME).exists() or shared[self.folder.trunk(trunk)] < 2:
                work = self._cell_work(cell)
                if work is not None:
                    yield cell.name, work
                continue
            where = self.folder.trunk(trunk)
            name = f"start of {cell.environment} {cell.algorithm} {cell.steps} seed {cell.seed} {where.name}"
            if name in self.broken:
                yield cell.name, CellWork(cell=cell, folder=place)
                continue
            found = [path for path in checkpoints_in(where / RUN) if int(path.stem) >= trunk.steps]
            if found:
                yield cell.name, CellWork(cell=cell, folder=place, trunk=found[-1])
            else:
                yield name, TrunkWork(trunk=trunk, folder=where)

    def _cell_work(self, cell: Cell) -> CellWork | None:
        """Return the work of a cell; None while it has to wait for another."""
        place = self.folder.cell(cell.name)
        if cell.needs is None:
            return CellWork(cell=cell, folder=place)
        found = self.results.get(cell.needs)
        if found is None:
            return None
        if cell.method.widths_of is not None:
            return CellWork(cell=cell, folder=place, widths=tuple(found["hidden"]))
        teacher = model_of(self.folder.cell(cell.needs))
        return CellWork(cell=cell, folder=place, teacher=teacher) if teacher.exists() else None


def loaded(
    folder: SweepFolder, cells: Mapping[str, Cell], known: Mapping[str, dict[str, Any]], accept: Callable[[str], bool]
) -> Schedule:
    """Return the schedule of ``cells``, given what lies in ``folder`` and the results ``known`` from elsewhere.

    ``accept`` says whether a failure stands, by the cell's name; one that does not is forgotten.
    """
    results, failures = {}, {}
    for name, cell in cells.items():
        found = folder.result(cell) or known.get(name)
        if found is not None:
            results[name] = found
        elif (reason := folder.failure(cell)) is not None:
            if accept(name):
                failures[name] = reason
            else:
                folder.forget_failure(cell)
    return Schedule(folder=folder, cells=cells, results=results, failures=failures)


def random_returns_of(schedule: Schedule) -> dict[str, list[float]]:
    """Return what the random policy earns, by environment, as far as it is known."""
    found: dict[str, list[float]] = {}
    for cell in schedule.cells.values():
        content = read_json(schedule.folder.random(cell))
        if content is not None:
            found[cell.environment] = list(content["returns"])
    return found
