"""Output that all commands share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text


def widths(hidden: tuple[int, ...]) -> str:
    """Return hidden widths as text, such as 18x18."""
    return "x".join(str(width) for width in hidden) or "none"


def size_name(hidden: tuple[int, ...]) -> str:
    """Return the name of a network by its hidden widths: 18x18, or linear without hidden layers."""
    return widths(hidden) if hidden else "linear"


def printable(text: object) -> str:
    """Return ``text`` as a terminal may show it, whoever wrote it: what is no plain character is spelled out.

    Escape sequences, line ends, marks that change the direction of writing, characters of no width and halves of
    characters that a file name may hold become ``\\x1b``, ``\\n``, ``\\u202e``, ``\\udcff``. Rich's markup stays:
    give rich the text as ``Text``.
    """
    return "".join(char if char.isprintable() else _spelled(char) for char in str(text))


def clock(seconds: float) -> str:
    """Return a duration as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def say(console: Console, path: Path | str, text: str) -> None:
    """Print one line about the file at ``path``."""
    line = Text.assemble((printable(path), "bold"), f": {printable(text)}")
    console.print(line, highlight=False, soft_wrap=True)


def tell(console: Console, text: str) -> None:
    """Print one line of untrusted text."""
    console.print(Text(printable(text)), highlight=False, soft_wrap=True)


def write_json(path: Path | None, data: Mapping[str, Any]) -> None:
    """Write ``data`` to ``path``, if given."""
    if path is not None:
        from prunekit.files import write_atomically

        write_atomically(path, (json.dumps(data, indent=2) + "\n").encode())


def _spelled(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
