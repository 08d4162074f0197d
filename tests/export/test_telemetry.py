"""ONNX Runtime reports nothing, leaves no file and says nothing where it can write none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from onnx_graphs import model_of, node

import prunekit

READ = """
import os, sys
before = dict(os.environ)
from pathlib import Path
from prunekit.bench.memory import measure_memory
from prunekit.bench.models import read_model
model = read_model(Path(sys.argv[1]))
measure_memory(model, 4)
assert dict(os.environ) == before, "the environment was changed"
"""


@pytest.mark.parametrize("writable", [True, False])
def test_no_file_is_left_and_nothing_is_said(tmp_path: Path, writable: bool) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model_of([node("Relu", ["x"], ["y"])]).SerializeToString())
    home = tmp_path / "home" if writable else Path("/proc/nowhere")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (tmp_path / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment = {
        **kept,
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(Path(prunekit.__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [found for folder in ("home", "temporary") for found in (tmp_path / folder).rglob("*")] == []
