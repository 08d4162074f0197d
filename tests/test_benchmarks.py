"""Benchmarks: the README says what the committed results say, and every result names how it came to be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RESULTS = sorted((BENCHMARKS / "results").glob("*.json"))


def test_the_readme_says_what_the_results_say() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "readme.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_result_names_command_date_and_versions(path: Path) -> None:
    result = json.loads(path.read_text())
    assert str(result["command"]).startswith("python benchmarks/")
    script = str(result["command"]).split(";")[0].split()[1]
    assert (BENCHMARKS.parent / result.get("replaced_by", script)).is_file()
    assert result["date"] >= "2026-01-01"
    assert {"python", "torch", "stable-baselines3", "gymnasium", "mujoco", "onnxruntime"} <= set(result["versions"])
