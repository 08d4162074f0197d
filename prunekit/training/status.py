"""The status of a run at one moment, shared by the display, ``metrics.csv`` and TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final

from prunekit.files import write_atomically


@final
@dataclass(frozen=True, kw_only=True)
class Status:
    """A run at ``steps`` of ``total_steps`` environment steps (whole rollouts), in a ``phase`` of ``Pruner.phase``.

    ``mean_return`` is over the episodes since the last record; None if none has ended. ``living`` maps a group to
    (living, all) units. ``seconds`` counts from the run's start. ``divergence`` is the largest of a check since the
    last record, and ``waiting`` the number of units that are due and still alive; None where removals have no limit.
    """

    steps: int
    total_steps: int
    seconds: float
    steps_per_second: float
    mean_return: float | None
    phase: str
    living: Mapping[str, tuple[int, int]]
    sparsity: float
    penalty: float
    divergence: float | None = None
    waiting: int | None = None

    @property
    def seconds_left(self) -> float:
        """The time left at the average speed so far; 0 if the last rollout runs past the end."""
        return self.seconds * max(self.total_steps - self.steps, 0) / max(self.steps, 1)

    @property
    def phase_name(self) -> str:
        """The phase as shown on terminals; files use ``dense`` for the unpruned phase."""
        return "unpruned" if self.phase == "dense" else self.phase

    def to_row(self) -> dict[str, float | int | str]:
        """Return the row of ``metrics.csv``."""
        row: dict[str, float | int | str] = {
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "steps_per_second": round(self.steps_per_second, 1),
            "mean_return": "" if self.mean_return is None else self.mean_return,
            "phase": self.phase,
            "sparsity": self.sparsity,
            "penalty": self.penalty,
        }
        row |= {f"living_{name}": living for name, (living, _) in self.living.items()}
        if self.divergence is not None and self.waiting is not None:
            row |= {"divergence": self.divergence, "waiting": self.waiting}
        return row


class Display(Protocol):
    """Shows the progress of a run."""

    def update(self, status: Status) -> None:
        """Show ``status``."""


@final
class MetricsFile:
    """The writer of ``metrics.csv``, with one row per status, flushed after every row."""

    def __init__(self, path: Path, go_on_from: int | None = None) -> None:
        """Start a new file, or keep the rows of an earlier run up to step ``go_on_from``."""
        self._path = path
        kept = [] if go_on_from is None or not path.is_file() else _rows_until(path, go_on_from)
        self._started = bool(kept)
        if kept:
            _write_rows(path, kept)
        else:
            path.unlink(missing_ok=True)

    def update(self, status: Status) -> None:
        """Append ``status``; the first one writes the header."""
        row = status.to_row()
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if not self._started:
                writer.writeheader()
            writer.writerow(row)
        self._started = True


def copy_rows(source: Path, target: Path, step: int, *, living: bool, limited: bool = False) -> None:
    """Start a ``metrics.csv`` at ``target`` with the rows of ``source`` up to ``step``; columns of units only if
    ``living``.

    With ``limited``, rows from before the first check get what they would have where removals have a limit.
    """
    found = _rows_until(source, step) if source.is_file() else []
    if found:
        kept = [index for index, name in enumerate(found[0]) if living or not name.startswith("living_")]
        rows = [[row[index] for index in kept] for row in found]
        if limited:
            new = {"divergence": "0.0", "waiting": "0"}
            added = [[*new] if number == 0 else [*new.values()] for number in range(len(rows))]
            rows = [row + more for row, more in zip(rows, added, strict=True)]
        _write_rows(target, rows)


def _write_rows(path: Path, rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_atomically(path, text.getvalue().encode())


def _rows_until(path: Path, step: int) -> list[list[str]]:
    """Return header and rows up to ``step``; empty if no row is complete."""
    with path.open(newline="", errors="replace") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    kept = [row for row in rows if len(row) == len(header) and row[0].isdecimal() and int(row[0]) <= step]
    return [header, *kept] if kept else []
