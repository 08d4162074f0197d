"""The tables of the study: which pairs of runs are compared, and how a difference is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sweep_tables import ablations_sweep_table, kept_in_longest_runs, pairs_table

VERSIONS = dict.fromkeys(("gymnasium", "mujoco", "stable-baselines3", "torch", "onnxruntime"), "1")
Runs = Mapping[tuple[str, int, str], Sequence[float]]
"""Returns by seed, of environment, steps and method."""
STUDY: Runs = {
    ("A-v0", 900, "unpruned"): [110.0, 110.0, 110.0],
    ("A-v0", 900, "masked 0.93"): [90.0, 90.0, 90.0],
    ("A-v0", 900, "linear"): [100.0, 80.0, 91.0],
    ("A-v0", 900, "rare"): [100.0, 80.0, 91.0],
    ("B-v0", 900, "unpruned"): [2010.0, 2010.0, 2010.0],
    ("B-v0", 900, "masked 0.93"): [1010.0, 1010.0, 1010.0],
    ("B-v0", 900, "linear"): [1410.0, 1410.0, 1010.0],
    ("B-v0", 100, "unpruned"): [20.0, 20.0, 20.0],
    ("B-v0", 100, "masked 0.93"): [13.0, 13.0, 13.0],
    ("B-v0", 100, "linear"): [-500.0, -500.0, -500.0],
}
"""The random policy earns 10. ``linear`` keeps 0.1, -0.1, 0.01, 0.2, 0.2 and 0 more than ``masked 0.93``."""


def result_of(runs: Runs) -> dict[str, Any]:
    cells = [
        {
            "name": f"{environment} {steps} {method} {seed}", "environment": environment, "algorithm": "ppo",
            "steps": steps, "method": method, "seed": seed, "hidden": [4], "parameters": 9, "seconds": 1.0,
            "returns": [value],
        }
        for (environment, steps, method), values in runs.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    return {
        "format": "prunekit.sweep", "version": 1, "title": "Made up", "episodes": 1, "first_seed": 0, "cells": cells,
        "random": {"A-v0": [10.0], "B-v0": [10.0]}, "methods": {method: {} for _, _, method in runs},
        "command": "python benchmarks/sweeps.py", "date": "2026-01-01", "versions": VERSIONS,
    }  # fmt: skip


def rows_of(text: str) -> dict[str, list[str]]:
    rows = [[part.strip() for part in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in rows[2:]}


def test_pairs_of_the_longest_runs_are_compared_in_retention() -> None:
    rows = rows_of(pairs_table(result_of(STUDY)))
    assert rows["linear"] == ["2", "6", "+0.07 ± 0.10, noise", "3", "2", "1"]
    assert rows["unpruned"] == ["2", "6", "+0.35 ± 0.13", "6", "0", "0"]
    assert rows.keys() == {"linear", "unpruned"}, "three pairs are too few, and masked training is the base"


def test_a_seed_that_only_one_method_ran_is_no_pair() -> None:
    runs = {**STUDY, ("A-v0", 900, "linear"): [100.0, 80.0, 91.0, 10_000.0]}
    assert rows_of(pairs_table(result_of(runs)))["linear"] == rows_of(pairs_table(result_of(STUDY)))["linear"]


def test_rows_of_the_ablations_give_the_same_difference_to_their_base() -> None:
    runs = {
        (environment, 900, "default" if method == "masked 0.93" else method): values
        for (environment, steps, method), values in STUDY.items()
        if steps == 900
    }
    rows = rows_of(ablations_sweep_table(result_of(runs)))
    assert rows["linear"][:3] == ["+0.07 ± 0.10, noise (6)", "90 (+0, noise)", "100, 80, 91"]
    assert rows["base"][:2] == ["", "90"]
    assert rows["rare"][0] == ""


def test_retention_is_that_of_the_longest_runs_that_have_the_method() -> None:
    assert kept_in_longest_runs(result_of(STUDY)) == pytest.approx({"A-v0": 0.8, "B-v0": 0.5})
    without = {key: values for key, values in STUDY.items() if key != ("B-v0", 900, "masked 0.93")}
    assert kept_in_longest_runs(result_of(without)) == pytest.approx({"A-v0": 0.8, "B-v0": 0.3})
