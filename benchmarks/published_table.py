"""The table of published policy files: what is read of each kind, and why the others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from record import stamp, table

_KINDS = {
    "onnx": "ONNX",
    "torchscript": "TorchScript",
    "sb3": "zips of Stable-Baselines3 and sb3-contrib",
    "state_dict": "state dicts and checkpoints",
    "checkpoint": "state dicts and checkpoints",
}


def published_table(result: Mapping[str, Any]) -> str:
    """Return a row per kind of file, and the reasons for those that are not read."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in result["files"]:
        rows.setdefault(_KINDS[row["kind"]], []).append(row)
    body = [[kind, *_counts(found)] for kind, found in rows.items()]
    body.append(["all", *_counts(result["files"])])
    head = [
        "kind",
        "files",
        "inspected",
        "to ONNX",
        "to C, no warning",
        "largest difference",
        "refused, as they sample",
    ]
    refused = Counter(_reason(row) for row in result["files"] if not row["good"])
    told = "\n".join(f"- {reason}{f' ({count})' if count > 1 else ''}" for reason, count in refused.items())
    return f"{table(head, body)}\n\nFailures and refusals:\n\n{told}\n\n{stamp(result)}."


def _counts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    differences = [row["difference"] for row in rows if row["good"] and row["difference"] is not None]
    return [
        str(len(rows)),
        str(sum(row["inspect"] == 0 for row in rows)),
        str(sum(row["onnx"] == 0 for row in rows)),
        str(sum(row["compiles"] for row in rows)),
        f"{max(differences):.1g}" if differences else "",
        str(sum(row["expected"] == "refused" and row["onnx"] == 2 for row in rows)),
    ]


def _reason(row: Mapping[str, Any]) -> str:
    if "refused" not in row:
        return f"`{row['file']}`: its recorded case has another answer (difference {row['difference']:.2g})"
    said = str(row["refused"]).removeprefix(f"{row['file']}: ")
    return f"`{row['file']}`: {said.split(';')[0]}"
