"""A whole sweep, small: what it writes, that it goes on, and what it says of cells that fail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_sweeps import SMALL, sweep_file

from prunekit.errors import InputError
from prunekit.executors.serial import SerialExecutor
from prunekit.sweep.file import read_sweep
from prunekit.sweep.run import SweepOutcome, run_sweep

MASKED, SCRATCH = "CartPole-v1-ppo-4096-masked-0.9-seed0", "CartPole-v1-ppo-4096-from-scratch-seed0"


class Said:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def counted(self, done: int, failed: int, of: int) -> None:
        self.count = (done, failed, of)

    def running(self, name: str, state: dict[str, Any] | None) -> None:
        pass

    def said(self, text: str) -> None:
        self.lines.append(text)


def swept(file: Path, out: Path, **options: Any) -> tuple[SweepOutcome, Said]:
    said = Said()
    return run_sweep(read_sweep(file), out, SerialExecutor, [said], **options), said


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SweepOutcome]:
    folder = tmp_path_factory.mktemp("sweep")
    outcome, said = swept(sweep_file(folder), folder / "out")
    assert said.count == (4, 0, 4)
    return folder, outcome


def timeless(results: Any) -> Any:
    """Return ``results`` without how long things took."""
    if isinstance(results, dict):
        return {key: timeless(value) for key, value in results.items() if key != "seconds"}
    return [timeless(entry) for entry in results] if isinstance(results, list) else results


def test_every_cell_has_a_result_and_a_row(done: tuple[Path, SweepOutcome]) -> None:
    folder, outcome = done
    cells = {cell["name"]: cell for cell in outcome.results["cells"]}
    assert len(cells) == 4
    assert not outcome.results["missing"]
    assert json.loads((folder / "out" / "results.json").read_text()) == outcome.results
    assert sum(cells[MASKED]["hidden"]) == 6
    assert cells[MASKED]["original_hidden"] == [32, 32]
    assert cells[SCRATCH]["hidden"] == cells[MASKED]["hidden"]
    assert cells["CartPole-v1-ppo-4096-linear-seed0"]["parameters"] == 10
    for cell in cells.values():
        assert len(cell["returns"]) == len(cell["disturbed"]["delay 1"]) == 3
        assert cell["curve"]["steps"][-1] == 4096
    assert cells[MASKED]["curve"]["living"]["0"][0] == 32
    table = (folder / "out" / "results.md").read_text()
    assert "## CartPole-v1, PPO, 4,096 steps" in table
    assert "| linear | 1 | linear | 10 |" in table
    assert "delay 1" in table


def test_nothing_is_run_twice(done: tuple[Path, SweepOutcome]) -> None:
    folder, before = done
    outcome, said = swept(folder / "sweep.toml", folder / "out")
    assert said.lines == []
    assert outcome.results == before.results


def test_a_cell_that_was_lost_is_run_again_to_the_same_end(done: tuple[Path, SweepOutcome], tmp_path: Path) -> None:
    folder, before = done
    shutil.copytree(folder / "out", tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "cells" / MASKED)
    outcome, said = swept(folder / "sweep.toml", tmp_path / "out")
    assert [line.split(":")[0] for line in said.lines] == [MASKED]
    assert timeless(outcome.results) == timeless(before.results)


def test_results_from_elsewhere_are_not_made_again(done: tuple[Path, SweepOutcome], tmp_path: Path) -> None:
    folder, before = done
    known = folder / "out" / "results.json"
    outcome, said = swept(folder / "sweep.toml", tmp_path / "out", known=[known])
    assert said.lines == []
    assert outcome.results == before.results
    other = sweep_file(tmp_path, SMALL.replace("episodes = 3", "episodes = 2"))
    _, said = swept(other, tmp_path / "other", known=[known])
    assert len(said.lines) == 4


def test_a_sweep_may_grow_but_not_change(done: tuple[Path, SweepOutcome], tmp_path: Path) -> None:
    folder, _ = done
    shutil.copytree(folder / "out", tmp_path / "out")
    more = SMALL.replace('methods = ["unpruned",', 'methods = ["more", "unpruned",') + "[methods.more]\nhidden = [2]\n"
    outcome, said = swept(sweep_file(tmp_path, more), tmp_path / "out")
    assert len(said.lines) == 1
    assert len(outcome.results["cells"]) == 5
    changed = sweep_file(tmp_path, SMALL.replace("sparsity = 0.9\n", "sparsity = 0.8\n"))
    with pytest.raises(
        InputError, match=r"masked-0.9-seed0 was asked something else here .*sparsity was 0.9 and is 0.8"
    ):
        swept(changed, tmp_path / "out")
    with pytest.raises(InputError, match="is of another sweep, 'Small'"):
        swept(sweep_file(tmp_path, SMALL.replace('"Small"', '"Large"')), tmp_path / "out")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="holds something else than a sweep"):
        swept(sweep_file(tmp_path), tmp_path / "out")
    with pytest.raises(InputError, match="holds no results of a sweep"):
        swept(sweep_file(tmp_path), tmp_path / "new", known=[tmp_path / "sweep.toml"])


def test_a_cell_that_fails_is_told_and_run_again_on_request_alone(tmp_path: Path) -> None:
    text = SMALL.replace('environments = ["CartPole-v1"]', 'environments = ["CartPole-v1", "NoSuch-v0"]')
    text = text.replace('"from scratch", "linear"]', '"from scratch"]')
    file = sweep_file(tmp_path, text)
    outcome, _ = swept(file, tmp_path / "out")
    names = {name.rsplit("-4096-")[1] for name in outcome.failures}
    assert names == {"unpruned-seed0", "masked-0.9-seed0"}
    assert all("NoSuch" in reason for reason in outcome.failures.values())
    assert list(outcome.blocked) == ["NoSuch-v0-ppo-4096-from-scratch-seed0"]
    assert len(outcome.results["cells"]) == 3
    again, said = swept(file, tmp_path / "out")
    assert said.lines == []
    assert again.failures == outcome.failures
    _, said = swept(file, tmp_path / "out", retry=True)
    assert sum("failed" in line for line in said.lines) == 2
