"""Zip archives, read only if every size that they state fits the file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

from prunekit.errors import InputError

MAX_ENTRIES = 100_000
_CHUNK = 2**20
_ENCRYPTED = 0x1


@final
@dataclass(frozen=True, kw_only=True)
class Archive:
    """An open archive of ``size`` bytes with checked entries."""

    size: int
    entries: Mapping[str, zipfile.ZipInfo]
    source: zipfile.ZipFile

    def entry(self, name: str) -> zipfile.ZipInfo:
        """Return the directory entry ``name``; raises InputError if there is none."""
        information = self.entries.get(name)
        if information is None:
            raise InputError(f"lacks its entry {name[:100]!r}; it is damaged, save it again")
        return information

    def held(self, name: str) -> int:
        """Return the stated size of the entry ``name`` in bytes; raises InputError if there is none."""
        return self.entry(name).file_size

    def read(self, name: str) -> bytearray:
        """Return the content of the entry ``name``; raises InputError if there is none, or if its size is not the
        stated one.
        """
        information = self.entry(name)
        content = bytearray()
        with self.source.open(information) as stream:
            while len(content) <= information.file_size:  # no more is unpacked, whatever the entry holds
                piece = stream.read(_CHUNK)
                if not piece:
                    break
                content += piece
        if len(content) != information.file_size:
            raise InputError(
                f"its entry {name[:100]!r} does not have the size that it states; it is damaged, save it again"
            )
        return content


@contextmanager
def opened(source: Path | bytes, *, max_packed: int = 0) -> Iterator[Archive]:
    """Yield the zip archive ``source``; its deflated entries may have at most ``max_packed`` bytes when unpacked.

    Raises InputError for two entries with one name, for other compression methods, for entries that overlap or exceed
    the file, and for too many entries; raises as zipfile does if it is not a zip archive.
    """
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as archive:
        listed = archive.infolist()
        if len(listed) > MAX_ENTRIES:
            raise InputError(f"holds more than {MAX_ENTRIES:,} entries, so it was not loaded")
        if len({entry.filename.casefold() for entry in listed}) != len(listed):
            raise InputError("holds two entries of one name, so it was not loaded; save the file again")
        stored = sum(entry.file_size for entry in listed if entry.compress_type == zipfile.ZIP_STORED)
        packed = [entry for entry in listed if entry.compress_type != zipfile.ZIP_STORED]
        if (
            any(entry.compress_type != zipfile.ZIP_DEFLATED for entry in packed)  # the others unpack without bound
            or any(entry.flag_bits & _ENCRYPTED for entry in listed)
            or sum(entry.file_size for entry in packed) > max_packed
            or stored > size
        ):
            raise InputError("is packed as torch's own files never are, so it was not loaded; save it again with torch")
        yield Archive(size=size, entries={entry.filename: entry for entry in listed}, source=archive)
