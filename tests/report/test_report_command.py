"""``prunekit report``, and ``bench --report``: a page for what a command left, one clear line for anything else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import synthetic
from folders_made import CARTPOLE, compress_folder, sweep_folder

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the drawing of episodes, which takes seconds."""
    from prunekit.report.page import Note

    for module in ("bench_page", "compress_page"):
        monkeypatch.setattr(f"prunekit.report.{module}.clips_of", lambda _: Note(text="no clips here"))


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, out, err = result
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert "internal error" not in err
    for word in words:
        assert word in err


def test_a_sweep(run: Run, tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "sweep", synthetic.sweep(seeds=3))
    code, out, err = run("report", folder, "--json", tmp_path / "r.json")
    assert (code, err) == (0, "")
    assert "report.html: Masked training beside its controls" in out
    text = (folder / "report.html").read_text()
    assert "Retention at a glance" in text
    assert len(text) < 2_000_000
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["report"] == str(folder / "report.html")
    assert [table["title"] for table in told["tables"]][:3] == [
        "Retention at a glance",
        "Sizes and returns",
        "Under disturbances",
    ]


@pytest.mark.usefixtures("still")
def test_a_compression(run: Run, tmp_path: Path) -> None:
    folder = compress_folder(tmp_path / "compressed")
    code, _, err = run("report", folder, "--out", tmp_path / "page.html", "--original", CARTPOLE / "dense.onnx", "-q")
    assert (code, err) == (0, "")
    text = (tmp_path / "page.html").read_text()
    for words in ("CartPole-v1: a certified compact policy", "Every network that was judged", "lightning", "no clips"):
        assert words in text
    assert "every return clipped to" in text
    assert "With --original POLICY" not in text
    assert not (folder / "report.html").exists()
    assert run("report", folder, "-q")[0] == 0
    assert "With --original POLICY" in (folder / "report.html").read_text()
    found = json.loads((folder / "certificate.json").read_text())
    (folder / "certificate.json").write_text(json.dumps({**found, "seconds": None}))  # of a budget in steps
    assert run("report", folder, "-q")[0] == 0
    assert "found and tested." in (folder / "report.html").read_text()


@pytest.mark.usefixtures("still")
def test_a_compression_by_steps_tells_no_time_and_where_it_learned(run: Run, tmp_path: Path) -> None:
    file = compress_folder(tmp_path) / "certificate.json"
    learned = {
        "library": "EnvPool",
        "version": "1.2.5",
        "environment": "CartPole-v1",
        "for": ["lessons"],
        "steps": 7000,
    }
    file.write_text(json.dumps({**json.loads(file.read_text()), "seconds": None, "learned_in": learned}))
    assert run("report", tmp_path, "-q")[0] == 0
    text = (tmp_path / "report.html").read_text()
    assert "found and tested." in text
    assert "EnvPool 1.2.5, CartPole-v1, 7,000 steps; certified in the environment itself" in text


@pytest.mark.usefixtures("still")
def test_a_training_run(run: Run, trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    code, _, err = run("report", folder)
    assert (code, err) == (0, "")
    text = (folder / "report.html").read_text()
    for words in ("CartPole-v1: PPO, seed 0", "Living units per layer", "of 48x48", "The network", "model.pt"):
        assert words in text
    assert "The run has not ended" not in text
    (folder / "model.pt").unlink()
    assert run("report", folder, "-q")[0] == 0
    assert "The run has not ended" in (folder / "report.html").read_text()
    (folder / "metrics.csv").unlink()
    refused(run("report", folder), "no metrics.csv yet")


def test_a_bench(run: Run, tmp_path: Path) -> None:
    models = [CARTPOLE / "dense.onnx", CARTPOLE / "compact.onnx"]
    code, out, err = run("bench", *models, "--episodes", 2, "--report", tmp_path / "bench.html")
    assert (code, err) == (0, "")
    assert "retention of return" in out
    assert "bench.html: the report" in out
    text = (tmp_path / "bench.html").read_text()
    for words in ("CartPole-v1: 2 policies compared", "return so far", "data:image/webp;base64,", "compact.onnx"):
        assert words in text


def test_anything_else_is_refused(run: Run, tmp_path: Path) -> None:
    refused(run("report", tmp_path / "nowhere"), "nowhere", "no such folder")
    (tmp_path / "file").write_text("mine")
    refused(run("report", tmp_path / "file"), "file", "is not a folder")
    refused(run("report", tmp_path), str(tmp_path), "holds no results.json of sweep")
    (tmp_path / "results.json").write_text("{}")
    refused(run("report", tmp_path), "results.json", "format is missing")
    (tmp_path / "results.json").unlink()
    (tmp_path / "config.json").write_text("{}")
    refused(run("report", tmp_path), "config.json")
    (tmp_path / "certificate.json").write_text('{"certified": true}')
    refused(run("report", tmp_path), "certificate.json", "env is missing")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["certificate.json", "config.json", "file"]


def test_what_is_read_is_not_written_over(run: Run, tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path, synthetic.sweep(("Hopper-v5",), seeds=2))
    before = (folder / "results.json").read_bytes()
    refused(run("report", folder, "--out", folder / "results.json"), "results.json", "would be overwritten")
    refused(run("report", folder, "--json", folder / "report.html"), "report.html", "is already written")
    assert (folder / "results.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    model = shutil.copy(CARTPOLE / "dense.pt", tmp_path)
    refused(run("bench", model, "--episodes", 1, "--report", model), "dense.pt", "would be overwritten")


def test_an_original_goes_with_a_compression_alone(run: Run, tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path, synthetic.sweep(("Hopper-v5",), seeds=2))
    refused(run("report", folder, "--original", CARTPOLE / "dense.pt"), "--original", "folder that compress wrote")
    refused(run("report", folder, "--original", tmp_path / "gone.pt"), "gone.pt", "no such file")


def test_an_environment_that_there_is_not_is_named(run: Run, tmp_path: Path) -> None:
    folder = compress_folder(tmp_path / "compressed")
    for word in ("Nope-v0", "a:b:c", "./x", "\x1b[31m", " "):
        refused(run("report", folder, "--env", word), "environment")
    assert not (folder / "report.html").exists()
    sweep = sweep_folder(tmp_path / "sweep", synthetic.sweep(("Hopper-v5",), seeds=2))
    refused(run("report", sweep, "--env", "Hopper-v5"), "--env Hopper-v5", "nothing is played")


def test_hostile_words_of_a_result_reach_neither_terminal_nor_markup(run: Run, tmp_path: Path) -> None:
    data = synthetic.sweep(("Hopper-v5",), seeds=2)
    data["title"] = "<script>alert(1)</script>[red]"
    data["failed"] = [{"name": "x", "reason": "\x1b[31m</td><script>"}]
    folder = sweep_folder(tmp_path, data)
    code, out, err = run("report", folder)
    assert (code, err) == (0, "")
    assert "<script>alert(1)</script>[red]" in out
    text = (folder / "report.html").read_text()
    assert text.count("<script") == 1
    assert "\\x1b[31m&lt;/td&gt;" in text
