"""Folders as ``sweep``, ``compress`` and ``train`` leave them, made without running any of these."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import synthetic

from prunekit.policy.artifact import load

MODELS = Path(__file__).parents[2] / "models"
CARTPOLE = MODELS / "CartPole-v1-ppo"


def sweep_folder(folder: Path, results: dict[str, Any] | None = None) -> Path:
    """Write ``results``, by default synthetic ones, as those of a sweep."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(synthetic.sweep() if results is None else results))
    return folder


def compress_folder(folder: Path) -> Path:
    """Write the shipped compact policy with the certificate that it holds, and a search that nobody made."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(CARTPOLE / "compact.pt", folder / "policy.pt")
    shutil.copy(CARTPOLE / "compact.onnx", folder / "policy.onnx")
    told = load(folder / "policy.pt").provenance
    point = {"tuned": False, "batches": 100, "tuning_steps": 0}
    frontier = [
        {"hidden": [14], "parameters": 100, "episodes": 80, "retention": 1.0, "good": True, **point},
        {"hidden": [2], "parameters": 16, "episodes": 4, "retention": -0.2, "good": False, **point},
        {"hidden": [], "parameters": 10, "episodes": 80, "retention": 0.99, "good": True, **point},
    ]
    result = {
        "env": told["env"],
        "teacher": told["teacher"],
        "certified": True,
        "hidden": [1],
        "parameters": 9,
        "tuned": False,
        "certificate": told["certificate"],
        "tested": [told["certificate"]],
        "frontier": frontier,
        "failures": ["a branch of the search ended early: lightning"],
        "seconds": 61.5,
        "core_share": 1.0,
        "environment_steps": 1000,
        "versions": told["versions"],
    }
    (folder / "certificate.json").write_text(json.dumps(result))
    return folder
