"""Section sizes and symbol addresses of an ELF file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

_SYMBOL_TABLE, _NO_BITS = 2, 8
_WRITABLE, _ALLOCATED = 1, 2


@final
@dataclass(frozen=True, kw_only=True)
class Elf:
    """Sizes of an image: ``flash_bytes`` include initial values of variables; ``ram_bytes`` are all static
    variables.
    """

    flash_bytes: int
    ram_bytes: int
    symbols: dict[str, int]


@final
@dataclass(frozen=True, kw_only=True)
class _Section:
    kind: int
    flags: int
    offset: int
    size: int
    link: int


def read_elf(path: Path) -> Elf:
    """Return sizes and symbols of the little-endian ELF file at ``path``; raises ValueError for any other file."""
    data = path.read_bytes()
    if data[:4] != b"\x7fELF" or data[5] != 1:
        raise ValueError(f"{path} is no little-endian ELF file")
    wide = data[4] == 2
    sections = list(_sections(data, wide))
    held = [section for section in sections if section.flags & _ALLOCATED]
    return Elf(
        flash_bytes=sum(section.size for section in held if section.kind != _NO_BITS),
        ram_bytes=sum(section.size for section in held if section.flags & _WRITABLE),
        symbols=dict(_symbols(data, wide, sections)),
    )


def _sections(data: bytes, wide: bool) -> Iterator[_Section]:
    table = struct.unpack_from("<Q" if wide else "<I", data, 40 if wide else 32)[0]
    entry_bytes, count = struct.unpack_from("<HH", data, 58 if wide else 46)
    for index in range(count):
        fields = struct.unpack_from("<IIQQQQI" if wide else "<IIIIIII", data, table + index * entry_bytes)
        yield _Section(kind=fields[1], flags=fields[2], offset=fields[4], size=fields[5], link=fields[6])


def _symbols(data: bytes, wide: bool, sections: list[_Section]) -> Iterator[tuple[str, int]]:
    for table in (section for section in sections if section.kind == _SYMBOL_TABLE):
        names = sections[table.link].offset
        for offset in range(table.offset, table.offset + table.size, 24 if wide else 16):
            if wide:
                name, _, _, _, value = struct.unpack_from("<IBBHQ", data, offset)
            else:
                name, value = struct.unpack_from("<II", data, offset)
            start = names + name
            text = data[start : data.index(b"\0", start)].decode()
            if text:
                yield text, value
