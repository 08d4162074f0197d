"""The progress of a training run, read from its folder as an untrusted file."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from prunekit.errors import ArtifactError

METRICS = "metrics.csv"
_MAX_BYTES = 32 * 2**20
_MAX_POINTS = 600
_LIVING = "living_"


@final
@dataclass(frozen=True, kw_only=True)
class Progress:
    """A run over its environment ``steps``: returns (None if no episode ended) and living units per group, [n] each."""

    steps: tuple[int, ...]
    returns: tuple[float | None, ...]
    living: dict[str, tuple[int, ...]]
    seconds: float


def progress_of(folder: Path) -> Progress | None:
    """Return the content of ``metrics.csv`` in ``folder``; None if there is none.

    Raises ArtifactError, naming the file, if a run would not write it.
    """
    path = folder / METRICS
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        with path.open(newline="", encoding="utf-8") as file:
            head, *rows = list(csv.reader(file)) or [[]]
        return _progress(head, [row for row in rows if len(row) == len(head)])
    except (OSError, ValueError, csv.Error) as error:
        raise ArtifactError(f"{path}: is not the record of a run ({error}); remove it, or restore it") from error


def _progress(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Progress:
    missing = [name for name in ("steps", "seconds", "mean_return") if name not in head]
    if missing:
        raise ValueError(f"it has no column {missing[0]}")
    if not rows:
        raise ValueError("it has no whole row")
    chosen = (
        rows
        if len(rows) <= _MAX_POINTS
        else [rows[round(i * (len(rows) - 1) / (_MAX_POINTS - 1))] for i in range(_MAX_POINTS)]
    )
    columns = {name: [row[index] for row in chosen] for index, name in enumerate(head)}
    return Progress(
        steps=tuple(int(text) for text in columns["steps"]),
        returns=tuple(_number(text) if text else None for text in columns["mean_return"]),
        living={
            name.removeprefix(_LIVING): tuple(int(text) for text in texts)
            for name, texts in columns.items()
            if name.startswith(_LIVING)
        },
        seconds=_number(columns["seconds"][-1]),
    )


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value
