"""Numbers and constant arrays as C."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
LARGEST = float(np.finfo(np.float32).max)
"""The largest finite float32."""
_PER_LINE = 6
_PIECE = _PER_LINE * 4096
"""So many numbers are made text at once: whole lines."""
_SIZES = {"float": 4, "int32_t": 4, "int16_t": 2, "uint16_t": 2, "int8_t": 1, "uint8_t": 1}


@final
@dataclass(frozen=True, kw_only=True)
class Constant:
    """A constant array in C, and its size in bytes."""

    text: str
    size_bytes: int


def c_float(value: float) -> str:
    """Return the C literal of a float32, without loss."""
    mantissa, exponent = float(np.float32(value)).hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}f"


def finite(bounds: Sequence[float]) -> Float32:
    """Return bounds as float32, with infinite ones replaced by the largest finite number."""
    return np.clip(np.asarray(bounds, np.float64), -LARGEST, LARGEST).astype(np.float32)


def array(kind: str, prefix: str, name: str, values: NDArray[Any]) -> Constant:
    """Return the C array ``<prefix>_<name>`` of floats or of an integer type."""
    flat = np.ravel(values)
    texts = float_texts if kind == "float" else _integer_texts
    begin = f"static const {kind} {prefix}_{name}[{flat.size}] {prefix.upper()}_FLASH = {{\n    "
    parts = (_BETWEEN * bool(at) + texts(flat[at : at + _PIECE]) for at in range(0, flat.size, _PIECE))
    return Constant(text="".join([begin, *parts, "\n};\n"]), size_bytes=flat.size * _SIZES[kind])


def float_texts(values: NDArray[Any]) -> str:
    """Return ``c_float`` of each of ``values`` [n], all finite and n >= 1, as lines of text.

    Networks have millions of weights, so the text is made for all at once: one row of characters per number, padded
    with NUL.
    """
    bits = values.astype(np.float32).astype(np.float64).view(np.uint64)  # no float32 is subnormal in float64
    mantissa = (bits >> np.uint64(28)).astype(np.uint32) & np.uint32(0xFFFFFF)  # the other 28 bits are zero
    field = (bits >> np.uint64(52)).astype(np.int32) & 0x7FF
    exponent = np.where(field > 0, field - 1023, 0)
    size = np.abs(exponent)
    text = np.zeros((len(values), _COLUMNS), np.uint8)
    text[:, 0] = np.where(bits >> np.uint64(63), ord("-"), 0)
    text[:, 1:4] = _ascii("0x1")
    text[field == 0, 3] = ord("0")
    text[:, 4] = np.where(mantissa, ord("."), 0)
    for digit in range(6):
        left = mantissa & np.uint32(0xFFFFFF >> 4 * digit)
        text[:, 5 + digit] = np.where(left, _HEX[left >> np.uint32(20 - 4 * digit)], 0)
    text[:, 11] = ord("p")
    text[:, 12] = np.where(exponent < 0, ord("-"), ord("+"))
    for column, unit in ((13, 100), (14, 10), (15, 1)):
        text[:, column] = np.where((size >= unit) | (unit == 1), ord("0") + size // unit % 10, 0)
    text[:, 16:19] = _ascii("f, ")
    text[_PER_LINE - 1 :: _PER_LINE, 16:] = _ascii(f"f{_BETWEEN}")
    text[-1, 17:] = 0
    return text.tobytes().translate(None, b"\0").decode("ascii")


def _integer_texts(values: NDArray[Any]) -> str:
    texts = list(map(str, values.astype(np.int64).tolist()))
    return _BETWEEN.join(", ".join(texts[at : at + _PER_LINE]) for at in range(0, len(texts), _PER_LINE))


def _ascii(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode("ascii"), np.uint8)


_BETWEEN = ",\n    "
"""What stands between lines."""
_COLUMNS = 17 + len(_BETWEEN)
_HEX = _ascii("0123456789abcdef")
