"""ONNX Runtime reports nothing, leaves no file and says nothing where it can write none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from onnx_graphs import model_of, node

import prunekit
from prunekit.benching.memory import measure_memory
from prunekit.benching.models import BenchModel

READ = """
import os, sys
before = dict(os.environ)
from pathlib import Path
from prunekit.export.session import tuned_session
tuned_session(Path(sys.argv[1]))
assert dict(os.environ) == before, "the environment was changed"
"""


def settings_of(folder: Path, home: Path) -> dict[str, str]:
    """Return the variables that say where programs keep files: the user's below ``home``, the others in ``folder``."""
    (folder / "temporary").mkdir()
    return {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(folder / "temporary")}


def left_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".onnx"]


@pytest.mark.parametrize("writable", [True, False])
def test_no_file_is_left_and_nothing_is_said(tmp_path: Path, writable: bool) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model_of([node("Relu", ["x"], ["y"])]).SerializeToString())
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    own = {"PYTHONPATH": str(Path(prunekit.__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    environment = kept | own | settings_of(tmp_path, tmp_path if writable else Path("/proc/nowhere"))
    command = [sys.executable, "-c", READ, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert left_in(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs /proc to tell memory")
def test_the_process_that_memory_is_measured_in_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = model_of([node("Relu", ["x"], ["y"])]).SerializeToString()
    for name, value in settings_of(tmp_path, tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    assert (
        measure_memory(
            BenchModel(path=Path("m.onnx"), content=content, size_bytes=len(content), hidden=(), parameters=0, macs=0),
            4,
        )
        is not None
    )
    assert left_in(tmp_path) == []
