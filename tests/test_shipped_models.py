"""The shipped policies: what `prunekit bench` compares when there is no run, what cards say, and what files earn."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import onnxruntime
import pytest

from prunekit.benching.compare import BenchSettings, run_bench
from prunekit.benching.defaults import default_models
from prunekit.console import size_name
from prunekit.devices import devices_named
from prunekit.environments import make_environment
from prunekit.export.onnx import read_metadata
from prunekit.policy.artifact import load
from prunekit.policy.program import lower

ROOT = Path(__file__).parents[1]
EPISODES = 20
FOLDERS = sorted(path for path in (ROOT / "models").iterdir() if path.is_dir())


def test_without_a_run_the_shipped_policies_are_compared(tmp_path: Path) -> None:
    models = default_models(tmp_path / "runs")
    assert [path.name for path in models] == ["dense.onnx", "compact.onnx"]
    settings = BenchSettings(episodes=3, calls=10, paced_ticks=1)
    result = run_bench(models, devices_named(["cpu"]), settings)
    assert [device["cpu"].mean for device in result.devices] == [500.0, 500.0]


def result_of(folder: Path) -> dict[str, Any]:
    """Return the compression that the shipped policy comes from."""
    runs = json.loads((ROOT / "benchmarks" / "results" / "shipped_models.json").read_text())["runs"]
    found = re.search(r"--seed (\d+)", (folder / "README.md").read_text())
    assert found is not None
    seed = int(found[1])
    return next(run for run in runs if (f"{run['env']}-ppo", run["seed"]) == (folder.name, seed))


def certificate_of(run: dict[str, Any]) -> dict[str, Any]:
    return next(entry for entry in run["tested"] if entry["size"] == size_name(tuple(run["hidden"])))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_card_says_what_the_files_and_the_result_say(folder: Path) -> None:
    card, run = (folder / "README.md").read_text(), result_of(folder)
    program = lower(load(folder / "compact.pt").actor)
    assert (program.hidden, program.parameters) == (tuple(run["hidden"]), run["parameters"])
    for name in ("dense.onnx", "compact.onnx"):
        assert f"{(folder / name).stat().st_size:,}" in card
    assert f"value: {mean(certificate_of(run)['returns']['small']):.2f} +/-" in card
    assert run["certified"]
    certificate = read_metadata(folder / "compact.onnx")["certificate"]
    count = certificate["episodes"]
    assert (certificate["verdict"], certificate["seeds"]) == ("certified", certificate_of(run)["seeds"][:count])
    assert certificate["claim"] in card
    assert f"shown in {count} fresh episodes" in certificate["claim"]
    assert certificate["claim"] == load(folder / "compact.pt").provenance["certificate"]["claim"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_compact_file_reaches_the_card_s_return_in_plain_onnxruntime(folder: Path) -> None:
    entry = certificate_of(result_of(folder))
    session = onnxruntime.InferenceSession(folder / "compact.onnx")
    env = make_environment(folder.name.removesuffix("-ppo"))
    returns = []
    for seed in entry["seeds"][:EPISODES]:
        (obs, _), total, over = env.reset(seed=seed), 0.0, False
        while not over:
            action = session.run(["action"], {"obs": obs[None].astype(np.float32)})[0][0]
            obs, reward, terminated, truncated, _ = env.step(action)
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    env.close()
    noted = np.array(entry["returns"]["small"])
    # The same episodes: chaos lets rounding on another processor change single ones, not their mean.
    error = noted.std() / EPISODES**0.5
    assert np.mean(returns) == pytest.approx(noted[:EPISODES].mean(), abs=error + 0.01 * abs(noted.mean()))
