"""Text from files, made safe for an error of one line."""

from __future__ import annotations

_LONGEST = 200


def shown(text: object, longest: int = _LONGEST) -> str:
    """Return ``text`` (str, bytes, or anything with a text) with control characters escaped, cut to ``longest``."""
    raw = text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else str(text)
    safe = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in raw[: longest + 1])
    return safe if len(safe) <= longest else f"{safe[: longest - 3]}..."


def reason_of(error: BaseException) -> str:
    """Return the first line of ``error``, made safe; the name of its type if it has no text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shown(lines[0]) if lines else type(error).__name__
