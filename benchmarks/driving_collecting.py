"""What was driven, compressed and measured by now, as the committed result."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
from compressing.runs import ROOT, search_in
from driving_tasks import FIRST_SEED, KEEP, TASKS, compact, drives, folder
from record import read_result, write_result

from prunekit.stats.frequency import share_upper_bound

Entry = dict[str, Any]


def collect(command: str) -> None:
    """Write the committed result from what is done here, or was committed; says what is missing."""
    before = read_result("driving") or {}
    committed = {(entry["env"], entry["seed"]): entry for entry in before.get("runs", [])}
    wanted = [(name, seed) for name, task in TASKS.items() for seed in task.trained]
    found = {key: _run(*key) or committed.get(key) for key in wanted}
    entries = {
        "keep": KEEP,
        "first_seed": FIRST_SEED,
        "packages": {name: version(name) for name in ("envpool", "highway-env")},
        "search": asdict(search_in(ROOT)),
        "missing": [f"{name}-seed{seed}" for (name, seed), entry in found.items() if entry is None],
        "controls": {name: _controls(name) or before.get("controls", {}).get(name) for name in TASKS},
        "runs": [entry for entry in found.values() if entry],
    }
    print(write_result("driving", command, entries), f"missing: {entries['missing']}")


def _controls(name: str) -> Entry | None:
    played = {policy: _driven(name, 0, policy) for policy in ("random", "control")}
    return {**played, "called": TASKS[name].called} if all(played.values()) else None


def _run(name: str, seed: int) -> Entry | None:
    """Return all that is known of a teacher here; None where it was not trained."""
    told, board = folder(name, seed) / "train.json", compact(name, seed) / "board.json"
    if not told.exists():
        return None
    return {
        "env": name,
        "seed": seed,
        "trained_by": TASKS[name].way.value,
        "training": json.loads(told.read_text()),
        "compressed": _compression(name, seed),
        "driven": {policy: _driven(name, seed, policy) for policy in ("teacher", "compact")},
        "board": json.loads(board.read_text()) if board.exists() else None,
    }


def _compression(name: str, seed: int) -> Entry | None:
    """Return what a compression came to; None where it was not run."""
    told, certified = compact(name, seed) / "asked.json", compact(name, seed) / "certificate.json"
    if not (told.exists() and certified.exists()):
        return None
    found = json.loads(certified.read_text())
    names = ("certified", "hidden", "parameters", "tuned", "learned_in", "environment_steps", "teacher")
    certificate = {key: value for key, value in found["certificate"].items() if key not in ("selection", "seeds")}
    return {**json.loads(told.read_text()), **{key: found[key] for key in names}, "certificate": certificate}


def _driven(name: str, seed: int, policy: str) -> Entry | None:
    """Return returns and ends of the parts that were played, with the bound of the crash rate."""
    parts = [json.loads(path.read_text()) for path in drives(name, seed, policy) if path.exists()]
    if not parts:
        return None
    returns, crashed, succeeded = (
        [value for part in parts for value in part[key]] for key in ("returns", "crashed", "succeeded")
    )
    return {
        "episodes": len(returns),
        "mean": float(np.mean(returns)),
        "crashes": sum(crashed),
        "crash_rate_upper_bound": share_upper_bound(crashed),
        "can_succeed": TASKS[name].has_goal,
        "successes": sum(succeeded),
        "steps": sum(sum(part["steps"]) for part in parts),
        "cpu_seconds": sum(part["cpu_seconds"] for part in parts),
        "returns": [round(value, 4) for value in returns],
        "crashed": [index for index, value in enumerate(crashed) if value],
    }
