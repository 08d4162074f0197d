"""All results of a sweep as one file, and as tables: one per environment, algorithm and length."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunekit.files import write_together
from prunekit.report.markdown import to_markdown
from prunekit.report.sweep_results import FORMAT, VERSION, from_json
from prunekit.report.sweep_tables import (
    absent_table,
    all_summaries,
    disturbance_table,
    fallen_table,
    main_table,
    place_name,
    short_table,
)
from prunekit.sweep.folder import RESULTS, TABLE
from prunekit.sweep.schedule import Schedule
from prunekit.sweep.spec import Sweep


def collected(sweep: Sweep, schedule: Schedule) -> dict[str, Any]:
    """Return all results of a sweep in the form of ``results.json``."""
    failed = {name: reason for name, reason in schedule.failures.items() if name not in schedule.results}
    results = [schedule.results[name] for name in schedule.cells if name in schedule.results]
    names = list(dict.fromkeys(method for grid in sweep.grids for method in grid.methods))
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": sweep.title,
        "episodes": sweep.episodes,
        "first_seed": sweep.first_seed,
        "methods": {name: {"of": sweep.methods[name].needs, "control": sweep.methods[name].control} for name in names},
        "disturbances": {name: entry.to_json() for name, entry in sweep.disturbances.items()},
        "random": dict(schedule.random),
        "cells": results,
        "failed": [{"name": name, "reason": reason} for name, reason in failed.items()],
        "missing": [name for name in schedule.cells if name not in schedule.results and name not in failed],
    }


def write_results(results: Mapping[str, Any], folder: Path) -> None:
    """Write ``results.json``, and its tables in Markdown if there is a result."""
    write_together({folder / TABLE: markdown(results).encode(), folder / RESULTS: f"{to_text(results)}\n".encode()})


def markdown(results: Mapping[str, Any]) -> str:
    """Return the tables of every environment in Markdown."""
    found = from_json(results)
    parts = [f"# {found.title}"]
    for place, entries in all_summaries(found).items():
        tables = [main_table(found, place, entries), disturbance_table(found, place, entries)]
        parts += [f"## {place_name(place)}", *(to_markdown(entry) for entry in tables if entry is not None)]
    for table in (fallen_table(found), short_table(found), absent_table(found)):
        if table is not None:
            parts += [f"## {table.title}", to_markdown(table)]
    return "\n\n".join(parts) + "\n"


def to_text(results: Mapping[str, Any]) -> str:
    """Return results as JSON with one line per cell, so versions of the file can be compared by line."""
    head = {key: value for key, value in results.items() if key != "cells"}
    cells = ",\n".join(json.dumps(cell, allow_nan=False) for cell in results["cells"])
    return f'{json.dumps(head, allow_nan=False, indent=1)[:-2]},\n "cells": [\n{cells}\n ]\n}}'
