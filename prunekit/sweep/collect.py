"""All results of a sweep as one file, and as a table: a row per environment, length and method."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, final

import numpy as np

from prunekit.console import size_name
from prunekit.files import write_together
from prunekit.stats.bootstrap import interquartile_mean
from prunekit.sweep.folder import FORMAT, RESULTS, TABLE, VERSION
from prunekit.sweep.schedule import Schedule, random_returns_of
from prunekit.sweep.spec import Sweep

UNPRUNED = "unpruned"


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """What one method came to, over its seeds. ``retention`` is of interquartile means, None without a reference."""

    environment: str
    algorithm: str
    steps: int
    method: str
    seeds: int
    asked: int
    hidden: str
    parameters: str
    interquartile_mean: float
    returns: tuple[float, ...]
    retention: float | None
    minutes: float


def collected(sweep: Sweep, schedule: Schedule) -> dict[str, Any]:
    """Return everything that is known of a sweep, in the form of ``results.json``."""
    results = [schedule.results[name] for name in schedule.cells if name in schedule.results]
    names = list(dict.fromkeys(method for grid in sweep.grids for method in grid.methods))
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": sweep.title,
        "episodes": sweep.episodes,
        "first_seed": sweep.first_seed,
        "methods": {name: {"of": sweep.methods[name].needs, "control": sweep.methods[name].control} for name in names},
        "disturbances": {
            name: {"observation_noise": entry.observation_noise, "delay_steps": entry.delay_steps}
            for name, entry in sweep.disturbances.items()
        },
        "random": random_returns_of(schedule),
        "cells": results,
        "failed": [{"name": name, "reason": reason} for name, reason in schedule.failures.items()],
        "missing": [name for name in schedule.cells if name not in schedule.results and name not in schedule.failures],
    }


def write_results(results: Mapping[str, Any], folder: Path) -> None:
    """Write ``results.json`` and the table as Markdown."""
    text = f"# {results['title']}\n\n{markdown(results)}\n"
    write_together({folder / TABLE: text.encode(), folder / RESULTS: (to_text(results) + "\n").encode()})


def to_text(results: Mapping[str, Any]) -> str:
    """Return results as JSON with a line per cell, so that a file of them can be compared line by line."""
    head = {key: value for key, value in results.items() if key != "cells"}
    cells = ",\n".join(json.dumps(cell, allow_nan=False) for cell in results["cells"])
    return f'{json.dumps(head, allow_nan=False, indent=1)[:-2]},\n "cells": [\n{cells}\n ]\n}}'


def rows_of(results: Mapping[str, Any]) -> list[Row]:
    """Return the table's rows, environments and methods in the order of the file."""
    order = {name: place for place, name in enumerate(results["methods"])}
    places = {name: place for place, name in enumerate(dict.fromkeys(cell["environment"] for cell in results["cells"]))}

    def key(cell: Mapping[str, Any]) -> tuple[int, str, int, int]:
        return (places[cell["environment"]], cell["algorithm"], cell["steps"], order.get(cell["method"], len(order)))

    rows: list[Row] = []
    reference: dict[tuple[int, str, int], float] = {}
    for found, entries in groupby(sorted(results["cells"], key=key), key):
        cells = sorted(entries, key=lambda cell: int(cell["seed"]))
        first = cells[0]
        means = [statistics.fmean(cell["returns"]) for cell in cells]
        middle = interquartile_mean(np.asarray(means))
        if first["method"] == UNPRUNED:
            reference[found[:3]] = middle
        floor = results["random"].get(first["environment"])
        unpruned = reference.get(found[:3])
        kept = None
        if floor is not None and unpruned is not None and unpruned > statistics.fmean(floor):
            kept = (middle - statistics.fmean(floor)) / (unpruned - statistics.fmean(floor))
        missing = [
            name for name in results["missing"] if name.startswith(first["name"].rpartition("-seed")[0] + "-seed")
        ]
        rows.append(
            Row(
                environment=first["environment"],
                algorithm=first["algorithm"],
                steps=first["steps"],
                method=first["method"],
                seeds=len(cells),
                asked=len(cells) + len(missing),
                hidden=_shown([size_name(tuple(cell["hidden"])) for cell in cells]),
                parameters=_shown([f"{cell['parameters']:,}" for cell in cells]),
                interquartile_mean=middle,
                returns=tuple(means),
                retention=kept,
                minutes=statistics.fmean(cell["seconds"] for cell in cells) / 60.0,
            )
        )
    return rows


def markdown(results: Mapping[str, Any]) -> str:
    """Return the table in Markdown."""
    head = ["environment", "algorithm", "steps", "method", "seeds", "hidden units", "parameters", "return (IQM)",
            "retention", "each seed", "training, min"]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows_of(results):
        cells = [
            row.environment,
            row.algorithm,
            f"{row.steps:,}",
            row.method,
            str(row.seeds) if row.seeds == row.asked else f"{row.seeds} of {row.asked}",
            row.hidden,
            row.parameters,
            f"{row.interquartile_mean:,.1f}",
            "" if row.retention is None else f"{row.retention:.3f}",
            ", ".join(f"{value:,.0f}" for value in row.returns),
            f"{row.minutes:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(texts: Sequence[str]) -> str:
    different = list(dict.fromkeys(texts))
    return ", ".join(different) if len(different) <= 5 else f"{different[0]}, ... ({len(different)})"
