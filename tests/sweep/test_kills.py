"""A sweep that is killed with SIGKILL at random moments ends with the table of one that was left alone."""

from __future__ import annotations

import random
from pathlib import Path

from killing.sweeps import left_behind, results_of, run_killed
from small_sweeps import SHARING, sweep_file

from prunekit.executors.serial import SerialExecutor
from prunekit.sweep.file import read_sweep
from prunekit.sweep.run import run_sweep


def test_a_killed_sweep_ends_as_one_left_alone(tmp_path: Path) -> None:
    file = sweep_file(tmp_path, SHARING.replace(', "linear"', ""))
    run_sweep(read_sweep(file), tmp_path / "whole", SerialExecutor)
    lived = run_killed(file, tmp_path / "killed", 2, random.Random(0), 9.0)
    assert lived
    assert results_of(tmp_path / "killed") == results_of(tmp_path / "whole")
    assert left_behind(tmp_path / "killed") == []
    assert not (tmp_path / "killed" / "trunks").exists()
