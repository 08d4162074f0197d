"""Policies in ONNX are inspected, exported and measured where torch, Gymnasium and their like are missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from hidden_packages import LARGE, run_code_without, run_without

MODELS = Path(__file__).parents[1] / "models" / "CartPole-v1-ppo"
POLICY = MODELS / "compact.onnx"


def test_inspect_reads_onnx(tmp_path: Path) -> None:
    done = run_without(LARGE, "inspect", POLICY, "--json", tmp_path / "facts.json", folder=tmp_path / "hidden")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "facts.json").read_text())["parameters"] > 0


@pytest.mark.parametrize("form", ["c", "onnx"])
def test_export_writes_c_and_onnx(form: str, tmp_path: Path) -> None:
    done = run_without(LARGE, "export", POLICY, "--format", form, "--out", tmp_path, folder=tmp_path / "hidden")
    assert done.returncode == 0, done.stderr
    assert "NumPy" in done.stdout
    assert "torch" not in done.stdout
    made = tmp_path / f"compact.{form}"
    if form == "onnx":
        onnx.checker.check_model(onnx.load(made))
    else:
        assert "compact_action" in made.read_text()


def test_export_takes_ranges_of_integers_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "seen.npy", np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32))
    words = ("--format", "c", "--int8", "--observations", tmp_path / "seen.npy", "--out", tmp_path)
    done = run_without(LARGE, "export", POLICY, *words, folder=tmp_path / "hidden")
    assert done.returncode == 0, done.stderr


def test_bench_measures_cost_alone_and_says_so(tmp_path: Path) -> None:
    words = (MODELS / "dense.onnx", POLICY, "--json", tmp_path / "bench.json")
    done = run_without(LARGE, "bench", *words, folder=tmp_path / "hidden")
    assert done.returncode == 0, done.stderr
    assert "No returns were measured: gymnasium is not installed." in done.stdout
    assert "retention" not in done.stdout
    found = json.loads((tmp_path / "bench.json").read_text())
    assert (found["env"], found["random"]) == (None, None)
    assert all(model["devices"]["cpu"]["latency_us"]["p50"] > 0 for model in found["models"])


@pytest.mark.parametrize(
    ("arguments", "package"),
    [
        (("inspect", MODELS / "compact.pt"), "pip install torch"),
        (("bench", POLICY, "--env", "CartPole-v1"), "pip install gymnasium"),
        (("bench", MODELS / "dense.onnx", POLICY, "--keep", 0.9), "pip install gymnasium"),
        (("train",), "pip install gymnasium"),
    ],
)
def test_what_needs_a_missing_package_names_it(arguments: tuple[object, ...], package: str, tmp_path: Path) -> None:
    done = run_without(LARGE, *arguments, folder=tmp_path / "hidden")
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert package in done.stderr


@pytest.mark.parametrize("name", ["compress", "bench", "Pruner", "Actor"])
def test_a_name_of_the_package_that_needs_a_missing_one_names_it(name: str, tmp_path: Path) -> None:
    done = run_code_without(LARGE, f"import prunekit\nprunekit.{name}", folder=tmp_path / "hidden")
    assert done.returncode == 1
    told = done.stderr.splitlines()[-1]
    assert told.startswith(f"prunekit.errors.InputError: prunekit.{name} needs the package ")
    assert "pip install" in told
