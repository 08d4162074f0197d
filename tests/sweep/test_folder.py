"""Which folders a sweep takes for its own, and that what it refuses it leaves as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_sweeps import SMALL, sweep_file

from prunekit.errors import InputError
from prunekit.files import held
from prunekit.sweep.cells import cells_of
from prunekit.sweep.file import read_sweep
from prunekit.sweep.folder import SweepFolder, claim_, require_own
from prunekit.sweep.run import run_sweep

MORE = SMALL.replace("seeds = [0]", "seeds = [0, 1]")
MASKED, SCRATCH = "CartPole-v1-ppo-4096-masked-0.9-seed0", "CartPole-v1-ppo-4096-from-scratch-seed0"


def checked(tmp_path: Path, text: str = SMALL, claimed: bool = False) -> SweepFolder:
    folder = SweepFolder(root=tmp_path / "out")
    sweep = read_sweep(sweep_file(tmp_path, text))
    if claimed:
        claim_(folder, sweep, cells_of(sweep))
    else:
        require_own(folder, sweep, cells_of(sweep))
    return folder


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_command_changes_nothing(tmp_path: Path) -> None:
    """Not even where its sweep has more cells than that of the first."""
    checked(tmp_path, claimed=True)
    with held(tmp_path / "out"):
        before = content_of(tmp_path / "out")
        with pytest.raises(InputError, match="another process is working in it"):
            run_sweep(read_sweep(sweep_file(tmp_path, MORE)), tmp_path / "out", _no_executor)
        assert content_of(tmp_path / "out") == before


def _no_executor() -> Any:
    raise AssertionError("nothing may run")


def test_a_folder_of_something_else_is_not_even_locked(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"something other than a sweep \(thesis\.tex\)"):
        run_sweep(read_sweep(sweep_file(tmp_path)), tmp_path / "out", _no_executor)
    assert content_of(tmp_path / "out") == {"thesis.tex": b""}
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: is not a folder"):
        run_sweep(read_sweep(sweep_file(tmp_path)), tmp_path / "file", _no_executor)


def test_a_first_command_that_was_killed_as_it_wrote_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").touch()
    (tmp_path / "out" / ".sweep.json.0123.tmp").write_text("{")
    checked(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "3", '{"cells": [3], "title": "Small"}',
        '{"format": "prunekit.sweep", "version": 1, "title": "Small", "cells": []}',
        '{"format": "prunekit.sweep", "version": 1, "title": "Small", "cells": {"a": 3}}',
        '{"format": "prunekit.sweep", "version": 1, "title": 3, "cells": {}}',
        '{"format": "prunekit.sweep", "version": 2, "title": "Small", "cells": {}}',
    ],
)  # fmt: skip
def test_a_damaged_mark_is_told_and_may_be_removed(content: str, tmp_path: Path) -> None:
    folder = checked(tmp_path, claimed=True)
    folder.cell(MASKED).mkdir(parents=True)
    (folder.root / "report.html").touch()
    mark = folder.root / "sweep.json"
    mark.write_text(content)
    with pytest.raises(InputError, match=r"out/sweep\.json: .*; remove it, and the sweep continues") as caught:
        checked(tmp_path)
    assert "\n" not in str(caught.value)
    mark.unlink()
    checked(tmp_path, claimed=True)
    assert MASKED in json.loads(mark.read_text())["cells"]


def test_a_cell_may_not_change_once_another_that_builds_on_it_has_begun(tmp_path: Path) -> None:
    folder = checked(tmp_path, claimed=True)
    changed = SMALL.replace("sparsity = 0.9\n", "sparsity = 0.8\n")
    checked(tmp_path, changed)
    folder.cell(SCRATCH).mkdir(parents=True)
    with pytest.raises(InputError, match=f"cell {MASKED} had other settings here"):
        checked(tmp_path, changed)
    checked(tmp_path, MORE, claimed=True)
    assert len(json.loads((folder.root / "sweep.json").read_text())["cells"]) == 8
