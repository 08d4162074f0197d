"""A policy as portable C: what every writer of C here gives, and what every device takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from prunekit.files import require_writable, write_atomically

_WORDS = {"auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern"}
_WORDS |= {"float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed"}
_WORDS |= {"sizeof", "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while"}
_HEADERS = {"assert", "complex", "ctype", "errno", "fenv", "inttypes", "iso646", "limits", "locale", "math", "setjmp"}
_HEADERS |= {"signal", "stdarg", "stdbool", "stddef", "stdint", "stdio", "stdlib", "string", "tgmath", "time", "wchar"}
_HEADERS |= {"wctype"}


@final
@dataclass(frozen=True)
class CCode:
    """A policy as C: one header, one source. ``outputs`` is None where it gives an action number (int32).

    ``constant_bytes`` are those of each constant array. ``wide``: vectors of 512 bits pay where there are any.
    """

    name: str
    header: str
    source: str
    inputs: int
    outputs: int | None
    constant_bytes: tuple[int, ...] = ()
    wide: bool = False

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write ``<name>.h`` and ``<name>.c`` into ``folder``, each atomically; return their paths."""
        header, source = folder / f"{self.name}.h", folder / f"{self.name}.c"
        write_all({header: self.header, source: self.source})
        return header, source


def write_all(files: Mapping[Path, str]) -> None:
    """Write ``files``, each atomically, or none where one could not be written: InputError then names it."""
    for path in files:
        require_writable(path)
    for path, text in files.items():
        write_atomically(path, text.encode())


def c_name(text: str) -> str:
    """Return ``text`` as a name in C: lowercase letters, digits and underscores, no digit first.

    It is no word of C, and none of its headers, which a file of that name would hide.
    """
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "policy"
    return f"policy_{name}" if name[0].isdigit() or name in _WORDS | _HEADERS else name
