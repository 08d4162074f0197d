"""Small pickles and torch archives, written by hand to say what no program would."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import torch


def torch_saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def integer(value: int) -> bytes:
    """Return the opcodes of a whole number of any size."""
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<i", len(content)) + content


def text(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def storage(*, count: int = 4, key: str = "0") -> bytes:
    """Return the opcodes of a reference to the storage ``key``, which claims ``count`` elements of float32."""
    return b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + integer(count) + b"tQ"


def tensor(
    *, offset: int = 0, sizes: tuple[int, ...] = (2,), strides: tuple[int, ...] = (1,), count: int = 4, key: str = "0"
) -> bytes:
    """Return the opcodes of one float32 tensor over the storage ``key``, which claims ``count`` elements."""
    shape = integer(offset) + numbers(*sizes) + numbers(*strides)
    arguments = storage(count=count, key=key) + shape + b"\x89" + b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def archive(pickle: bytes, storages: dict[str, bytes] | None = None, **options: Any) -> bytes:
    """Return a torch archive whose pickle has these opcodes and whose storages hold these bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as made:
        made.writestr("a/data.pkl", b"\x80\x02" + pickle + b".")
        for key, content in ({"0": bytes(16)} if storages is None else storages).items():
            made.writestr(f"a/data/{key}", content)
    return buffer.getvalue()
