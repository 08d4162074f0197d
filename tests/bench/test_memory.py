"""Memory, measured in a process of its own that holds nothing but ONNX Runtime."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from foreign_models import DOUBLE, FLOAT, write_product

from prunekit import CheckError
from prunekit.benching import memory
from prunekit.benching.memory import measure_memory
from prunekit.benching.models import BenchModel, read_model

CHILD = Path(memory.__file__).with_name("memory_child.py")
needs_smaps = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell")


def product(path: Path, width: int, dtype: int = FLOAT) -> BenchModel:
    weight = np.random.default_rng(0).normal(size=(8, width))
    return read_model(write_product(path, weight, dtype=dtype))


@needs_smaps
def test_a_big_model_costs_its_weights_once_and_again_for_each_copy(tmp_path: Path) -> None:
    big, tiny = product(tmp_path / "big.onnx", 1_000_000), product(tmp_path / "tiny.onnx", 4)
    of_big, of_tiny = (measure_memory(model, 8, copies=4) for model in (big, tiny))
    assert of_big is not None
    assert of_tiny is not None
    assert of_big.marginal_memory_bytes - of_tiny.marginal_memory_bytes > 0.9 * big.weight_bytes
    # Shared pages are counted by share, so other processes move this figure by megabytes; the weights are 32 MB.
    assert of_big.memory_bytes - of_tiny.memory_bytes > 0.5 * big.weight_bytes


@needs_smaps
@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE])
def test_the_child_holds_neither_torch_nor_this_package(tmp_path: Path, dtype: int) -> None:
    model = product(tmp_path / "m.onnx", 4, dtype)
    code = (
        "import runpy, sys; path = sys.argv.pop(1); runpy.run_path(path, run_name='__main__');"
        "sys.exit(', '.join({'torch', 'prunekit', 'onnx', 'gymnasium'} & set(sys.modules)) or 0)"
    )
    command = [sys.executable, "-I", "-c", code, str(CHILD), str(model.path), "8", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["runtime_bytes"] > 1_000_000
    assert figures["memory_bytes"] < figures["runtime_bytes"], "the runtime's own memory is not the model's"
    assert "marginal_memory_bytes" in figures


@needs_smaps
def test_a_child_that_fails_is_an_error_with_the_models_name() -> None:
    broken = BenchModel(
        path=Path("somewhere/broken.onnx"), content=b"no model", size_bytes=8, hidden=(), parameters=0, macs=0
    )
    with pytest.raises(CheckError, match=r"broken\.onnx: memory could not be measured \(.+\)") as failure:
        measure_memory(broken, 8)
    assert "\n" not in str(failure.value)


def test_a_system_that_does_not_tell_gives_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = product(tmp_path / "m.onnx", 4)
    monkeypatch.setattr(Path, "exists", lambda path: "smaps" not in path.name)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("there is nothing to measure with"))
    assert measure_memory(model, 8) is None
