"""A whole sweep, small: what it writes, that it goes on, and what it says of cells that fail."""

from __future__ import annotations

import errno
import json
import random
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from killing.sweeps import left_behind
from small_sweeps import SHARING, SMALL, sweep_file

from prunekit import files
from prunekit.errors import InputError
from prunekit.executors.serial import SerialExecutor
from prunekit.sweep.file import read_sweep
from prunekit.sweep.run import SweepOutcome, run_sweep

pytestmark = pytest.mark.xdist_group("sweep_run")

MASKED, SCRATCH = "CartPole-v1-ppo-4096-masked-0.9-seed0", "CartPole-v1-ppo-4096-from-scratch-seed0"


class Said:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.jobs: set[str] = set()

    def counted(self, done: int, failed: int, of: int) -> None:
        self.count = (done, failed, of)

    def running(self, name: str, state: dict[str, Any] | None) -> None:
        self.jobs.add(name)

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
        InputError, match=r"masked-0.9-seed0 had other settings here .*sparsity differs: it was 0.9 and is 0.8"
    ):
        swept(changed, tmp_path / "out")
    with pytest.raises(InputError, match="belongs to another sweep, 'Small'"):
        swept(sweep_file(tmp_path, SMALL.replace('"Small"', '"Large"')), tmp_path / "out")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="holds something other than a sweep"):
        swept(sweep_file(tmp_path), tmp_path / "out")
    with pytest.raises(InputError, match=r"sweep\.toml: cannot be read"):
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


def test_cells_that_share_their_beginning_end_as_alone(tmp_path: Path) -> None:
    """Also their training curves, and the last one that begins."""
    both = SHARING.replace('"from scratch", "linear"]', "]")
    together, said = swept(sweep_file(tmp_path, both), tmp_path / "together")
    assert "shared start of CartPole-v1-ppo-2240-unpruned-seed0" in said.jobs
    assert not (tmp_path / "together" / "trunks").exists()
    for number, method in enumerate(("unpruned", "masked 0.9")):
        alone, said = swept(
            sweep_file(tmp_path, both.replace('["unpruned", "masked 0.9", ]', f'["{method}"]')), tmp_path / method
        )
        assert not any("shared" in job for job in said.jobs)
        (cell,) = alone.results["cells"]
        assert timeless(cell) == timeless(together.results["cells"][number])


class Luck(gym.Env[Any, Any]):
    """Draws from the global generators, as environments should not, and fails in some episodes if asked to."""

    observation_space = gym.spaces.Box(-9.0, 9.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, fails_from: int = 10**9) -> None:
        self.fails_from = fails_from

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.failing, self.left = seed is not None and seed >= self.fails_from, 3
        return np.random.normal(size=2).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.failing:
            raise RuntimeError("out of luck")
        self.left -= 1
        return np.random.normal(size=2).astype(np.float32), random.random(), self.left == 0, False, {}


gym.register("prunekit-test/Luck-v0", Luck)
LUCK = SMALL.replace("CartPole-v1", "prunekit-test/Luck-v0").replace("steps = [4096]", "steps = [256]")
LUCK = LUCK.replace('["unpruned", "masked 0.9", "from scratch", "linear"]', '["linear"]')


def test_a_result_depends_on_nothing_that_ran_before(tmp_path: Path) -> None:
    file = sweep_file(tmp_path, LUCK)
    found = []
    for seed in (0, 1):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        outcome, _ = swept(file, tmp_path / f"out {seed}")
        found.append(timeless({"cells": outcome.results["cells"], "random": outcome.results["random"]}))
    assert found[0] == found[1]
    (cell,) = found[0]["cells"]
    shutil.rmtree(tmp_path / "out 0" / "random")
    (tmp_path / "out 0" / "cells" / cell["name"] / "result.json").write_text("{}")
    random.seed(2)
    np.random.seed(2)
    outcome, _ = swept(file, tmp_path / "out 0")
    assert timeless(outcome.results["cells"]) == found[0]["cells"]
    assert outcome.results["random"] == found[0]["random"]


def test_an_environment_that_fails_in_an_episode_fails_its_cell_alone(tmp_path: Path) -> None:
    text = LUCK.replace("max_episode_steps = 10\n", "fails_from = 501\n")
    outcome, said = swept(sweep_file(tmp_path, text), tmp_path / "out")
    ((name, reason),) = outcome.failures.items()
    assert "failed at step 1 of the episode with seed 501 (RuntimeError: out of luck)" in reason
    assert said.lines == [f"{name}: failed: {reason}"]
    assert said.count == (0, 1, 1)
    told = json.loads((tmp_path / "out" / "cells" / name / "failure.json").read_text())
    assert "FailedEpisodeError" in told["traceback"]
    assert "Cells without a result" in (tmp_path / "out" / "results.md").read_text()


def test_a_random_policy_that_fails_is_told(tmp_path: Path) -> None:
    file = sweep_file(tmp_path, LUCK)
    outcome, _ = swept(file, tmp_path / "out")
    (cell,) = outcome.results["cells"]
    shutil.rmtree(tmp_path / "out" / "random")
    (tmp_path / "out" / "random").write_text("not a folder")
    outcome, said = swept(file, tmp_path / "out")
    assert list(outcome.failures) == ["random policy in prunekit-test/Luck-v0"]
    assert len(said.lines) == 1
    assert outcome.results["cells"] == [cell]
    (tmp_path / "out" / "random").unlink()
    outcome, _ = swept(file, tmp_path / "out")
    assert not outcome.failures


def test_a_disk_that_is_full_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, fill = sweep_file(tmp_path, LUCK), files._fill
    full = {"result.json"}

    def fill_or_fail(entry: Any, content: bytes, holds: Any) -> None:
        fill(entry, content, holds)
        if entry.target.name in full:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_fill", fill_or_fail)
    outcome, _ = swept(file, tmp_path / "out")
    assert "result.json: cannot be written (No space left on device); the disk is full" in str(outcome.failures)
    full.clear()
    full.add("results.json")
    with pytest.raises(InputError, match=r"results\.json: cannot be written .*the disk is full"):
        swept(file, tmp_path / "out", retry=True)
    full.clear()
    outcome, said = swept(file, tmp_path / "out")
    assert not outcome.failures
    assert not said.lines, "the cell's own result was kept"
    assert not left_behind(tmp_path / "out")
