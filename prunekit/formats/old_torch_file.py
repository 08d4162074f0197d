"""Files of ``torch.save`` from before torch 1.6: pickles one after the other, then the numbers of their tensors."""

from __future__ import annotations

import io
import pickletools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, final

from prunekit.errors import InputError
from prunekit.formats.pickles import MAX_OPCODES, Name, decode_foreign_pickle, decode_pickle
from prunekit.formats.tensors import DTYPES, TensorDecoder

MAX_FILE_BYTES = 2**28
_MODULE = ("module",)
_PICKLES = 5
"""A number by which they are known, their version, the machine's, the object itself, and the names of its storages."""


@final
@dataclass(frozen=True, kw_only=True)
class _Storages:
    content: bytes
    places: Mapping[str, tuple[int, int]]

    @property
    def size(self) -> int:
        return len(self.content)

    def held(self, name: str) -> int:
        return self._place(name)[1]

    def read(self, name: str) -> bytearray:
        start, length = self._place(name)
        return bytearray(self.content[start : start + length])

    def _place(self, name: str) -> tuple[int, int]:
        if name not in self.places:
            raise InputError(f"lacks its storage {name[:100]!r}; it is damaged, save it again")
        return self.places[name]


def read_old_torch(path: Path) -> Any:
    """Return what an old ``torch.save`` wrote at ``path``: plain values, tensors and opaque objects.

    Runs no code. Raises InputError, in words that follow the file's name, for anything else.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"is an old torch file of more than {MAX_FILE_BYTES:,} bytes; save it again with a new torch")
    content = path.read_bytes()
    try:
        return _decoded(content)
    except InputError:
        raise
    except Exception as error:  # a damaged one can be wrong in any way
        raise InputError(f"damaged or not an old torch file ({type(error).__name__})") from error


def _decoded(content: bytes) -> Any:
    *_, told, names, numbers = _ends(content)
    sizes: dict[str, int] = {}

    def noted(reference: object) -> object:
        if isinstance(reference, tuple) and reference[:1] == _MODULE:
            return None
        kind, key, count = _told(reference)
        size = DTYPES[kind].itemsize * count
        if sizes.setdefault(key, size) != size:
            raise InputError(f"says two things of its storage {key[:100]!r}; it is damaged, save it again")
        return None

    decode_foreign_pickle(content[told:names], stored=noted)
    keys = decode_pickle(content[names:numbers], lambda _: False)
    places: dict[str, tuple[int, int]] = {}
    at = numbers
    for key in keys:
        if key not in sizes or key in places:
            raise InputError("has storages that nothing in it names; it is damaged, save it again")
        (count,) = struct.unpack_from("<q", content, at)
        size = sizes[key]
        if count < 0 or count > size or (size % count if count else size) or at + 8 + size > len(content):
            raise InputError(f"its storage {str(key)[:100]!r} is not of the size that it states; save it again")
        places[f"data/{key}"] = (at + 8, size)
        at += 8 + size
    decoder = TensorDecoder(_Storages(content=content, places=places), "data")

    def stored(reference: object) -> object:
        if isinstance(reference, tuple) and reference[:1] == _MODULE:  # a class beside its source text
            return reference[1]
        kind, key, count = _told(reference)
        return decoder.stored(("storage", Name(kind), key, "cpu", count))

    return decode_foreign_pickle(content[told:names], decoder.made, stored)


def _told(reference: object) -> tuple[str, str, int]:
    match reference:
        case ("storage", Name(kind), str(key), str(), int(count), None) if kind in DTYPES and count >= 0:
            return kind, key, count
        case _:
            raise InputError("refers to numbers in a way that no policy needs; save it again with a new torch")


def _ends(content: bytes) -> list[int]:
    """Return where each pickle begins, but the first, and where the last ends."""
    stream = io.BytesIO(content)
    ends = []
    for _ in range(_PICKLES):
        found = sum(1 for _ in islice(pickletools.genops(stream), MAX_OPCODES + 1))
        if found > MAX_OPCODES:
            raise InputError(f"has more than {MAX_OPCODES:,} objects, more than any policy needs")
        ends.append(stream.tell())
    return ends[2:]
