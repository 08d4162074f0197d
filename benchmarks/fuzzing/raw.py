"""Mutations of bytes, for files of every kind."""

from __future__ import annotations

import random
import struct

from fuzzing.values import NUMBERS, Mutations


def flip(generator: random.Random, content: bytes) -> bytes:
    """Change one to eight bits or bytes."""
    changed = bytearray(content)
    for _ in range(generator.randrange(1, 9)):
        place = generator.randrange(len(changed))
        changed[place] = generator.choice((changed[place] ^ (1 << generator.randrange(8)), generator.randrange(256)))
    return bytes(changed)


def cut(generator: random.Random, content: bytes) -> bytes:
    """Keep the beginning or the end."""
    place = generator.randrange(len(content))
    return content[:place] if generator.random() < 0.8 else content[place:]


def drop(generator: random.Random, content: bytes) -> bytes:
    """Leave out a few bytes inside."""
    place = generator.randrange(len(content))
    return content[:place] + content[place + generator.randrange(1, 33) :]


def insert(generator: random.Random, content: bytes) -> bytes:
    """Put a few bytes in."""
    place = generator.randrange(len(content) + 1)
    return content[:place] + generator.randbytes(generator.randrange(1, 33)) + content[place:]


def splice(generator: random.Random, content: bytes) -> bytes:
    """Copy a piece to another place."""
    start, place = generator.randrange(len(content)), generator.randrange(len(content))
    piece = content[start : start + generator.randrange(1, 257)]
    return content[:place] + piece + content[place + generator.choice((0, len(piece))) :]


def integer(generator: random.Random, content: bytes) -> bytes:
    """Put an odd integer over two, four or eight bytes."""
    size, form = generator.choice(((2, "H"), (4, "I"), (8, "Q")))
    place = generator.randrange(max(1, len(content) - size))
    odd = struct.pack(generator.choice("<>") + form, generator.choice(NUMBERS) % 2 ** (8 * size))
    return content[:place] + odd + content[place + size :]


RAW: Mutations = {
    "flip": (4.0, flip),
    "cut": (1.0, cut),
    "drop": (1.0, drop),
    "insert": (1.0, insert),
    "splice": (1.0, splice),
    "integer": (2.0, integer),
}
