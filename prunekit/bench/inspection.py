"""What ``prunekit inspect`` says of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from prunekit.bench.models import read_model
from prunekit.policy.artifact import load

_LONG = 100


def inspect_model(path: Path) -> dict[str, Any]:
    """Return sizes and provenance of the file, and living units per group for a ``.pt``; raises as ``read_model``."""
    model = read_model(path)
    facts: dict[str, Any] = {
        "file": str(path),
        "size_bytes": model.size_bytes,
        "hidden": list(model.hidden),
        "units": model.units,
        "parameters": model.parameters,
        "macs": model.macs,
        "onnx_bytes": len(model.content),
    }
    if path.suffix.lower() == ".pt":
        masks = load(path).masks
        facts["living_units"] = {name: [int(keep.sum()), keep.numel()] for name, keep in masks.items()}
    return facts | {key: value for key, value in model.metadata.items() if key not in {*facts, "sizes"}}


def render(facts: dict[str, Any]) -> Table:
    """Return ``facts`` as a two-column table; long entries are cut (``--json`` has them whole)."""
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value)
        table.add_row(key, Text(text if len(text) <= _LONG else text[: _LONG - 3] + "..."))
    return table
