"""Pickles that ask for endless walks, deep nests, huge numbers or code: refused soon, in one line."""

from __future__ import annotations

import os
import pickle
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from pickled import integer, text

from prunekit.errors import InputError
from prunekit.formats.pickles import MAX_DEPTH, Name, Record, decode_pickle


def nothing(_: str) -> bool:
    return False


def anything(_: str) -> bool:
    return True


def laughs(start: bytes, twice: bytes, levels: int = 40) -> bytes:
    """Return a pickle of twice the same, of twice the same, ..."""
    content = b"\x80\x02" + start
    for level in range(levels):
        content += b"q" + bytes([level]) + twice.replace(b"N", bytes([level]))
    return content + b"."


def nested(levels: int, opening: bytes = b"]", closing: bytes = b"a") -> bytes:
    return b"\x80\x02" + opening * levels + closing * (levels - 1) + b"."


HASHED = laughs(b")", b"hN\x86")[:-1]
REPEATS, DEEP = "repeat themselves beyond its own size", "nested deeper than"
HOSTILE: dict[str, tuple[bytes, str]] = {
    "lists of lists": (laughs(b"]", b"0](hNhNe"), REPEATS),
    "tuples of tuples": (laughs(b")", b"0hNhN\x86"), REPEATS),
    "dictionaries of dictionaries": (laughs(b"}", b"0}(X\x01\x00\x00\x00ahNX\x01\x00\x00\x00bhNu"), REPEATS),
    "one long text many times": (b"\x80\x02" + text("a" * 2**20) + b"q\x00](" + b"h\x00" * 5000 + b"e.", REPEATS),
    "a list within itself": (b"\x80\x02]q\x00h\x00a.", DEEP),
    "a list twice within itself": (b"\x80\x02]q\x00(h\x00h\x00e.", f"{DEEP}|{REPEATS}"),
    "a dictionary within itself": (b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.", DEEP),
    "deep lists": (nested(50_000), DEEP),
    "deep tuples": (b"\x80\x02)" + b"\x85" * 50_000 + b".", DEEP),
    "tuples as keys": (b"\x80\x02}" + HASHED[2:] + b"Ns.", "key that is a tuple"),
    "tuples in a set": (b"\x80\x04\x8f(" + HASHED[2:] + b"\x90.", "key that is a tuple"),
    "numbers as keys": (b"\x80\x02}" + integer(2**61 - 1) + b"Ns.", "key that is a int"),
    "large number": (b"\x80\x02" + integer(2**50_000) + b".", "more than 4096 bits"),
    "lone surrogate": (b"\x80\x02" + text("\ud800") + b".", "not valid Unicode"),
    "lone surrogate in a key": (b"\x80\x02}" + text("a\udfff") + b"Ns.", "not valid Unicode"),
    "far numbers of objects": (b"\x80\x02Nr\xff\xff\xff\x7f.", "numbers its objects beyond"),
    "many opcodes": (b"\x80\x02N" + b"0N" * 600_000 + b".", "more than 1,000,000 objects"),
    "an extension": (b"\x80\x02\x82\xf0.", "could run code"),
    "a persistent object": (b"\x80\x02NQ.", "outside the file"),
    "buffers beside": (b"\x80\x05\x97.", "instruction NEXT_BUFFER"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused(name: str) -> None:
    content, reason = HOSTILE[name]
    started = time.monotonic()
    with pytest.raises(InputError, match=reason) as refused:
        decode_pickle(content, nothing)
    assert time.monotonic() - started < 8.0
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -5,
        2**40,
        2.5,
        "é",
        [1, [2]],
        (1, (2, 3), 4),
        {"a": {"b": None}},
        [[]] * 3,
    ],
    ids=repr,
)
def test_plain_values_come_back(value: Any, protocol: int) -> None:
    found = decode_pickle(pickle.dumps(value, protocol), nothing)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("protocol", range(6))
def test_bytes_come_back_however_they_are_spelled(protocol: int) -> None:
    assert decode_pickle(pickle.dumps(b"a\xff", protocol), "_codecs.encode".__eq__) == b"a\xff"


def test_nests_that_are_allowed_are_read() -> None:
    assert isinstance(decode_pickle(nested(MAX_DEPTH), nothing), list)


class Mkdir:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("protocol", range(6))
def test_names_are_refused_or_stand_for_themselves(
    protocol: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(Mkdir(), protocol)
    with pytest.raises(InputError, match=r"names '(posix|nt)\.mkdir', which could run code"):
        decode_pickle(content, nothing)
    found = decode_pickle(content, anything)
    assert isinstance(found, Record)
    assert found.name.endswith("mkdir")
    assert found.arguments == ("sprung",)
    assert list(tmp_path.iterdir()) == []


def test_instances_of_the_oldest_protocol_are_records() -> None:
    found = decode_pickle(b"(I1\nios\nmkdir\n.", anything)
    assert (found.name, found.arguments) == ("os.mkdir", (1,))


def test_a_class_is_a_name_and_takes_no_state() -> None:
    assert decode_pickle(b"\x80\x02cos\npath\n.", anything) == Name("os.path")
    with pytest.raises(ValueError, match="a state"):
        decode_pickle(b"\x80\x02cos\npath\n}b.", anything)


@pytest.mark.parametrize(
    "content", [b"", b".", b"\x80\x02", b"\x80\x02a.", b"\x80\x02N", b"\x80\x02t.", b"\x80\x02N}s."]
)
def test_damaged_pickles_raise_errors_that_readers_expect(content: bytes) -> None:
    with pytest.raises((ValueError, IndexError, KeyError)):
        decode_pickle(content, nothing)


def test_half_a_length_is_not_believed() -> None:
    with pytest.raises(ValueError, match="expected"):
        decode_pickle(b"\x80\x04\x8e" + struct.pack("<Q", 2**62), nothing)
