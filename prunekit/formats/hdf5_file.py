"""HDF5 files of plain groups, texts and float arrays, decoded without the HDF5 library.

The library trusts what a file says about itself, and follows links into other files. This reader supports what
checkpoints consist of (https://docs.hdfgroup.org/hdf5/develop/_f_m_t3.html): groups in either format, text attributes,
and contiguous arrays. Anything else is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.formats.hdf5_bytes import NOWHERE, Block, Data, Message, Names, array_in, messages_at

MAX_FILE_BYTES = 2**28
_MAX_OBJECTS, _MAX_DEPTH = 10_000, 24
_SHARED = 4
"""How many bytes of arrays a byte of the file may stand for."""
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SPACE, _LINK_INFO, _TYPE, _LINK, _EXTERNAL, _LAYOUT, _FILTERS, _ATTRIBUTE, _TABLE, _DENSE = (
    *(0x01, 0x02, 0x03, 0x06, 0x07, 0x08, 0x0B, 0x0C, 0x11, 0x15),
)


@final
@dataclass(kw_only=True, eq=False)
class Contents:
    """The content of a file, by paths such as ``actor/layers/0``: float arrays, and the texts of groups."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    texts: dict[str, dict[str, str]] = field(default_factory=dict)


def read_hdf5(path: Path) -> Contents:
    """Return the content of the file at ``path``; no other file is opened, whatever its links say.

    Raises InputError, in words that follow the file's name, for external links, for chunked or compressed arrays, and
    for damaged files.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"is larger than {MAX_FILE_BYTES:,} bytes, more than any policy needs")
    content = path.read_bytes()
    try:
        return _Walk(content).run()
    except InputError:
        raise
    except Exception as error:  # a damaged one can be wrong in any way
        raise InputError(f"damaged or not HDF5 ({type(error).__name__})") from error


@final
class _Walk:
    """A walk over the objects of a file that enters each object once."""

    def __init__(self, content: bytes) -> None:
        self.data = Data(content)
        self.left_bytes = _SHARED * len(content)
        self.entered: set[int] = set()
        self.found = Contents()

    def run(self) -> Contents:
        block = Block(data=self.data, at=0, end=len(self.data.content))
        if block.take(8) != _SIGNATURE:
            raise InputError("does not begin as an HDF5 file does")
        version = block.number(1)
        if version in (0, 1):
            block.take(4)
            sizes = (block.number(1), block.number(1))
            block.take(9 if version == 0 else 13)
            base = block.number(8)
            block.take(32)
            root = block.number(8)
        elif version in (2, 3):
            sizes = (block.number(1), block.number(1))
            block.take(1)
            base = block.number(8)
            block.take(16)
            root = block.number(8)
        else:
            raise InputError(f"is of version {version} of HDF5's superblock, which is not read")
        if sizes != (8, 8) or base != 0:
            raise InputError("has addresses of another form than HDF5 files usually have")
        self.object(root, "", 0)
        return self.found

    def object(self, address: int, path: str, depth: int) -> None:
        """Read the group or array ``path`` and its content."""
        if depth > _MAX_DEPTH or len(self.entered) >= _MAX_OBJECTS:
            raise InputError(f"has more than {_MAX_OBJECTS:,} objects, or nests them deeper than {_MAX_DEPTH} levels")
        if address in self.entered:
            raise InputError(f"has two names for one object ({path[:80]!r}), which is not read")
        self.entered.add(address)
        messages = list(messages_at(self.data, address))
        kinds = {message.kind for message in messages}
        if _EXTERNAL in kinds:
            raise InputError(
                f"stores {path[:80]!r} in another file, which is never opened; save it with all arrays inside"
            )
        for message in messages:
            if message.kind == _ATTRIBUTE:
                self.attribute(message, path)
            elif message.kind == _DENSE and message.dense_attributes() != NOWHERE:
                raise InputError(f"keeps the texts of {path[:80]!r} in a form that is not read (dense attributes)")
        if _LAYOUT in kinds:
            self.array(messages, path)
            return
        for name, inner in self.members(messages, path):
            self.object(inner, f"{path}/{name}" if path else name, depth + 1)

    def members(self, messages: list[Message], path: str) -> Iterator[tuple[str, int]]:
        for message in messages:
            if message.kind == _TABLE:
                yield from Names(self.data, message.block.number(8), message.block.number(8)).members()
            elif message.kind == _LINK:
                yield message.link(path)
            elif message.kind == _LINK_INFO and message.dense_links() != NOWHERE:
                raise InputError(f"keeps the names in {path[:80]!r} in a form that is not read (dense links)")

    def attribute(self, message: Message, path: str) -> None:
        """Store a text attribute; others are not needed."""
        name, text = message.text_attribute()
        if text is not None:
            self.found.texts.setdefault(path, {})[name] = text

    def array(self, messages: list[Message], path: str) -> None:
        """Store a float array; others are left out."""
        parts = {message.kind: message for message in messages}
        if _FILTERS in parts:
            raise InputError(f"holds {path[:80]!r} packed, which is not read; write it without compression")
        kind = parts[_TYPE].float_type() if _TYPE in parts else None
        if kind is None or _SPACE not in parts:
            return
        shape = parts[_SPACE].shape()
        size = math.prod(shape) * np.dtype(kind).itemsize
        self.left_bytes -= size
        if self.left_bytes < 0:
            raise InputError("names arrays larger than itself, so it was not loaded")
        self.found.arrays[path] = array_in(parts[_LAYOUT], kind, shape, path)
