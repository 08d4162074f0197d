"""A sweep from its file to its tables: an executor runs cells until nothing is left that can run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, assert_never, final

from prunekit.environments import require_registered
from prunekit.executors import Cancelled, Event, Executor, Failed, Finished, Job, Lost, Progress, Started
from prunekit.files import held
from prunekit.sweep.beginnings import shared_beginnings
from prunekit.sweep.cells import Cell, cells_of
from prunekit.sweep.collect import collected, write_results
from prunekit.sweep.folder import LOG, MARK, RESULTS, TABLE, TRUNKS, SweepFolder, claim_, require_own
from prunekit.sweep.mirror import FUNCTIONS, Mirror, MirroredWork, Work, is_address, place_of, run_mirrored
from prunekit.sweep.records import known_results, write_failure
from prunekit.sweep.schedule import loaded
from prunekit.sweep.spec import Sweep
from prunekit.sweep.work import FAILURE, RESULT, CellWork, RandomWork, TrunkWork, logged

_PATIENCE = 0.5
"""Seconds between two looks at the workers."""


class SweepDisplay(Protocol):
    """Shows the progress of a sweep."""

    def counted(self, done: int, failed: int, of: int) -> None:
        """Show the number of finished cells."""

    def running(self, name: str, state: dict[str, Any] | None) -> None:
        """Show the state of a job; None means that it has ended."""

    def said(self, text: str) -> None:
        """Show a permanent line."""


@final
@dataclass(frozen=True, kw_only=True)
class SweepOutcome:
    """The outcome of a sweep: results, failed jobs with reasons, and cells that wait for a failed one."""

    results: dict[str, Any]
    failures: dict[str, str]
    blocked: dict[str, str]


def run_sweep(
    sweep: Sweep,
    out: str | Path,
    executor_of: Callable[[], Executor],
    displays: Sequence[SweepDisplay] = (),
    *,
    retry: bool = False,
    known: Sequence[Path] = (),
    here: bool = False,
) -> SweepOutcome:
    """Run the unfinished cells of ``sweep`` in the folder ``out``, and write ``results.json`` and the tables there.

    ``out`` may be an fsspec address that the executor's workers can reach; no other command may use it at the same
    time. An interrupted run continues from its last checkpoint. Failed cells are run again only with ``retry``. The
    files ``known`` are ``results.json`` of other folders: cells with the same settings there are not run again.
    ``here`` says that cells run on this machine, so that their environments must be registered on it.

    Raises InputError, before anything runs, if ``out`` holds another sweep, if the settings of cells exclude each
    other, and if environments of cells to run are not registered ``here``.
    """
    cells = cells_of(sweep)
    elsewhere = known_results(known, cells)
    if here and not is_address(str(out)):
        _require_environments(SweepFolder(root=Path(out)), cells, elsewhere, retry)
    if not is_address(str(out)):
        return _Run(sweep, cells, SweepFolder(root=Path(out)), None, displays).to_end(executor_of, elsewhere, retry)
    with tempfile.TemporaryDirectory(prefix="prunekit-sweep-") as local:
        mirror = Mirror(address=str(out).rstrip("/"), root=Path(local))
        mirror.fetch(mirror.root)
        return _Run(sweep, cells, SweepFolder(root=mirror.root), mirror, displays).to_end(executor_of, elsewhere, retry)


def _require_environments(
    folder: SweepFolder, cells: Mapping[str, Cell], known: Mapping[str, Any], retry: bool
) -> None:
    over = (RESULT,) if retry else (RESULT, FAILURE)
    left = [
        cell
        for name, cell in cells.items()
        if name not in known and not any((folder.cell(name) / file).exists() for file in over)
    ]
    for environment in dict.fromkeys(cell.environment for cell in left):
        require_registered(environment)


@final
class _Run:
    """A running sweep: it passes jobs from the schedule to the executor, and results back."""

    def __init__(
        self,
        sweep: Sweep,
        cells: Mapping[str, Cell],
        folder: SweepFolder,
        mirror: Mirror | None,
        displays: Sequence[SweepDisplay],
    ) -> None:
        self._sweep, self._cells, self._folder = sweep, cells, folder
        self._mirror, self._displays = mirror, displays
        self._works: dict[str, Work] = {}

    def to_end(
        self, executor_of: Callable[[], Executor], known: Mapping[str, dict[str, Any]], retry: bool
    ) -> SweepOutcome:
        folder = self._folder
        require_own(folder, self._sweep, self._cells)
        with held(folder.root):
            claim_(folder, self._sweep, self._cells)
            self._put(folder.root / MARK)
            if retry:
                for name in self._cells:
                    self._remove(folder.cell(name) / FAILURE)
            self._schedule = loaded(folder, self._cells, known)
            if not self._schedule.over:
                with logged(folder.root / LOG):
                    self._schedule.beginnings = shared_beginnings(folder, self._schedule.left)
                self._count()
                with executor_of() as executor:
                    self._work_off(executor)
                self._remove(folder.root / TRUNKS)
            results = self._kept()
        failures = self._schedule.failures | self._schedule.broken
        return SweepOutcome(results=results, failures=failures, blocked=self._schedule.blocked)

    def _work_off(self, executor: Executor) -> None:
        while True:
            for name, work in self._schedule.next_jobs(executor.slots - len(self._works)):
                self._works[name] = work
                executor.submit(self._job(name, work))
            if not self._works:
                return
            for event in executor.events(_PATIENCE):
                self._take(event)

    def _job(self, name: str, work: Work) -> Job:
        if self._mirror is None:
            return Job(name=name, function=FUNCTIONS[type(work)], argument=work)
        there = MirroredWork(work=work, root=self._mirror.root, address=self._mirror.address)
        return Job(name=name, function=run_mirrored, argument=there)

    def _take(self, event: Event) -> None:
        state: dict[str, Any] | None = None
        match event:
            case Started():
                state = {"phase": "begun", "worker": event.worker}
            case Progress():
                state = event.event
            case Lost():
                self._say(f"{event.name}: its worker died; it continues from its last checkpoint")
            case Finished():
                self._finish(event, self._ended(event.name))
            case Failed():
                self._fail(event, self._ended(event.name))
            case Cancelled():
                self._works.pop(event.name)
            case _:
                assert_never(event)
        for display in self._displays:
            display.running(event.name, state)

    def _ended(self, name: str) -> Work:
        work = self._works.pop(name)
        if self._mirror is not None:
            self._mirror.fetch(place_of(work))
        return work

    def _finish(self, event: Finished, work: Work) -> None:
        match work:
            case CellWork():
                result = event.result
                self._drop(self._schedule.done(event.name, result))
                self._count()
                mean = sum(result["returns"]) / len(result["returns"])
                size = f"{result['parameters']:,} parameters"
                self._say(f"{event.name}: return {mean:,.1f}, {size}, {result['seconds']:,.0f} s")
                self._kept()
            case TrunkWork():
                self._schedule.begun_together(event.name)
            case RandomWork():
                self._schedule.random[work.environment] = event.result
            case _:
                assert_never(work)

    def _fail(self, event: Failed, work: Work) -> None:
        match work:
            case CellWork():
                path = work.folder / FAILURE
                write_failure(path, event.error, event.traceback)
                self._put(path)
                self._drop(self._schedule.failed(event.name, event.error))
                self._count()
                self._say(f"{event.name}: failed: {event.error}")
                self._kept()
            case TrunkWork():
                self._schedule.unshare(event.name)
                self._say(f"{event.name}: failed: {event.error}; its cells start without it")
            case RandomWork():
                self._schedule.broken[event.name] = event.error
                self._say(f"{event.name}: failed: {event.error}")
            case _:
                assert_never(work)

    def _kept(self) -> dict[str, Any]:
        """Write all current results and return them."""
        results = collected(self._sweep, self._schedule)
        write_results(results, self._folder.root)
        for name in (TABLE, RESULTS):
            self._put(self._folder.root / name)
        return results

    def _put(self, path: Path) -> None:
        if self._mirror is not None:
            self._mirror.put(path)

    def _remove(self, path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if self._mirror is not None:
            self._mirror.remove(path)

    def _drop(self, beginning: Path | None) -> None:
        if beginning is not None:
            self._remove(beginning)

    def _count(self) -> None:
        for display in self._displays:
            display.counted(len(self._schedule.results), len(self._schedule.failures), len(self._cells))

    def _say(self, text: str) -> None:
        for display in self._displays:
            display.said(text)
