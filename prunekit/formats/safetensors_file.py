"""Files of safetensors: eight bytes with a length, a JSON header of that length, and the numbers.

The format (https://huggingface.co/docs/safetensors) contains only bytes, so nothing in it can run.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError

MAX_HEADER_BYTES = 2**24
MAX_FILE_BYTES = 2**30
_MAX_TENSORS = 100_000
_MAX_AXES = 32
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U8": "u1", "U16": "<u2", "U32": "<u4", "U64": "<u8", "BOOL": "u1",
}  # fmt: skip


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors in the file at ``path`` by name, in the order of their data; bfloat16 becomes float32.

    Uses at most a few times the file's size of memory. Raises InputError, in words that follow the file's name, if the
    header is not valid, or if tensors overlap, leave holes or exceed the file.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise InputError(f"is larger than {MAX_FILE_BYTES:,} bytes, more than any policy needs")
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= length <= min(len(content) - 8, MAX_HEADER_BYTES):
        raise InputError("its header is longer than the file, or than any policy needs; it is damaged")
    try:
        header = json.loads(content[8 : 8 + length].decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise InputError("its header is not JSON; it is damaged, save it again") from error
    if not isinstance(header, dict) or len(header) > _MAX_TENSORS:
        raise InputError("its header is not a table of tensors; it is damaged, save it again")
    body = memoryview(content)[8 + length :]
    return _tensors({name: entry for name, entry in header.items() if name != "__metadata__"}, body)


def _tensors(header: dict[str, Any], body: memoryview) -> dict[str, NDArray[Any]]:
    found: list[tuple[int, int, str, str, tuple[int, ...]]] = []
    for name, entry in header.items():
        match entry:
            case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(stop)]} if (
                dtype in _DTYPES and len(shape) <= _MAX_AXES and all(type(n) is int and 0 <= n < 2**40 for n in shape)
            ):
                if not 0 <= start <= stop <= len(body):
                    raise InputError(f"its tensor {name[:100]!r} reaches beyond the file; it is damaged")
                if stop - start != math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize:
                    raise InputError(f"its tensor {name[:100]!r} does not have the size that it states; it is damaged")
                found.append((start, stop, name, dtype, tuple(shape)))
            case _:
                raise InputError(f"describes its tensor {name[:100]!r} in an unknown way; it is damaged")
    found.sort()
    at = 0
    for start, stop, name, _, _ in found:
        if start != at:
            raise InputError(f"its tensor {name[:100]!r} does not begin where the one before it ends; it is damaged")
        at = stop
    if at != len(body):
        raise InputError("holds bytes that belong to no tensor; it is damaged, save it again")
    return {name: _decoded(body[start:stop], dtype, shape) for start, stop, name, dtype, shape in found}


def _decoded(raw: memoryview, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    values = np.frombuffer(raw, _DTYPES[dtype]).reshape(shape)
    return (values.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else values


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name twice")
    return made
