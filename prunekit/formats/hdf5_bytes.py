"""The parts of an HDF5 file: numbers, messages of an object, tables of names, heaps of texts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError

NOWHERE = 2**64 - 1
"""The address of what is not there."""
_MAX_MESSAGES, _MAX_NODES, _MAX_AXES, _MAX_TEXT = 10_000, 10_000, 16, 2**16
_CONTINUED = 0x10
_SHARED = 0x02
_HARD, _EXTERNAL = 0, 64
_FLOATS = {
    4: ("<f4", b"\x00\x00\x20\x00\x17\x08\x00\x17\x7f\x00\x00\x00"),
    8: ("<f8", b"\x00\x00\x40\x00\x34\x0b\x00\x34\xff\x03\x00\x00"),
}
"""By size: where sign, exponent and fraction of an IEEE number lie, as a file describes it."""


@final
@dataclass(frozen=True)
class Data:
    """The whole file."""

    content: bytes


@final
@dataclass(kw_only=True)
class Block:
    """A range of the file that is read from its beginning; raises InputError beyond its end."""

    data: Data
    at: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.at <= self.end <= len(self.data.content):
            raise InputError("points beyond its end; it is damaged")

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        if count < 0 or self.at + count > self.end:
            raise InputError("ends within one of its parts; it is damaged")
        self.at += count
        return self.data.content[self.at - count : self.at]

    def number(self, size: int) -> int:
        """Return the next number of ``size`` bytes."""
        return int.from_bytes(self.take(size), "little")

    @property
    def left(self) -> int:
        """The number of bytes up to the end."""
        return self.end - self.at

    def inner(self, count: int) -> Block:
        """Take the next ``count`` bytes as a block."""
        self.take(count)
        return Block(data=self.data, at=self.at - count, end=self.at)


def block_at(data: Data, address: int, size: int | None = None) -> Block:
    """Return the block at ``address``; without ``size`` it reaches to the end of the file."""
    return Block(data=data, at=address, end=len(data.content) if size is None else address + size)


@final
@dataclass(kw_only=True)
class Message:
    """One message of an object: its kind and its content."""

    kind: int
    block: Block

    def dense_links(self) -> int:
        """Return the address of links that are stored outside the messages."""
        self.block.take(1)
        self.block.take(8 if self.block.number(1) & 1 else 0)
        return self.block.number(8)

    def dense_attributes(self) -> int:
        """Return the address of attributes that are stored outside the messages."""
        self.block.take(1)
        self.block.take(2 if self.block.number(1) & 1 else 0)
        return self.block.number(8)

    def link(self, path: str) -> tuple[str, int]:
        """Return (name, address); raises InputError for links other than plain names of objects in the file."""
        block = self.block
        block.take(1)
        flags = block.number(1)
        kind = block.number(1) if flags & 8 else _HARD
        block.take((8 if flags & 4 else 0) + (1 if flags & 16 else 0))
        name = _name(block.take(block.number(1 << (flags & 3))))
        if kind != _HARD:
            what = "in another file" if kind == _EXTERNAL else "elsewhere"
            raise InputError(f"has {name[:80]!r} in {path[:80]!r} as a link to something {what}, which is not followed")
        return name, block.number(8)

    def float_type(self) -> str | None:
        """Return NumPy's name of a little-endian IEEE float type, None for any other type."""
        block = self.block
        kind, order, _, _ = block.take(4)
        size = block.number(4)
        if kind & 0x0F != 1 or size not in _FLOATS or order & 0x41:
            return None
        name, described = _FLOATS[size]
        return name if block.take(12) == described else None

    def shape(self) -> tuple[int, ...]:
        """Return the sizes of an array."""
        version, rank, _, _ = self.block.take(4)
        self.block.take(4 if version == 1 else 0)
        if version not in (1, 2) or rank > _MAX_AXES:
            raise InputError("has an array whose sizes are in a form that is not read")
        return tuple(self.block.number(8) for _ in range(rank))

    def text_attribute(self) -> tuple[str, str | None]:
        """Return the name of an attribute and its text; None if it is not text."""
        block = self.block
        version, flags = block.number(1), block.number(1)
        sizes = [block.number(2) for _ in range(3)]
        block.take(1 if version == 3 else 0)
        if version not in (1, 2, 3) or (version > 1 and flags):
            raise InputError("has an attribute in a form that is not read")
        padded = [-(-size // 8) * 8 if version == 1 else size for size in sizes]
        name, kind, _ = (block.inner(size) for size in padded)
        called = _name(name.take(sizes[0]))
        which, bits, _, _ = kind.take(4)
        size = kind.number(4)
        match which & 0x0F:
            case 3 if size <= min(block.left, _MAX_TEXT):
                return called, _text(block.take(size))
            case 9 if bits & 0x0F == 1 and block.left >= 16:
                return called, _text(_from_heap(block))
            case _:
                return called, None


def messages_at(data: Data, address: int) -> Iterator[Message]:
    """Yield the messages of the object at ``address``, in either version of its header."""
    start = block_at(data, address)
    if data.content[address : address + 4] == b"OHDR":
        start.take(5)
        flags = start.number(1)
        start.take((16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0))
        waiting = [start.inner(start.number(1 << (flags & 3)))]
        shape = (1, 3 if flags & 4 else 1, 4)
    else:
        if start.number(1) != 1:
            raise InputError("has an object in a form that is not read; it is damaged")
        start.take(7)
        size = start.number(4)
        start.take(4)
        waiting = [start.inner(size)]
        shape = (2, 4, 0)
    kind_size, after, checksum = shape
    count = 0
    while waiting:
        block = waiting.pop(0)
        while block.left >= kind_size + 2 + after:
            count += 1
            if count > _MAX_MESSAGES:
                raise InputError(f"has an object of more than {_MAX_MESSAGES:,} parts")
            kind, size = block.number(kind_size), block.number(2)
            flags = block.take(after)[0]
            inner = block.inner(size)
            if kind == _CONTINUED:
                further = block_at(data, inner.number(8), inner.number(8))
                if checksum and further.take(4) != b"OCHK":
                    raise InputError("has an object that continues where there is none; it is damaged")
                further.end -= checksum
                waiting.append(further)
            elif flags & _SHARED:
                yield Message(kind=-1, block=inner)  # what other objects share with it says nothing that is needed
            else:
                yield Message(kind=kind, block=inner)


@final
class Names:
    """The names in a group of the old format: a tree of tables, and a heap of texts."""

    def __init__(self, data: Data, tree: int, heap: int) -> None:
        self.data, self.tree = data, tree
        block = block_at(data, heap)
        if block.take(4) != b"HEAP":
            raise InputError("has a group without names; it is damaged")
        block.take(4)
        size = block.number(8)
        block.take(8)
        self.heap = block_at(data, block.number(8), size)

    def members(self) -> Iterator[tuple[str, int]]:
        """Yield (name, address of the object)."""
        waiting, seen = [self.tree], set[int]()
        while waiting:
            address = waiting.pop(0)
            if address in seen or len(seen) > _MAX_NODES:
                raise InputError("has a group whose names form a cycle; it is damaged")
            seen.add(address)
            block = block_at(self.data, address)
            kind = block.take(4)
            if kind == b"SNOD":
                block.take(2)
                for _ in range(block.number(2)):
                    yield self._entry(block.inner(40))
            elif kind == b"TREE" and block.number(1) == 0:
                block.take(1)
                count = block.number(2)
                block.take(24)
                for _ in range(count):
                    waiting.append(block.number(8))
                    block.take(8)
            else:
                raise InputError("has a group whose table of names is damaged; save the file again")

    def _entry(self, block: Block) -> tuple[str, int]:
        start, address, kind = block.number(8), block.number(8), block.number(4)
        place = block_at(self.data, self.heap.at + start)
        longest = self.heap.end - place.at
        text = place.take(min(max(longest, 0), _MAX_TEXT)).split(b"\0", 1)[0]
        name = _name(text)
        if kind == 2 or address == NOWHERE:
            raise InputError(f"has {name[:80]!r} as a link to something elsewhere, which is not followed")
        return name, address


def array_in(layout: Message, kind: str, shape: tuple[int, ...], path: str) -> NDArray[Any]:
    """Return the array of a contiguous ``layout``; raises InputError for other layouts."""
    block, size = layout.block, math.prod(shape) * np.dtype(kind).itemsize
    version, form = block.number(1), block.number(1)
    if version not in (3, 4) or form not in (0, 1):
        raise InputError(f"holds {path[:80]!r} in pieces, which is not read; write it without chunks")
    if form == 0:
        raw = block.take(block.number(2))
    else:
        address, stored = block.number(8), block.number(8)
        raw = b"" if address == NOWHERE else block_at(block.data, address, stored).take(stored)
    if len(raw) != size:
        raise InputError(f"holds {path[:80]!r} shorter or longer than it says; it is damaged")
    return np.frombuffer(raw, kind).reshape(shape)


def _from_heap(block: Block) -> bytes:
    """Return a text of variable length, which is in the file's global heap."""
    length, address, wanted = block.number(4), block.number(8), block.number(4)
    if length > _MAX_TEXT:
        return b""
    heap = block_at(block.data, address)
    if heap.take(4) != b"GCOL":
        raise InputError("has a string in no heap; it is damaged")
    heap.take(4)
    heap = block_at(block.data, address, heap.number(8))
    heap.take(16)
    for _ in range(_MAX_NODES):
        if heap.left < 16:
            break
        index = heap.number(2)
        heap.take(6)
        size = heap.number(8)
        if index == 0:
            break
        if index == wanted:
            return heap.take(min(size, length))
        heap.take(-(-size // 8) * 8)
    raise InputError("has a string that its heap does not hold; it is damaged")


def _name(raw: bytes) -> str:
    return _text(raw) or "?"


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")
