"""The result of all C writers, and the input of all devices that run C."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

from prunekit.errors import InputError
from prunekit.export.system_headers import is_system_header
from prunekit.files import write_together
from prunekit.graph.c.names import C_WORDS


@final
@dataclass(frozen=True, kw_only=True)
class CCode:
    """A policy as C: one header, one source. ``outputs`` is None if the function returns an action number (int32).

    ``constant_bytes`` are the sizes of the constant arrays. ``wide`` means that 512-bit vectors are faster, if
    available. ``fields`` are the sizes of the inputs, one pointer each (empty for a single flat input). ``states`` are
    the sizes of its states.
    """

    name: str
    header: str
    source: str
    inputs: int
    outputs: int | None
    constant_bytes: tuple[int, ...] = ()
    wide: bool = False
    fields: tuple[int, ...] = ()
    states: tuple[int, ...] = ()

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write ``<name>.h`` and ``<name>.c`` into ``folder``, both or none; return their paths."""
        header, source = folder / f"{self.name}.h", folder / f"{self.name}.c"
        write_together({path: text.encode() for path, text in zip((header, source), self.files, strict=True)})
        return header, source

    @property
    def files(self) -> tuple[str, str]:
        """Header and source."""
        return self.header, self.source


def require_one_flat_input(code: CCode, called: str) -> None:
    """Raise InputError for C with several inputs or a state, which ``called`` does not support."""
    if len(code.fields) > 1:
        raise InputError(f"{called} takes policies with one input; {code.name} has {len(code.fields)}")
    if code.states:
        raise InputError(f"{called} takes policies without a state; {code.name} keeps one of {sum(code.states)} values")


def c_name(text: str) -> str:
    """Return ``text`` as a C name: lowercase letters, digits and underscores, not beginning with a digit.

    The name is not a keyword of C, and not a header of a common system, which a file of that name would hide.
    """
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "policy"
    return f"policy_{name}" if name[0].isdigit() or name in C_WORDS or is_system_header(name) else name
