"""Mutations of zip archives: entries, their names and sizes, and what the central directory says of them."""

from __future__ import annotations

import functools
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from fuzzing.values import NUMBERS, Mutate, Mutations, drawn, text

_BOMB = 2**26


@dataclass(kw_only=True)
class Entry:
    """An entry as it is to be written; what is None is told as it is."""

    name: bytes
    content: bytes
    method: int = 0
    size: int | None = None
    packed: int | None = None
    crc: int | None = None
    flags: int = 0
    local: bytes | None = None
    extra: bytes = b""
    offset: int = 0


def entries_of(content: bytes) -> list[Entry]:
    """Return the entries of an archive, unpacked; packed ones are packed again when they are written."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        found = archive.infolist()
        return [Entry(name=one.filename.encode(), content=archive.read(one), method=one.compress_type) for one in found]


def archive_of(entries: list[Entry], prefix: bytes = b"", comment: bytes = b"") -> bytes:
    """Return an archive that says of its entries what they want it to say."""
    out, central = bytearray(prefix), bytearray()
    for entry in entries:
        body = _deflated(entry.content) if entry.method == 8 else entry.content
        numbers = (
            (zlib.crc32(entry.content) if entry.crc is None else entry.crc) % 2**32,
            (len(body) if entry.packed is None else entry.packed) % 2**32,
            (len(entry.content) if entry.size is None else entry.size) % 2**32,
        )
        offset = (len(out) + entry.offset) % 2**32
        head = struct.pack("<HHHHHIII", 20, entry.flags, entry.method, 0, 33, *numbers)
        local = entry.name if entry.local is None else entry.local
        out += b"PK\x03\x04" + head + struct.pack("<HH", len(local), 0) + local + body
        central += b"PK\x01\x02" + struct.pack("<H", 20) + head
        central += struct.pack("<HHHHHII", len(entry.name), len(entry.extra), 0, 0, 0, 0, offset)
        central += entry.name + entry.extra
    count = min(len(entries), 65535)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(central), len(out), len(comment))
    return bytes(out + central + b"PK\x05\x06" + end + comment)


def inside(wanted: Callable[[str], bool], mutations: Mutations) -> Mutate:
    """Return the mutation that applies one of ``mutations`` to one of the entries whose name is ``wanted``."""

    def mutate(generator: random.Random, content: bytes) -> bytes:
        entries = entries_of(content)
        entry = generator.choice([one for one in entries if wanted(one.name.decode(errors="replace"))])
        entry.content = mutations[drawn(generator, mutations)][1](generator, entry.content)
        return archive_of(entries)

    return mutate


def _of_entries(change: Callable[[random.Random, list[Entry]], None]) -> Mutate:
    def mutate(generator: random.Random, content: bytes) -> bytes:
        entries = entries_of(content)
        change(generator, entries)
        return archive_of(entries)

    return mutate


def _drop(generator: random.Random, entries: list[Entry]) -> None:
    entries.pop(generator.randrange(len(entries)))


def _duplicate(generator: random.Random, entries: list[Entry]) -> None:
    one, other = generator.choice(entries), generator.choice(entries)
    name = generator.choice((one.name, one.name.swapcase(), one.name + b" ", one.name + b"/", b"./" + one.name))
    entries.insert(generator.randrange(len(entries) + 1), Entry(name=name, content=other.content, method=other.method))


def _rename(generator: random.Random, entries: list[Entry]) -> None:
    entry = generator.choice(entries)
    folder, _, name = entry.name.rpartition(b"/")
    odd = text(generator).encode(errors="surrogatepass")[:60000]
    choices = (odd, folder + b"/" + odd, b"../" + name, b"/tmp/" + name, name, entry.name.replace(b"/", b"\\"))
    entry.name = generator.choice((*choices, folder + b"/code/" + name, b"other/" + name, entry.name[:-1]))
    if generator.random() < 0.2:
        entry.flags = 0x800


def _swap(generator: random.Random, entries: list[Entry]) -> None:
    one, other = generator.choice(entries), generator.choice(entries)
    one.content, other.content = other.content, one.content


def _resize(generator: random.Random, entries: list[Entry]) -> None:
    entry = generator.choice(entries)
    cut = generator.randrange(len(entry.content) + 1)
    entry.content = generator.choice((entry.content[:cut], b"", 2 * entry.content, entry.content + bytes(cut + 1)))


def _deflate(generator: random.Random, entries: list[Entry]) -> None:
    for entry in entries if generator.random() < 0.3 else [generator.choice(entries)]:
        entry.method = 8


def _bomb(generator: random.Random, entries: list[Entry]) -> None:
    # one stream for all entries, as packing so much takes time: four of them unpack to a quarter of a gigabyte
    for entry in generator.sample(entries, min(len(entries), generator.choice((1, 1, 4)))):
        entry.content, entry.method = bytes(_BOMB), 8


def _says(generator: random.Random, entries: list[Entry]) -> None:
    entry = generator.choice(entries)
    odd = generator.choice(NUMBERS)
    match generator.randrange(8):
        case 0:
            entry.size = odd
        case 1:
            entry.packed = odd
        case 2:
            entry.crc = odd
        case 3:
            entry.method = generator.choice((1, 8, 9, 12, 14, 93, 95, 99))
        case 4:
            entry.flags = 1 << generator.randrange(16)
        case 5:
            entry.offset = generator.choice((1, -1, 64, -64, odd))
        case 6:
            entry.local = generator.choice((b"", b"x", entry.name[::-1], text(generator).encode(errors="replace")[:99]))
        case _:
            entry.extra = struct.pack("<HHQQQ", 1, 24, *(number % 2**64 for number in generator.sample(NUMBERS, 3)))


def _add(generator: random.Random, entries: list[Entry]) -> None:
    folder = entries[0].name.partition(b"/")[0]
    names = (
        *(b"constants.pkl", b"code/__torch__.py", b"extra/x", b"bytecode.pkl", b"attributes.pkl", b"byteorder"),
        *(b".format_version", b"version", b"data/0", b"data/99", b"model.json", b".data/serialization_id"),
    )
    content = generator.choice((generator.choice(entries).content, b"", b"1", b"big", b"\x80\x02N.", b"cos\nsystem\n."))
    name = generator.choice((folder + b"/" + generator.choice(names), generator.choice(names)))
    entries.insert(generator.randrange(len(entries) + 1), Entry(name=name, content=content))


def _around(generator: random.Random, content: bytes) -> bytes:
    prefix = generator.choice((b"", b"\x80\x02N.", b"#!/bin/sh\n", b"PK\x03\x04", bytes(64)))
    comment = generator.choice((b"", b"PK\x05\x06" + bytes(18), b"x" * 65535))
    return archive_of(entries_of(content), prefix, comment)


def _deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(1 if len(content) < _BOMB else 9, zlib.DEFLATED, -15)
    if len(content) != _BOMB:
        return packer.compress(content) + packer.flush()
    return packed_bomb()


@functools.cache
def packed_bomb() -> bytes:
    """Return what an entry of a bomb is packed to, made once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(bytes(_BOMB)) + packer.flush()


ZIP: Mutations = {
    "drop an entry": (1.0, _of_entries(_drop)),
    "duplicate an entry": (1.5, _of_entries(_duplicate)),
    "rename an entry": (1.5, _of_entries(_rename)),
    "swap entries": (1.0, _of_entries(_swap)),
    "resize an entry": (1.5, _of_entries(_resize)),
    "deflate entries": (1.0, _of_entries(_deflate)),
    "bomb": (0.3, _of_entries(_bomb)),
    "wrong directory": (3.0, _of_entries(_says)),
    "add an entry": (1.0, _of_entries(_add)),
    "around the archive": (0.4, _around),
}
