"""Which job comes next, without running any."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_sweeps import SHARING, SMALL, made_up, sweep_file

from prunekit.sweep.beginnings import shared_beginnings
from prunekit.sweep.cells import cells_of
from prunekit.sweep.file import read_sweep
from prunekit.sweep.folder import SweepFolder
from prunekit.sweep.schedule import Schedule, loaded
from prunekit.sweep.work import CellWork, RandomWork, TrunkWork, model_of

COMPRESSING = SMALL.replace('"linear"]', '"compressed"]') + '[methods.compressed]\ncompress = "unpruned"\n'
RANDOM = "random policy in CartPole-v1"


def schedule_of(tmp_path: Path, text: str, known: tuple[str, ...] = ()) -> Schedule:
    cells = cells_of(read_sweep(sweep_file(tmp_path, text)))
    found = {name: made_up(cell) for name, cell in cells.items() if cell.method.name in known}
    schedule = loaded(SweepFolder(root=tmp_path / "out"), cells, found)
    schedule.beginnings = shared_beginnings(schedule.folder, schedule.left)
    return schedule


def named(schedule: Schedule, count: int = 9) -> list[str]:
    return [name.replace("CartPole-v1-ppo-", "").replace("-seed0", "") for name, _ in schedule.next_jobs(count)]


def finish(schedule: Schedule, method: str) -> Path | None:
    cell = next(cell for cell in schedule.cells.values() if cell.method.name == method)
    return schedule.done(cell.name, made_up(cell))


def write_checkpoint(folder: Path) -> None:
    (folder / "run" / "checkpoint").mkdir(parents=True)
    (folder / "run" / "checkpoint" / f"{4000:012}.pt").touch()


def test_cells_come_in_order_and_after_what_they_need(tmp_path: Path) -> None:
    schedule = schedule_of(tmp_path, SMALL)
    assert named(schedule, 0) == []
    assert named(schedule, 2) == ["4096-unpruned", "4096-masked-0.9"]
    assert named(schedule) == ["4096-linear"]
    assert named(schedule) == []
    finish(schedule, "masked 0.9")
    ((_, random), (name, work)) = schedule.next_jobs(9)
    assert isinstance(random, RandomWork)
    assert random.seeds == (500, 501, 502)
    assert isinstance(work, CellWork)
    assert "from-scratch" in name
    assert work.widths == (4, 3)
    assert not schedule.over


def test_every_cell_goes_on_from_the_beginning_that_it_shares(tmp_path: Path) -> None:
    """Also the last one, and with one job at a time."""
    schedule = schedule_of(tmp_path, SHARING)
    ((name, work),) = schedule.next_jobs(1)
    assert name == "shared start of CartPole-v1-ppo-2240-unpruned-seed0"
    assert isinstance(work, TrunkWork)
    assert named(schedule) == ["2240-linear"], "the others wait"
    write_checkpoint(work.folder)
    schedule.begun_together(name)
    for method in ("unpruned", "masked 0.9"):
        (cell_work,) = (found for _, found in schedule.next_jobs(1) if isinstance(found, CellWork))
        assert cell_work.cell.method.name == method
        assert cell_work.trunk is not None
        assert cell_work.trunk.is_relative_to(work.folder)
        (cell_work.folder / "run").mkdir(parents=True)
        (cell_work.folder / "run" / "config.json").touch()
        assert finish(schedule, method) == (work.folder if method == "masked 0.9" else None)
        named(schedule, 1)  # the random policy


def test_a_command_that_goes_on_uses_a_beginning_that_is_there(tmp_path: Path) -> None:
    schedule = schedule_of(tmp_path, SHARING)
    ((_, work),) = schedule.next_jobs(1)
    assert isinstance(work, TrunkWork)
    alone = schedule_of(tmp_path, SHARING, known=("unpruned",))
    assert not alone.beginnings
    write_checkpoint(work.folder)
    again = schedule_of(tmp_path, SHARING, known=("unpruned",))
    works = dict(again.next_jobs(9))
    found = works["CartPole-v1-ppo-2240-masked-0.9-seed0"]
    assert isinstance(found, CellWork)
    assert found.trunk is not None


def test_where_a_beginning_fails_its_cells_begin_alone(tmp_path: Path) -> None:
    schedule = schedule_of(tmp_path, SHARING)
    ((name, _),) = schedule.next_jobs(1)
    schedule.unshare(name)
    works = [work for _, work in schedule.next_jobs(2)]
    assert [work.trunk for work in works if isinstance(work, CellWork)] == [None, None]


def test_a_beginning_goes_when_its_cells_have_failed(tmp_path: Path) -> None:
    schedule = schedule_of(tmp_path, SHARING)
    names = list(schedule.beginnings)
    assert schedule.failed(names[0], "no luck") is None
    assert schedule.failed(names[1], "no luck") == schedule.beginnings[names[1]].folder
    assert schedule.blocked == {"CartPole-v1-ppo-2240-from-scratch-seed0": "CartPole-v1-ppo-2240-masked-0.9-seed0"}


def test_a_cell_that_is_done_elsewhere_is_run_again_for_its_model_alone(tmp_path: Path) -> None:
    schedule = schedule_of(tmp_path, COMPRESSING, known=("unpruned", "masked 0.9", "from scratch"))
    assert named(schedule) == [RANDOM, "4096-unpruned"]
    assert named(schedule) == [], "what it is needed for waits"
    finish(schedule, "unpruned")
    ((_, work),) = schedule.next_jobs(9)
    assert isinstance(work, CellWork)
    assert work.teacher == model_of(schedule.folder.cell("CartPole-v1-ppo-4096-unpruned-seed0"))
    finish(schedule, "compressed")
    assert not schedule.left
    everything = ("unpruned", "masked 0.9", "from scratch", "compressed")
    assert named(schedule_of(tmp_path, COMPRESSING, known=everything)) == [RANDOM]


def test_what_was_widths_of_a_known_cell_does_not_wait_for_its_model(tmp_path: Path) -> None:
    text = COMPRESSING.replace('compress = "unpruned"', 'compress = "masked 0.9"')
    schedule = schedule_of(tmp_path, text, known=("unpruned", "masked 0.9"))
    assert named(schedule) == [RANDOM, "4096-masked-0.9", "4096-from-scratch"]


def test_random_returns_that_are_damaged_are_played_again(tmp_path: Path) -> None:
    schedule = schedule_of(tmp_path, SMALL, known=("unpruned", "masked 0.9", "from scratch", "linear"))
    path = schedule.folder.random(next(iter(schedule.cells.values())))
    path.parent.mkdir(parents=True)
    for content, whole in (('{"returns": [1, 2, 3]}', True), ('{"returns": [1, 2]}', False), ("[", False)):
        path.write_text(content)
        again = schedule_of(tmp_path, SMALL, known=("unpruned", "masked 0.9", "from scratch", "linear"))
        assert again.over == whole
        assert named(again) == [] if whole else [RANDOM]
        assert json.dumps(again.random) == ('{"CartPole-v1": [1, 2, 3]}' if whole else "{}")


@pytest.mark.parametrize("known", [(), ("unpruned", "from scratch")])
def test_the_next_job_of_1000_cells_is_found_at_once(known: tuple[str, ...], tmp_path: Path) -> None:
    schedule = schedule_of(tmp_path, SHARING.replace("seeds = [0]", f"seeds = {list(range(250))}"), known)
    assert len(schedule.cells) == 1000

    def seconds() -> Iterator[float]:
        for _ in range(5):
            begun = time.process_time()
            schedule.next_jobs(4)
            yield time.process_time() - begun

    assert min(seconds()) < 0.01
    while schedule.next_jobs(1000):
        pass
    assert min(seconds()) < 0.01
