"""Pickles of plain data and of NumPy and JAX arrays, decoded without these libraries."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.formats.pickles import Record, decode_foreign_pickle

MAX_FILE_BYTES = 2**28
_SHARED = 4
"""How many bytes of arrays a byte of the file may stand for."""
_CODES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})
_MULTIARRAY = ("numpy.core.multiarray.", "numpy._core.multiarray.")
_NUMERIC = ("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")
_JAX = ("jax._src.array._reconstruct_array", "jax._src.device_array.reconstruct_device_array")


def read_array_pickle(path: Path) -> Any:
    """Return the data of the pickle at ``path``: plain values, arrays, and objects of any class as ``Record``.

    Runs nothing that the file names. Raises InputError, in words that follow the file's name, for other content.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"is a pickle of more than {MAX_FILE_BYTES:,} bytes, more than any policy needs")
    content = path.read_bytes()
    try:
        return _Arrays(len(content)).within(decode_foreign_pickle(content))
    except InputError:
        raise
    except Exception as error:  # a damaged one can be wrong in any way
        raise InputError(f"damaged or not a pickle ({type(error).__name__})") from error


def read_part_of_pickle(content: bytes, part: Callable[[Any], Any]) -> Any:
    """Return what ``part`` selects from the data of the pickle ``content``, with records of arrays decoded.

    ``part`` gets plain values and records, and follows known names. What it does not select may have any size and
    depth, and is not visited. Raises as ``read_array_pickle`` does.
    """
    try:
        return _Arrays(len(content)).within(decode_foreign_pickle(content, part=part))
    except InputError:
        raise
    except Exception as error:  # a damaged one can be wrong in any way
        raise InputError(f"its pickled policy is damaged ({type(error).__name__})") from error


class _Arrays:
    """Replaces records of arrays by arrays; each is decoded once, even if it occurs several times."""

    def __init__(self, size: int) -> None:
        self.left_bytes = _SHARED * size
        self.made: dict[int, Any] = {}

    def within(self, value: Any) -> Any:
        """Return ``value`` with its arrays decoded; its depth was limited when it was decoded."""
        if not isinstance(value, dict | list | tuple | Record):
            return value
        if id(value) not in self.made:
            self.made[id(value)] = self._changed(value)
        return self.made[id(value)]

    def _changed(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.within(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [self.within(entry) for entry in value]
        if isinstance(value, tuple):
            return tuple(self.within(entry) for entry in value)
        array = self._array(value)
        if array is not None:
            return array
        arguments, state, items = (self.within(entry) for entry in (value.arguments, value.state, value.items))
        return Record(value.name, arguments, state, items)

    def _array(self, record: Record) -> NDArray[Any] | None:
        match record:
            case Record(name, (_, tuple(), tuple(state), *_)) if name in _JAX:
                return self._of_state(state)
            case Record(name, _, tuple(state)) if name in [f"{start}_reconstruct" for start in _MULTIARRAY]:
                return self._of_state(state)
            case Record(name, (bytes() | bytearray() as raw, dtype, tuple(shape), str(order))) if name in _NUMERIC:
                return self._decoded(raw, dtype, shape, order)
            case Record(name, (dtype, bytes() as raw)) if name in [f"{start}scalar" for start in _MULTIARRAY]:
                return self._decoded(raw, dtype, (), "C")
        return None

    def _of_state(self, state: tuple[Any, ...]) -> NDArray[Any] | None:
        match state:
            case (int(), tuple(shape), dtype, bool(fortran), bytes() | bytearray() as raw):
                return self._decoded(raw, dtype, shape, "F" if fortran else "C")
            case _:
                return None

    def _decoded(
        self, raw: bytes | bytearray, dtype: object, shape: tuple[Any, ...], order: str
    ) -> NDArray[Any] | None:
        match dtype:
            case Record("numpy.dtype", (str(code), *_), (int(), "<" | ">" | "|" as end, None, None, None, *_)) if (
                code in _CODES
            ):
                kind = np.dtype(end + code)
            case _:
                return None  # texts, records and the like stay opaque
        if len(shape) > 32 or any(type(size) is not int or not 0 <= size < 2**40 for size in shape):
            raise InputError("holds an array whose sizes are not non-negative integers")
        if order not in ("C", "F") or len(raw) != math.prod(shape) * kind.itemsize:
            raise InputError("holds an array that is shorter or longer than it says; it is damaged, save it again")
        self.left_bytes -= len(raw)
        if self.left_bytes < 0:
            raise InputError("names arrays larger than itself, so it was not loaded")
        values: NDArray[Any] = np.frombuffer(raw, kind).reshape(shape[::-1] if order == "F" else shape)
        return values.T if order == "F" else values
