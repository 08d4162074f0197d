"""The work of one cell: train or compress, shrink, export, play. It can continue from every checkpoint.

An executor's workers run these functions, so they are found by name and take plain records.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol, TextIO, final

from prunekit.compression.read import read_teacher
from prunekit.compression.run import compress, write
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.task import Task
from prunekit.console import size_name
from prunekit.errors import CheckError
from prunekit.export.onnx import checked_onnx
from prunekit.files import write_atomically
from prunekit.policy.artifact import load
from prunekit.policy.compaction import compact
from prunekit.sweep.cells import Cell
from prunekit.sweep.evaluation import evaluate, random_evaluation, summarized
from prunekit.training.branch import Trunk, branch
from prunekit.training.config import NAME
from prunekit.training.run import train, train_until
from prunekit.training.status import Status
from prunekit.versions import installed_versions

RESULT, FAILURE, LOG, RUN, POLICY = "result.json", "failure.json", "log.txt", "run", "policy.onnx"
_POINTS = 40
"""Points of a training curve that a result keeps, at most."""


class Context(Protocol):
    """What a worker provides to a job."""

    def report(self, event: Any) -> None:
        """Send ``event`` to the main process."""


@final
@dataclass(frozen=True, kw_only=True)
class CellWork:
    """A cell, its folder, and inputs from other cells: widths, the model to compress, a trunk's checkpoint."""

    cell: Cell
    folder: Path
    widths: tuple[int, ...] | None = None
    teacher: Path | None = None
    trunk: Path | None = None


@final
@dataclass(frozen=True, kw_only=True)
class TrunkWork:
    """The run with which several cells begin."""

    trunk: Trunk
    folder: Path


@final
@dataclass(frozen=True, kw_only=True)
class RandomWork:
    """The random policy of an environment."""

    environment: str
    kwargs: dict[str, Any]
    seeds: tuple[int, ...]
    file: Path


def run_cell(work: CellWork, context: Context) -> dict[str, Any]:
    """Do the remaining work of a cell and return its result, which is then in its folder.

    Raises CheckError if training ended before the masks were final.
    """
    with logged(work.folder / LOG):
        outcome = _compressed(work, context) if work.cell.request is None else _trained(work, context)
        cell = work.cell
        context.report({"phase": "playing"})
        seeds = range(cell.first_seed, cell.first_seed + cell.episodes)
        played = evaluate(work.folder / POLICY, (cell.environment, cell.kwargs), seeds, cell.disturbances)
        result = {
            **cell.identity,
            **outcome,
            "returns": summarized(played.returns),
            "disturbed": {name: summarized(values) for name, values in played.disturbed.items()},
            "asked": cell.asked,
            "date": _today(),
            "versions": installed_versions(),
        }
        text = json.dumps(result, allow_nan=False)
        for name in ("checkpoint", "tensorboard", "agent.zip", "vec_normalize.pkl"):  # megabytes that nobody needs
            _removed(work.folder / RUN / name)
        write_atomically(work.folder / RESULT, f"{text}\n".encode())  # last: a finished cell is not visited again
    return dict(json.loads(text))


def run_trunk(work: TrunkWork, context: Context) -> str:
    """Train to the point at which the cells of a trunk diverge; return the checkpoint's path."""
    with logged(work.folder / LOG):
        found = train_until(work.trunk.request, work.folder / RUN, work.trunk.steps, [_Reporting(context)])
    return str(found)


def run_random(work: RandomWork, _: Context) -> list[float]:
    """Return the random policy's returns, which are then in the work's file."""
    found = summarized(random_evaluation((work.environment, work.kwargs), work.seeds))
    write_atomically(work.file, (json.dumps({"returns": found}) + "\n").encode())
    return found


