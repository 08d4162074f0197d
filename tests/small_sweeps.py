"""Sweep files that are small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from killing.sweeps import METHODS

from prunekit.sweep.cells import Cell

SMALL = f"""
title = "Small"
episodes = 3
first_seed = 500
{METHODS}
[disturbances."delay 1"]
delay_steps = 1

[[grid]]
environments = ["CartPole-v1"]
algorithms = ["ppo"]
methods = ["unpruned", "masked 0.9", "from scratch", "linear"]
seeds = [0]
steps = [4096]
disturbances = ["delay 1"]
"""

SHARING = (
    SMALL.replace("n_steps = 32", "n_steps = 8\nn_epochs = 20")
    .replace("batch_size = 64", "batch_size = 16")
    .replace("steps = [4096]", "steps = [2240]")
)
"""The unpruned and the masked cell begin alike, as there are optimizer steps before units are looked at."""


def sweep_file(folder: Path, text: str = SMALL) -> Path:
    path = folder / "sweep.toml"
    path.write_text(text)
    return path


def made_up(cell: Cell) -> dict[str, Any]:
    """Return a result of ``cell`` as its file holds it, without running anything."""
    result = {
        **cell.identity,
        "hidden": [4, 3],
        "original_hidden": [32, 32],
        "parameters": 50,
        "seconds": 1.5,
        "curve": {"steps": [1, 2], "return": [None, 2.0], "living": {"0": [32, 4]}, "seconds": [0.1, 0.2]},
        "returns": [float(index) for index in range(cell.episodes)],
        "disturbed": {name: [1.0] * cell.episodes for name in cell.disturbances},
        "asked": cell.asked,
        "date": "2026-01-01",
        "versions": {"python": "3.12"},
    }
    return dict(json.loads(json.dumps(result)))


def results_file(path: Path, entries: list[Any], **changes: Any) -> Path:
    """Write a ``results.json`` of ``entries``."""
    head = {"format": "prunekit.sweep", "version": 1, "title": "Small", "episodes": 3, "first_seed": 500, "random": {}}
    path.write_text(json.dumps({**head, "methods": {}, "cells": entries, **changes}))
    return path
