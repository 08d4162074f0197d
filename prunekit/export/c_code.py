"""A policy as portable C: what every writer of C here gives, and what every device takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

from prunekit.files import write_atomically

_WORDS = {"auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern"}
_WORDS |= {"float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed"}
_WORDS |= {"sizeof", "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while"}


@final
@dataclass(frozen=True)
class CCode:
    """A policy as C: one header, one source. ``outputs`` is None where it gives an action number (int32).

    ``constant_bytes`` are those of each constant array.
    """

    name: str
    header: str
    source: str
    inputs: int
    outputs: int | None
    constant_bytes: tuple[int, ...] = ()

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write ``<name>.h`` and ``<name>.c`` into ``folder``, each atomically; return their paths."""
        paths = folder / f"{self.name}.h", folder / f"{self.name}.c"
        for path, text in zip(paths, (self.header, self.source), strict=True):
            write_atomically(path, text.encode())
        return paths


def c_name(text: str) -> str:
    """Return ``text`` as a name in C: lowercase letters, digits and underscores, no digit first, no word of C."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "policy"
    return f"policy_{name}" if name[0].isdigit() or name in _WORDS else name