def _trained(work: CellWork, context: Context) -> dict[str, Any]:
    request = work.cell.request
    assert request is not None
    if work.widths is not None:
        request = replace(request, hidden=work.widths)
    run = work.folder / RUN
    if not (run / "model.pt").exists():
        begun = (run / NAME).is_file()
        if not begun:
            shutil.rmtree(run, ignore_errors=True)
        if not begun and work.trunk is not None:
            branch(work.trunk, request, run)
        done = train(request, run, [_Reporting(context)], resume=begun or work.trunk is not None, episodes=0)
        if not done.complete:
            (run / "model.pt").unlink()  # so a retry does not mistake it for a finished policy
            raise CheckError("training ended before the masks were final; give it more steps")
    artifact = load(run / "model.pt")
    small = compact(artifact)
    content, _ = checked_onnx(small.artifact.actor, work.folder / POLICY, small.artifact.provenance)
    write_atomically(work.folder / POLICY, content)
    return {
        "hidden": list(small.after.hidden),
        "original_hidden": list(small.original_hidden),
        "parameters": small.after.parameters,
        "seconds": float(artifact.provenance["seconds"]),
        "curve": curve_of(run / "metrics.csv"),
    }


def _compressed(work: CellWork, context: Context) -> dict[str, Any]:
    cell, teacher = work.cell, work.teacher
    assert teacher is not None
    task = Task(env_id=cell.environment, teacher_of=partial(read_teacher, teacher), kwargs=dict(cell.kwargs))
    context.report({"phase": f"compressing, {cell.method.minutes:g} min at most"})
    search = SearchSettings(keep=cell.method.keep, seed=cell.seed)
    found = compress(task, CompressSettings(search=search, seconds=60.0 * cell.method.minutes), workers=1)
    write(found, work.folder)
    program = compact(load(work.folder / "policy.pt")).after
    original = [] if found.teacher.size is None else list(found.teacher.size.hidden or [])
    return {
        "hidden": list(program.hidden),
        "original_hidden": original,
        "parameters": program.parameters,
        "seconds": round(found.seconds, 3),
        "curve": None,
        "certified": found.certified,
        "certificate": found.certificate.sentence if found.certified else None,
    }


def curve_of(path: Path) -> dict[str, Any]:
    """Return the training curve in a ``metrics.csv`` by columns: at most 40 points, including the last one.

    The return of a point is the mean since the previous point; None if no episode has ended. Other columns are copied.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    count = min(_POINTS, len(rows))
    ends = [len(rows) * (number + 1) // count for number in range(count)]
    parts = [rows[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    chosen = [part[-1] for part in parts]
    groups = [name for name in (rows[0] if rows else {}) if name.startswith("living_")]
    return {
        "steps": [int(row["steps"]) for row in chosen],
        "return": [_mean_return(part) for part in parts],
        "living": {name.removeprefix("living_"): [int(row[name]) for row in chosen] for name in groups},
        "seconds": [round(float(row["seconds"]), 1) for row in chosen],
    }


def _mean_return(rows: Sequence[Mapping[str, str]]) -> float | None:
    found = [float(row["mean_return"]) for row in rows if row["mean_return"]]
    return round(fmean(found), 1) if found else None


def model_of(folder: Path) -> Path:
    """Return the path of a finished cell's model."""
    return folder / RUN / "model.pt"


@final
class _Reporting:
    """Sends the status of a run to the main process."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def update(self, status: Status) -> None:
        """Send ``status`` as plain data."""
        self._context.report(
            {
                "phase": status.phase_name,
                "steps": status.steps,
                "total": status.total_steps,
                "return": status.mean_return,
                "hidden": size_name(tuple(living for living, _ in status.living.values())),
                "speed": status.steps_per_second,
            }
        )


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Append what libraries print, even to the system's own streams, to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as log:
        kept = []
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            _flush(stream)
            kept.append(os.dup(number))
            os.dup2(log.fileno(), number)
        try:
            yield
        finally:
            for stream, number, before in ((sys.stdout, 1, kept[0]), (sys.stderr, 2, kept[1])):
                _flush(stream)
                os.dup2(before, number)
                os.close(before)


def _flush(stream: TextIO | None) -> None:
    if stream is not None:
        with suppress(OSError, ValueError):  # one that is closed, or leads nowhere
            stream.flush()


def _removed(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")
