"""A sweep at an address: the same results, and nothing lost where a machine goes away."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from small_sweeps import SHARING, SMALL, sweep_file

pytest.importorskip("fsspec", reason="needs fsspec (pip install fsspec)")

from prunekit.errors import InputError
from prunekit.executors.serial import SerialExecutor
from prunekit.sweep.file import read_sweep
from prunekit.sweep.mirror import Mirror, MirroredWork, moved, run_mirrored
from prunekit.sweep.run import run_sweep
from prunekit.sweep.work import CellWork

TWO = SMALL.replace('"masked 0.9", "from scratch", "linear"]', '"linear"]')


def test_a_mirrored_sweep_has_the_results_of_a_local_one(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path, TWO))
    local = run_sweep(sweep, tmp_path / "local", SerialExecutor)
    address = f"file://{tmp_path}/remote"
    remote = run_sweep(sweep, address, SerialExecutor)
    for one, other in zip(local.results["cells"], remote.results["cells"], strict=True):
        assert {**one, "seconds": 0, "curve": 0} == {**other, "seconds": 0, "curve": 0}
    assert (tmp_path / "remote" / "results.json").is_file()
    assert not any(path.name.endswith(".lock") for path in (tmp_path / "remote").rglob("*"))
    again = run_sweep(sweep, address, _NoExecutor)
    assert again.results == remote.results


class _NoExecutor:
    def __enter__(self) -> None:
        raise AssertionError("nothing is left to run")

    def __exit__(self, *_: object) -> None: ...


class _Dies:
    """Stops the work as a machine that goes away would: after some reports, without a last word."""

    def __init__(self, after: int) -> None:
        self.left = after

    def report(self, event: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_another_machine_goes_on_from_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = read_sweep(sweep_file(tmp_path, TWO))
    whole = run_sweep(sweep, tmp_path / "local", SerialExecutor)
    from prunekit.sweep.cells import cells_of

    cell = cells_of(sweep)["CartPole-v1-ppo-4096-unpruned-seed0"]
    root = tmp_path / "root"
    work = CellWork(cell=cell, folder=root / "cells" / cell.name)
    mirrored = MirroredWork(work=work, root=root, address=f"file://{tmp_path}/remote")
    put, last_words = Mirror.put, []

    def silent_in_the_end(mirror: Mirror, place: Path) -> None:
        if context.left < 0:
            last_words.append(place)
        else:
            put(mirror, place)

    context = _Dies(60)
    monkeypatch.setattr(Mirror, "put", silent_in_the_end)
    with pytest.raises(KeyboardInterrupt):
        run_mirrored(mirrored, context)
    assert last_words
    left = sorted((tmp_path / "remote").rglob("checkpoint/*.pt"))
    assert left
    assert len(left) <= 2
    monkeypatch.setattr(Mirror, "put", put)
    result = run_mirrored(mirrored, _Dies(10**6))
    expected = next(entry for entry in whole.results["cells"] if entry["name"] == cell.name)
    assert result["returns"] == expected["returns"]
    assert result["curve"]["living"] == expected["curve"]["living"]


def test_paths_move_with_their_root(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path, TWO))
    from prunekit.sweep.cells import cells_of

    cell = next(iter(cells_of(sweep).values()))
    work = CellWork(cell=cell, folder=tmp_path / "a" / "x", teacher=tmp_path / "a" / "y" / "model.pt")
    there = moved(work, tmp_path / "a", tmp_path / "b")
    assert isinstance(there, CellWork)
    assert (there.folder, there.teacher) == (tmp_path / "b" / "x", tmp_path / "b" / "y" / "model.pt")
    assert there.trunk is None


def test_an_address_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path, TWO))
    with pytest.raises(InputError, match=r"nosuch://bucket: cannot be used"):
        run_sweep(sweep, "nosuch://bucket", SerialExecutor)


def test_what_failed_at_an_address_stays_so_until_it_is_run_again(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path, TWO.replace("CartPole-v1", "NoSuch-v0")))
    address = f"file://{tmp_path}/remote"
    outcome = run_sweep(sweep, address, SerialExecutor)
    assert len(outcome.failures) == 2
    assert run_sweep(sweep, address, _NoExecutor).failures == outcome.failures
    with pytest.raises(AssertionError, match="nothing is left to run"):
        run_sweep(sweep, address, _NoExecutor, retry=True)
    assert not list((tmp_path / "remote").rglob("failure.json"))


def test_cells_at_an_address_share_their_beginning(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path, SHARING.replace('"from scratch", "linear"]', "]")))
    outcome = run_sweep(sweep, f"file://{tmp_path}/remote", SerialExecutor)
    assert not outcome.failures
    for cell in outcome.results["cells"]:
        assert cell["curve"]["steps"][0] < 100, "the beginning is a part of the curve"
        assert "agent" not in " ".join(path.name for path in (tmp_path / "remote" / "cells" / cell["name"]).rglob("*"))
    assert not list((tmp_path / "remote").rglob("*.pt.*"))
    assert not [path for path in (tmp_path / "remote" / "trunks").rglob("*") if path.is_file()]


def test_an_address_whose_content_leads_outside_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    system = fsspec.filesystem("file")
    monkeypatch.setattr(type(system), "find", lambda *_: [f"{tmp_path}/remote/cells/../../../evil"])
    (tmp_path / "here").mkdir()
    mirror = Mirror(address=f"file://{tmp_path}/remote", root=tmp_path / "here" / "root")
    with pytest.raises(InputError, match="evil', which lies outside of it"):
        mirror.fetch(mirror.root)
    assert not list((tmp_path / "here").iterdir())


def test_an_address_needs_fsspec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    mirror = Mirror(address=f"file://{tmp_path}/remote", root=tmp_path / "root")
    with pytest.raises(InputError, match=r"remote: needs the package fsspec, .* run: pip install fsspec$"):
        mirror.fetch(mirror.root)
