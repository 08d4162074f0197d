"""A sweep from its file to its table: cells run by an executor, until nothing is left that can be run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, assert_never, final

from prunekit.executors import Cancelled, Event, Executor, Failed, Finished, Job, Lost, Progress, Started
from prunekit.files import held
from prunekit.sweep.cells import cells_of
from prunekit.sweep.collect import collected, write_results
from prunekit.sweep.folder import MARK, RESULTS, TABLE, SweepFolder, require_own, results_in, same
from prunekit.sweep.mirror import FUNCTIONS, Mirror, MirroredWork, Work, is_address, place_of, run_mirrored
from prunekit.sweep.schedule import Schedule, loaded
from prunekit.sweep.spec import Sweep
from prunekit.sweep.work import CellWork, clear_trunk

_PATIENCE = 0.5
"""Seconds between two looks at the workers."""


class SweepDisplay(Protocol):
    """Shows a sweep to somebody."""

    def counted(self, done: int, failed: int, of: int) -> None:
        """Show how many cells are done."""

    def running(self, name: str, state: dict[str, Any] | None) -> None:
        """Show what a job is doing; None: it is over."""

    def said(self, text: str) -> None:
        """Show one line that stays."""


@final
@dataclass(frozen=True, kw_only=True)
class SweepOutcome:
    """What a sweep came to: its results, cells that failed and why, and cells that wait for one that failed."""

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
) -> SweepOutcome:
    """Run what is left of ``sweep`` in the folder ``out`` and write ``results.json`` and the table there.

    ``out`` may be an address of fsspec that the executor's workers reach, where no other command may be at work.
    A run that was interrupted goes on from its last checkpoint. Cells that failed stay so unless ``retry``. The files
    ``known`` are ``results.json`` of elsewhere: a cell that was asked the same there is not run again.

    Raises InputError, before anything runs, where ``out`` holds another sweep or cells do not fit together.
    """
    if not is_address(str(out)):
        return _swept(sweep, Path(out), None, executor_of, displays, retry, known)
    with tempfile.TemporaryDirectory(prefix="prunekit-sweep-") as local:
        mirror = Mirror(address=str(out).rstrip("/"), root=Path(local))
        mirror.fetch(mirror.root)
        return _swept(sweep, mirror.root, mirror, executor_of, displays, retry, known)


def _swept(
    sweep: Sweep,
    root: Path,
    mirror: Mirror | None,
    executor_of: Callable[[], Executor],
    displays: Sequence[SweepDisplay],
    retry: bool,
    known: Sequence[Path],
) -> SweepOutcome:
    cells = cells_of(sweep)
    folder = SweepFolder(root=root)
    elsewhere = {entry["name"]: entry for path in known for entry in results_in(path)["cells"]}
    fitting = {
        name: entry for name, entry in elsewhere.items() if name in cells and same(entry["asked"], cells[name].asked)
    }
    require_own(folder, sweep, cells)
    if mirror is not None:
        mirror.put(root / MARK)
    with held(root):
        schedule = loaded(folder, cells, fitting, lambda _: not retry)
        _count(schedule, displays)
        if not schedule.over:
            with executor_of() as executor:
                _run(schedule, executor, sweep, displays, mirror)
        results = _kept(sweep, schedule, mirror)
    return SweepOutcome(results=results, failures=schedule.failures, blocked=schedule.blocked)


def _kept(sweep: Sweep, schedule: Schedule, mirror: Mirror | None) -> dict[str, Any]:
    """Write what is known now, and return it."""
    results = collected(sweep, schedule)
    root = schedule.folder.root
    write_results(results, root)
    if mirror is not None:
        for name in (TABLE, RESULTS):
            mirror.put(root / name)
    return results


def _run(
    schedule: Schedule,
    executor: Executor,
    sweep: Sweep,
    displays: Sequence[SweepDisplay],
    mirror: Mirror | None,
) -> None:
    works: dict[str, Work] = {}
    while True:
        for name, work in schedule.next_jobs(executor.slots - len(works)):
            works[name] = work
            if mirror is None:
                executor.submit(Job(name=name, function=FUNCTIONS[type(work)], argument=work))
            else:
                there = MirroredWork(work=work, root=mirror.root, address=mirror.address)
                executor.submit(Job(name=name, function=run_mirrored, argument=there))
        if not works:
            return
        for event in executor.events(_PATIENCE):
            if mirror is not None and isinstance(event, Finished | Failed):
                mirror.fetch(place_of(works[event.name]))
            if _take(event, schedule, works, displays):
                _kept(sweep, schedule, mirror)
                _count(schedule, displays)


def _take(event: Event, schedule: Schedule, works: dict[str, Work], displays: Sequence[SweepDisplay]) -> bool:
    """Take an event in; return whether a cell is done."""
    state: dict[str, Any] | None = None
    ended = False
    match event:
        case Started():
            state = {"phase": "begun", "worker": event.worker}
        case Progress():
            state = event.event
        case Lost():
            _say(displays, f"{event.name}: its worker has died; it goes on from its last checkpoint")
        case Finished():
            ended = _finish(event, schedule, works.pop(event.name), displays)
        case Failed():
            work = works.pop(event.name)
            if isinstance(work, CellWork):
                schedule.folder.write_failure(work.cell, event.error)
                schedule.failures[event.name] = event.error
                ended = True
            else:
                schedule.broken.add(event.name)
            _say(displays, f"{event.name}: failed: {event.error}")
        case Cancelled():
            works.pop(event.name)
        case _:
            assert_never(event)
    for display in displays:
        display.running(event.name, state)
    return ended


def _finish(event: Finished, schedule: Schedule, work: Work, displays: Sequence[SweepDisplay]) -> bool:
    if not isinstance(work, CellWork):
        return False
    schedule.results[event.name] = event.result
    returns = event.result["returns"]
    size = f"{event.result['parameters']:,} parameters"
    _say(displays, f"{event.name}: return {sum(returns) / len(returns):,.1f}, {size}, {event.result['seconds']:,.0f} s")
    trunk = schedule.trunk_of(work.cell)
    if trunk is not None:
        place = schedule.folder.trunk(trunk)
        others = (schedule.trunk_of(cell) for cell in schedule.left)
        if place.exists() and not any(other is not None and schedule.folder.trunk(other) == place for other in others):
            clear_trunk(place)
    return True


def _count(schedule: Schedule, displays: Sequence[SweepDisplay]) -> None:
    for display in displays:
        display.counted(len(schedule.results), len(schedule.failures), len(schedule.cells))


def _say(displays: Sequence[SweepDisplay], text: str) -> None:
    for display in displays:
        display.said(text)
