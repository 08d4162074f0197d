"""Files of ``torch.save`` before torch 1.6: five pickles in a row, and then the storages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from prunekit.errors import InputError
from prunekit.formats.pickles import Name, decode_foreign_pickle, decode_pickle, ends_of
from prunekit.formats.tensors import DTYPES, NAMES, TensorDecoder

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_FIRST_BYTES = b"\x80\x02\x8a\x0a" + _MAGIC.to_bytes(10, "little")
_COUNT_BYTES = 8
_MODULE = ("module",)
MAX_FILE_BYTES = 2**28


@final
@dataclass(frozen=True, kw_only=True)
class _Storages:
    """A file of ``size`` bytes and what follows its pickles, by name."""

    size: int
    content: memoryview
    places: Mapping[str, tuple[int, int]]

    def held(self, name: str) -> int:
        start, end = self._place(name)
        return end - start

    def read(self, name: str) -> bytearray:
        start, end = self._place(name)
        return bytearray(self.content[start:end])

    def _place(self, name: str) -> tuple[int, int]:
        if name not in self.places:
            raise InputError(f"lacks its storage {name[:100]!r}; it is damaged, save it again")
        return self.places[name]


def is_legacy(content: bytes) -> bool:
    """Return whether ``content`` begins as such a file does."""
    return content.startswith(_FIRST_BYTES)


def read_legacy_file(path: Path) -> Any:
    """Return what another program's old ``torch.save`` wrote at ``path``, objects of any class being opaque.

    Runs no code. Raises InputError, in words that follow the file's name, for anything else.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"is an old torch file of more than {MAX_FILE_BYTES:,} bytes; save it again with a new torch")
    try:
        return read_legacy(path.read_bytes(), foreign=True)
    except InputError:
        raise
    except Exception as error:  # a damaged one can be wrong in any way
        raise InputError(f"damaged or not an old torch file ({type(error).__name__})") from error


def read_legacy(content: bytes, *, foreign: bool = False) -> Any:
    """Return what is in the file ``content``, as ``read_torch`` does.

    Runs no code, and takes no more memory than a few times the file's size. Raises InputError, in words that follow the
    file's name, and what a damaged pickle raises.
    """
    ends = ends_of(content, 5)
    _, protocol, system, whole, keys = (content[a:b] for a, b in zip([0, *ends], ends, strict=False))
    told = decode_pickle(system, NAMES.__contains__)
    if decode_pickle(protocol, NAMES.__contains__) != _PROTOCOL or not isinstance(told, dict):
        raise InputError("is of an unknown version of torch's old files; save it again")
    if told.get("little_endian") is not True:
        raise InputError("its numbers are in another byte order; save it again on a little-endian machine")
    places = _places(content, ends[-1], _sizes(whole, foreign), decode_pickle(keys, NAMES.__contains__))
    decoder = TensorDecoder(
        archive=_Storages(size=len(content), content=memoryview(content), places=places), folder="data"
    )

    def stored(reference: object) -> object:
        if foreign and isinstance(reference, tuple) and reference[:1] == _MODULE:  # a class beside its source text
            return reference[1]
        return decoder.stored(_plain(reference))

    if foreign:
        return decode_foreign_pickle(whole, decoder.made, stored)
    return decode_pickle(whole, NAMES.__contains__, decoder.made, stored)


def _plain(reference: object) -> object:
    """Return a reference without its last part, which is None but for views of storages."""
    match reference:
        case (*first, None):
            return tuple(first)
        case _:
            raise InputError("holds views of storages, as torch wrote them long ago; save it again")


def _sizes(whole: bytes, foreign: bool) -> dict[str, tuple[int, int]]:
    """Return how many numbers each storage states, and the bytes of one."""
    sizes: dict[str, tuple[int, int]] = {}

    def stored(reference: object) -> None:
        match reference:
            case ("storage", Name(kind), str(key), str(), int(count), *_) if kind in DTYPES:
                stated = count, DTYPES[kind].itemsize
                if sizes.setdefault(f"data/{key}", stated) != stated:
                    raise InputError(f"describes its storage in two ways: {key[:100]!r}; it is damaged, save it again")
            case _:  # refused when it is read
                pass

    if foreign:
        decode_foreign_pickle(whole, stored=stored)
    else:
        decode_pickle(whole, NAMES.__contains__, stored=stored)
    return sizes


def _places(
    content: bytes, start: int, sizes: Mapping[str, tuple[int, int]], keys: object
) -> dict[str, tuple[int, int]]:
    """Return where each storage lies; every one has its count of numbers in front."""
    if not isinstance(keys, list) or {f"data/{key}" for key in keys} != sizes.keys() or len(keys) != len(sizes):
        raise InputError("its list of storages is not that of its tensors; it is damaged, save it again")
    places = {}
    for key in keys:
        count = int.from_bytes(content[start : start + _COUNT_BYTES], "little")
        stated, each = sizes[f"data/{key}"]
        if count != stated:
            raise InputError(f"its storage {str(key)[:100]!r} does not have the size that it states; save it again")
        begin, size = start + _COUNT_BYTES, count * each
        if size > len(content) - begin:
            raise InputError(f"ends within its storage {str(key)[:100]!r}; it is damaged, save it again")
        places[f"data/{key}"] = (begin, begin + size)
        start = begin + size
    return places
