"""The page of ``bench``: what is known stands there, and a file's name stays a name."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from bench_results import UNMEASURED, certificate, figures, result_of
from test_run_folder import write_run

from prunekit.benching.models import read_model
from prunekit.benching.result import BenchResult
from prunekit.benching.settings import BenchSettings
from prunekit.report.bench_page import bench_page
from prunekit.report.html import to_html
from prunekit.report.page import CertificateBlock, ClipsBlock, Figure, Note, Page
from prunekit.report.rollouts import Actors

MODELS = Path(__file__).parents[2] / "models" / "CartPole-v1-ppo"
Calls = list[Actors]


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Leave out the drawing of episodes; return what was asked for."""
    asked: Calls = []

    def clips(actors: Actors) -> Note:
        asked.append(actors)
        return Note(text="clips")

    monkeypatch.setattr("prunekit.report.bench_page.clips_of", clips)
    return asked


def result_with(folder: Path) -> BenchResult:
    """Return a result about copies of the shipped policies, the compact one in a file of a hostile name."""
    shutil.copy(MODELS / "dense.pt", folder / "dense.pt")
    evil = folder / "<script>alert(1)<"
    evil.mkdir()
    shutil.copy(MODELS / "compact.onnx", evil / "script>.onnx")
    models = [read_model(folder / "dense.pt"), read_model(evil / "script>.onnx")]
    result = result_of(models, [figures(6.9, 532_480), figures(4.6, 128_000)])
    certificates = (None, certificate(99.9, 200))
    settings = BenchSettings(episodes=4, keep=0.95)
    return replace(result, environment=("CartPole-v1", {}), certificates=certificates, settings=settings)


def blocks_of(page: Page, title: str) -> tuple[object, ...]:
    return next(section.blocks for section in page.sections if section.title == title)


@pytest.mark.usefixtures("played")
def test_the_page_says_what_was_measured(tmp_path: Path) -> None:
    page = bench_page(result_with(tmp_path))
    titles = ["Size and return", "Certificates", "Latency and memory", "In motion", "The smallest network"]
    assert [section.title for section in page.sections] == titles
    assert [entry.value for entry in page.headlines] == ["9", "1", "0.973", "certified"]
    assert [table.title for table in page.tables] == ["Sizes", "Retention", "cpu"]
    sizes = page.tables[0]
    assert [column.name for column in sizes.columns][:3] == ["policy", "hidden units", "units removed"]
    assert [row[1].text for row in sizes.rows] == ["256x256", "1"]
    assert [row[0].key for row in sizes.rows] == ["0", "1"]
    shown = [block.title for block in blocks_of(page, "Latency and memory") if isinstance(block, Figure)]
    assert shown == ["Latency", "Memory"]
    (found,) = blocks_of(page, "Certificates")
    assert isinstance(found, CertificateBlock)
    assert found.good
    (network,) = blocks_of(page, "The smallest network")
    assert isinstance(network, Figure)
    assert "4 observed values at the left, 1 hidden unit, 2 outputs" in network.caption


@pytest.mark.usefixtures("played")
def test_a_file_s_name_is_no_markup(tmp_path: Path) -> None:
    text = to_html(bench_page(result_with(tmp_path))).decode()
    assert len(re.findall("<script", text)) == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.onnx" in text


def test_the_models_play_in_their_environment_from_the_first_seed(tmp_path: Path, played: Calls) -> None:
    result = result_with(tmp_path)
    bench_page(replace(result, environment=("CartPole-v1", {"sutton_barto_reward": True})))
    bench_page(result, "module:CartPole-v1")
    assert [(entry.env_id, dict(entry.kwargs), entry.seed) for entry in played] == [
        ("CartPole-v1", {"sutton_barto_reward": True}, 10_000),
        ("module:CartPole-v1", {}, 10_000),
    ]
    assert played[0].paths == tuple(model.path for model in result.models)


@pytest.mark.usefixtures("played")
def test_training_is_shown_where_a_run_lies_beside_a_model(tmp_path: Path) -> None:
    result = result_with(tmp_path)
    write_run(tmp_path, 20)
    shown = blocks_of(bench_page(result), "Training")
    assert [block.title for block in shown if isinstance(block, Figure)] == [
        f"{tmp_path.name}: living units per layer",
        f"{tmp_path.name}: return in training",
    ]
    (tmp_path / "metrics.csv").write_text("nonsense")
    (note,) = blocks_of(bench_page(result), "Training")
    assert isinstance(note, Note)
    assert note.warning


@pytest.mark.usefixtures("played")
def test_what_was_not_measured_leaves_no_empty_chart(tmp_path: Path) -> None:
    result = result_with(tmp_path)
    devices = tuple(
        {"cpu": replace(entry["cpu"], figures=UNMEASURED, returns=(), ci95=None)} for entry in result.devices
    )
    page = bench_page(replace(result, devices=devices, certificates=(None, None)))
    shown = [block.title for section in page.sections for block in section.blocks if isinstance(block, Figure)]
    assert shown == ["Memory", "<script>alert(1)</script>.onnx"]
    assert to_html(page)


def test_the_whole_page_of_small_files_is_small(tmp_path: Path) -> None:
    page = bench_page(result_with(tmp_path))
    (clips,) = blocks_of(page, "In motion")
    assert isinstance(clips, ClipsBlock)
    assert len(to_html(page)) < 1_000_000
