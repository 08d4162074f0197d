"""``prunekit sweep`` on the command line: what it prints, and one line for bad input."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_sweeps import SMALL, sweep_file

Run = Callable[..., tuple[int, str, str]]
ONE = SMALL.replace('methods = ["unpruned", "masked 0.9", "from scratch", "linear"]', 'methods = ["linear"]')


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, out, err = result
    assert code == 2, err
    assert err.count("\n") == 1, f"not one line: {err}"
    assert out == ""
    for word in words:
        assert word in err


def test_a_sweep_says_what_it_did_and_goes_on(run: Run, tmp_path: Path) -> None:
    file, out = sweep_file(tmp_path, ONE), tmp_path / "out"
    code, text, err = run("sweep", file, "--out", out, "--jobs", 1, "--json", tmp_path / "all.json")
    assert code == 0, err
    assert "[1/1] CartPole-v1-ppo-4096-linear-seed0: return" in text
    assert "results.json: 1 of 1 cells" in text
    assert json.loads((tmp_path / "all.json").read_text())["cells"][0]["parameters"] == 10
    code, text, _ = run("sweep", file, "--out", out, "--jobs", 1)
    assert code == 0
    assert text.count("\n") == 1


def test_a_cell_that_fails_ends_with_1_and_names_the_cure(run: Run, tmp_path: Path) -> None:
    file = sweep_file(tmp_path, ONE.replace("CartPole-v1", "nosuch:Env-v0"))
    code, _, err = run("sweep", file, "--out", tmp_path / "out", "--jobs", 1)
    assert code == 1
    assert "nosuch-Env-v0-ppo-4096-linear-seed0 failed" in err
    assert "needs the module 'nosuch', which is not found" in err
    assert "--retry" in err
    assert err.count("\n") == 1


def test_environments_that_are_not_registered_are_refused_before_anything_runs(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name, reason in (("NoSuch-v0", "is not registered"), ("CartPole-v9", "`v0`, `v1`"), ("Ax/B-v1", "namespace")):
        file = sweep_file(tmp_path, ONE.replace("CartPole-v1", name))
        refused(run("sweep", file, "--out", out, "--jobs", 1), f"environment '{name}'", reason)
    assert not out.exists()


def test_bad_input_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out = sweep_file(tmp_path, ONE), tmp_path / "out"
    refused(run("sweep", tmp_path / "nowhere.toml", "--out", out), "nowhere.toml", "no such file")
    refused(run("sweep", file, "--out", out, "--engine", "slurm"), "--engine slurm", "local or ray")
    refused(run("sweep", file, "--out", out, "--jobs", 0), "--jobs")
    refused(run("sweep", file, "--out", out, "--address", "auto"), "--address", "--engine ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    refused(run("sweep", file, "--out", out, "--engine", "ray"), "pip install 'prunekit[ray]'")
    wrong = sweep_file(tmp_path, ONE.replace("episodes = 3", "episods = 3"))
    refused(run("sweep", wrong, "--out", out), "sweep.toml: episods is not known; did you mean episodes?")


def test_a_folder_of_another_sweep_is_refused(run: Run, tmp_path: Path) -> None:
    file, out = sweep_file(tmp_path, ONE), tmp_path / "out"
    assert run("sweep", file, "--out", out, "--jobs", 1, "-q")[0] == 0
    refused(run("sweep", sweep_file(tmp_path, ONE.replace("Small", "Other")), "--out", out), "another sweep, 'Small'")
    assert (out / "results.json").exists()
