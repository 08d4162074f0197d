"""Result files: every committed figure carries its command, versions and date."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunekit.files import write_atomically
from prunekit.report.markdown import to_markdown
from prunekit.report.table import from_texts
from prunekit.versions import installed_versions

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, command: str, entries: Mapping[str, Any]) -> Path:
    """Write ``entries`` to ``results/<name>.json`` under a head that says how they came to be; return the path."""
    head = {"command": command, "date": time.strftime("%Y-%m-%d", time.gmtime()), "versions": installed_versions()}
    path = RESULTS / f"{name}.json"
    write_atomically(path, (json.dumps({**head, **entries}, indent=1) + "\n").encode())
    return path


def read_result(name: str) -> dict[str, Any] | None:
    """Return ``results/<name>.json``, or None where it was not measured yet."""
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text())) if path.is_file() else None


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return to_markdown(from_texts(head, rows))


def stamp(result: Mapping[str, Any]) -> str:
    """Return how a result came to be: command, date, versions."""
    versions = result["versions"]
    names = ("gymnasium", "mujoco", "stable-baselines3", "torch", "onnxruntime")
    return f"`{result['command']}`, {result['date']}, " + ", ".join(f"{name} {versions[name]}" for name in names)


def digest(result: Mapping[str, Any]) -> str:
    """Return what stands in a picture for the results that it is of."""
    return f"results sha256 {hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()}"
