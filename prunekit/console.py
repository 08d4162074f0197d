"""What every command prints and writes alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape


def widths(hidden: tuple[int, ...]) -> str:
    """Return hidden widths as in 18x18."""
    return "x".join(str(width) for width in hidden) or "none"


def size_name(hidden: tuple[int, ...]) -> str:
    """Return the name of a network by its hidden widths: 18x18, or linear where it has none."""
    return widths(hidden) if hidden else "linear"


def say(console: Console, path: Path, text: str) -> None:
    """Print one line about the file at ``path``."""
    console.print(f"[bold]{escape(str(path))}[/]: {escape(text)}", highlight=False, soft_wrap=True)


def write_json(path: Path | None, data: Mapping[str, Any]) -> None:
    """Write ``data`` to ``path``, where one was given."""
    if path is not None:
        from prunekit.files import write_atomically

        write_atomically(path, (json.dumps(data, indent=2) + "\n").encode())
