"""What ``prunekit inspect`` says of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from prunekit.bench.models import read_model
from prunekit.console import printable
from prunekit.errors import ArtifactError
from prunekit.policy.artifact import load

_LONG = 100
_MEASURED = (
    "file", "size_bytes", "hidden", "units", "parameters", "macs", "onnx_bytes", "living_units", "sampled_outputs",
    "sizes",
)  # fmt: skip


def inspect_model(path: Path) -> dict[str, Any]:
    """Return sizes and provenance of the file, and living units per group for a ``.pt``; raises as ``read_model``.

    What prunekit measures comes first, and nothing that the file says of itself takes its place.
    """
    model = read_model(path)
    for key in model.metadata:
        if not key.isidentifier():
            raise ArtifactError(f"{path}: its metadata has an entry '{key}', which is no name; export the model again")
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
    if model.sampled:
        facts["sampled_outputs"] = sorted(model.sampled)
    return facts | {key: value for key, value in model.metadata.items() if key not in _MEASURED}


def render(facts: dict[str, Any]) -> Table:
    """Return ``facts`` as a two-column table; long entries are cut (``--json`` has them whole)."""
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    told = False
    for key, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value)
        if key not in _MEASURED and not told:
            told = True
            table.add_section()
            table.add_row(Text("the file says"), Text(""))
        shown = printable(text if len(text) <= _LONG else text[: _LONG - 3] + "...")
        table.add_row(Text(printable(key)), Text(shown))
    return table
