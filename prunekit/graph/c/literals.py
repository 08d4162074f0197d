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
_SIZES = {"float": 4, "int32_t": 4, "int16_t": 2, "int8_t": 1, "uint8_t": 1}


@final
@dataclass(frozen=True)
class Constant:
    """A constant array as C, and how many bytes it takes."""

    text: str
    size_bytes: int


def c_float(value: float) -> str:
    """Return a float32 as a C literal that loses nothing."""
    mantissa, exponent = float(np.float32(value)).hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}f"


def finite(bounds: Sequence[float]) -> Float32:
    """Return bounds as float32, infinite ones as the largest finite number."""
    return np.clip(np.asarray(bounds, np.float64), -LARGEST, LARGEST).astype(np.float32)


def array(kind: str, prefix: str, name: str, values: NDArray[Any]) -> Constant:
    """Return the constant array ``<prefix>_<name>`` of float or of an integer type."""
    flat = np.ravel(values)
    texts = [c_float(float(value)) for value in flat] if kind == "float" else [str(int(value)) for value in flat]
    return Constant(_array(kind, f"{prefix}_{name}", texts, prefix.upper()), flat.size * _SIZES[kind])


def _array(kind: str, name: str, texts: Sequence[str], upper: str) -> str:
    rows = [", ".join(texts[i : i + _PER_LINE]) for i in range(0, len(texts), _PER_LINE)]
    body = ",\n    ".join(rows)
    return f"static const {kind} {name}[{len(texts)}] {upper}_FLASH = {{\n    {body}\n}};\n"
