"""Output that all commands share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

_MAX_LENGTH, _MAX_TEXT, _MAX_NAME = 400, 100, 60
_MAX_ITEMS = 16
_MAX_DEPTH = 3
_MAX_WHOLE = 10**30


def widths(hidden: tuple[int, ...]) -> str:
    """Return hidden widths as text, such as 18x18."""
    return "x".join(str(width) for width in hidden) or "none"


def size_name(hidden: tuple[int, ...]) -> str:
    """Return the name of a network by its hidden widths: 18x18, or linear without hidden layers."""
    return widths(hidden) if hidden else "linear"


def removed(share: float) -> str:
    """Return a removed share of units or parameters as text: all only if nothing is left, none where there are more.

    >>> removed(0.5), removed(0.99987), removed(1.0), removed(-3.0)
    ('50.0%', '99.99%', '100.0%', 'none')
    """
    if share < 0.0:
        return "none"
    texts = (f"{share:.{digits}%}" for digits in range(1, 12))
    return next((text for text in texts if share >= 1.0 or float(text[:-1]) < 100.0), "100.0%")


def printable(text: object) -> str:
    """Return ``text`` as a terminal may show it, whoever wrote it: what is no plain character is spelled out.

    Escape sequences, line ends, marks that change the direction of writing, characters of no width and halves of
    characters that a file name may hold become ``\\x1b``, ``\\n``, ``\\u202e``, ``\\udcff``. Rich's markup stays:
    give rich the text as ``Text``.
    """
    return "".join(char if char.isprintable() else _spelled(char) for char in str(text))


def in_words(value: object, max_length: int = _MAX_LENGTH, depth: int = 0) -> str:
    """Return the JSON ``value`` in one line of words, of bounded length: names and values, inner ones in brackets.

    >>> in_words({"id": "Hopper-v5", "kwargs": {"width": [0.5, 2.0]}, "seed": None})
    'id Hopper-v5, kwargs (width [0.5, 2]), seed none'
    """
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.6g}"
        case int() if abs(value) >= _MAX_WHOLE:
            return f"{'-' if value < 0 else ''}{_MAX_WHOLE:.0e} or more"
        case str():
            return value if len(value) <= _MAX_TEXT else value[: _MAX_TEXT - 3] + "..."
        case Mapping() | list() | tuple() if not value:
            return "none" if isinstance(value, Mapping) else "[]"
        case Mapping() | list() | tuple() if depth >= _MAX_DEPTH:
            return f"{len(value):,} inside"
        case Mapping():
            inner = max_length // 2
            parts = (f"{str(name)[:_MAX_NAME]} {in_words(entry, inner, depth + 1)}" for name, entry in value.items())
            text = joined(parts, len(value), max_length)
            return f"({text})" if depth else text
        case list() | tuple():
            inner = max_length // 2
            items = (in_words(entry, inner, depth + 1) for entry in value[:_MAX_ITEMS])
            return f"[{joined(items, len(value), max_length)}]"
        case _:
            return str(value)


def joined(parts: Iterable[str], count: int, max_length: int = _MAX_LENGTH) -> str:
    """Return ``parts`` of ``count`` with commas, as many as ``max_length`` takes, and how many there are besides."""
    kept: list[str] = []
    length = 0
    for part in parts:
        length += len(part) + 2
        if kept and length > max_length:
            break
        kept.append(part)
    left = count - len(kept)
    return ", ".join(kept) + (f" and {left:,} more" if left else "")


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
