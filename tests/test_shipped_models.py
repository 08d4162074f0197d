"""The shipped policies: what `prunekit bench` compares when there is no run, and what their cards say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from prunekit.bench.compare import BenchSettings, run_bench
from prunekit.bench.defaults import default_models
from prunekit.devices import devices_named
from prunekit.policy.artifact import load
from prunekit.policy.program import lower

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path for path in (ROOT / "models").iterdir() if path.is_dir())


def test_without_a_run_the_shipped_policies_are_compared(tmp_path: Path) -> None:
    models = default_models(tmp_path / "runs")
    assert [path.name for path in models] == ["dense.onnx", "compact.onnx"]
    settings = BenchSettings(episodes=3, calls=10, paced_ticks=1)
    result = run_bench(models, devices_named(["cpu"]), settings)
    assert [device["cpu"].mean for device in result.devices] == [500.0, 500.0]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_card_says_what_the_files_and_the_result_say(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    program = lower(load(folder / "compact.pt").actor)
    assert "x".join(map(str, program.hidden)) in card
    assert f"{(folder / 'compact.onnx').stat().st_size:,}" in card
    result = json.loads((ROOT / "benchmarks" / "results" / "demo.json").read_text())
    measured = result["bench"]["models"][1]["devices"]["cpu"]["return"]["mean"]
    assert re.search(rf"value: {re.escape(str(measured))}\b", card)
