"""Files of ``torch.save``, decoded without torch's own reader, which believes what a file says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prunekit.errors import InputError
from prunekit.formats.archive import Archive, opened
from prunekit.formats.pickles import decode_foreign_pickle, decode_pickle
from prunekit.formats.tensors import NAMES, TensorDecoder
from prunekit.formats.torch_legacy import is_legacy, read_legacy

MAX_PICKLE_BYTES = 2**24
"""What a pickle has besides tensors: names, sizes and a few numbers of each."""


def read_torch(source: Path | bytes, *, foreign: bool = False) -> Any:
    """Return what ``torch.save`` wrote into the zip archive ``source``: plain values and tensors on the CPU.

    Bytes may also be those of a file of torch before 1.6, which is no archive.

    Tensors keep their strides and what they share. Runs no code, and takes no more memory than a few times the file's
    size. In a ``foreign`` file there may be objects of any class, which are opaque. Raises InputError, in words that
    follow the file's name, for anything else.
    """
    try:
        if isinstance(source, bytes) and is_legacy(source):
            return read_legacy(source)
        with opened(source) as archive:
            folder = folder_of(archive, "data.pkl")
            require_little_endian(archive, folder)
            decoder = TensorDecoder(archive=archive, folder=f"{folder}/data")
            content = pickle_of(archive, f"{folder}/data.pkl")
            if foreign:
                return decode_foreign_pickle(content, decoder.made, decoder.stored)
            return decode_pickle(content, NAMES.__contains__, decoder.made, decoder.stored)
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and the pickle's own mistakes raise many types
        raise InputError(
            "is damaged, or not a torch file; save it again (docs/readers.md lists the kinds of files that are read)"
        ) from error


def folder_of(archive: Archive, name: str) -> str:
    """Return the one folder of ``archive`` that has an entry ``name``; raises InputError where there is no such."""
    folders = [entry.split("/", 1)[0] for entry in archive.entries if entry.split("/", 1)[1:] == [name]]
    if len(folders) != 1:
        raise InputError(f"is damaged, or not a torch file: it has {len(folders)} entries {name!r}; save it again")
    return folders[0]


def require_little_endian(archive: Archive, folder: str) -> None:
    """Raise InputError where the archive says that its numbers have their bytes in another order."""
    if f"{folder}/byteorder" in archive.entries:
        order = bytes(archive.read(f"{folder}/byteorder")[:20])
        if order != b"little":
            raise InputError(f"its numbers are in the byte order {order!r}; save it again on a little-endian machine")


def pickle_of(archive: Archive, name: str) -> bytearray:
    """Return the pickle ``name``; raises InputError where it is larger than what describes a policy."""
    if name in archive.entries and archive.entries[name].file_size > MAX_PICKLE_BYTES:
        raise InputError(f"its {name[:100]!r} is larger than {MAX_PICKLE_BYTES:,} bytes, so it was not loaded")
    return archive.read(name)
