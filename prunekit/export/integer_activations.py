"""Integer activation functions and their NumPy twins: from a 16-bit z to an activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never, final

import numpy as np

from prunekit.export.integer_curves import TABLE_SIZE, CurveTable, end_of, max_of
from prunekit.export.rounding import Bits, Float64, Integers
from prunekit.graph.integers import Bent, Curve, Pointwise, Quotient, Squashed

Z_MAX = 32_767
MARGIN = 1.25
"""Recorded ranges are widened by it: what a policy does not see in a few episodes it sees in many."""
# tanh is read off a table over [0, end): beyond it the value rounds to that of the end.
TANH_END = {16: 8.0, 8: 4.0}
_MIN_END = 1e-6


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """z, or (z * slope) >> shift if z is negative, clipped to [low, high]; one slope or [out], ``shift`` rounds."""

    slope: int | Integers = 1 << 15
    shift: int = 15
    low: int = -Z_MAX
    high: int = Z_MAX

    @property
    def name(self) -> str:
        """The function's name in C."""
        if not isinstance(self.slope, int):
            return "prelu"
        if self.slope != 1 << self.shift:
            return "leaky_relu"
        if self.high == Z_MAX and self.low in (0, -Z_MAX):
            return "relu" if self.low == 0 else "identity"
        return "clip"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Ratio:
    """z / (one + |z|), where ``one`` is the integer that stands for 1."""

    one: int


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Curved:
    """max(z, 0) plus the tabulated difference; (multiplier, shift) of the table's input and of its output."""

    table: CurveTable
    inward: tuple[int, int]
    outward: tuple[int, int]


IntegerActivation = Squashed | Line | Ratio | Curved


def z_end(step: Pointwise, meant: Float64, made: Float64, bits: Bits) -> float:
    """Return the value that the largest z stands for.

    ``meant`` are the sums [n, out] on recorded observations, ``made`` the function of them.
    """
    reach = MARGIN * float(np.abs(meant).max())
    wide = max(reach, MARGIN * float(np.abs(made).max()))
    match step:
        case Squashed():
            return TANH_END[bits] * (2.0 if step.kind == "sigmoid" else 1.0)
        case Quotient():
            one = max(np.floor(Z_MAX / max(reach, 1.0)), 1.0)  # so that z at 1 is a whole number
            return float(Z_MAX / one)
        case Bent():
            low = max(step.low, 0.0) if np.all(np.asarray(step.slope) == 0.0) else step.low
            return max(min(wide, max(abs(low), abs(step.high))), _MIN_END)
        case Curve():
            # Below its table a function is constant, so z need not cover that range.
            below = min(MARGIN * max(-float(meant.min()), 0.0), end_of(step, bits))
            above = MARGIN * max(float(meant.max()), float(np.abs(made).max()))
            return max(below, above, _MIN_END)
        case _:
            assert_never(step)


def fitted(step: Pointwise, end: float, table: CurveTable | None) -> IntegerActivation:
    """Return ``step`` in integers, for z up to ``end``; a curve has its ``table``."""
    match step:
        case Squashed():
            return step
        case Quotient():
            return Ratio(one=round(Z_MAX / end))
        case Curve():
            assert table is not None
            inward = scaling(end / table.end * (TABLE_SIZE * 128) / Z_MAX)
            return Curved(table=table, inward=inward, outward=scaling(table.unit * Z_MAX / end))
        case Bent():
            low, high = (int(np.clip(np.floor(b * (Z_MAX / end) + 0.5), -Z_MAX, Z_MAX)) for b in _ends(step, end))
            slope = np.asarray(step.slope)
            if (slope == 0.0).all():
                return Line(low=max(low, 0), high=high)
            # A slope of up to 1 has 15 fractional bits; steeper ones have fewer.
            steepest = float(np.abs(slope).max())
            shift = 15 if steepest <= 1.0 else max(14 - int(np.floor(np.log2(steepest))), 0)
            if slope.ndim == 0:
                maximum = (1 << 15) if shift == 15 else Z_MAX
                whole = int(np.clip(round(float(slope) * (1 << shift)), -maximum, maximum))
                return Line(slope=whole, shift=shift, low=low, high=high)
            slopes = np.clip(_rounded(slope * (1 << shift)), -Z_MAX, Z_MAX)  # 16 bits in C
            return Line(slope=slopes, shift=shift, low=low, high=high)
        case _:
            assert_never(step)


def unit_of(step: Pointwise, end: float, bits: Bits) -> float:
    """Return the value of one integer step of the activation."""
    match step:
        case Squashed():
            return 1.0 / max_of(bits)
        case Quotient():
            return (256.0 if bits == 8 else 1.0) / Z_MAX
        case Curve():
            return (256.0 if bits == 8 else 1.0) * end / Z_MAX
        case Bent():
            return (256.0 if bits == 8 else 1.0) * end / Z_MAX
        case _:
            assert_never(step)


def activated(activation: IntegerActivation, z: Integers, tanh: Integers, bits: Bits) -> Integers:
    """Return the activation of ``z`` [n, out]; ``tanh`` is the table of tanh."""
    match activation:
        case Squashed():
            value = _tanh(z, tanh, bits)
            return value if activation.kind == "tanh" else (max_of(bits) + value) >> 1
        case Line():
            z = np.clip(_line(activation, z), activation.low, activation.high)
        case Ratio():
            size = np.abs(z)
            below = activation.one + size
            z = np.sign(z) * ((size * Z_MAX + (below >> 1)) // below)
        case Curved():
            z = _curved(activation, z, bits)
        case _:
            assert_never(activation)
    return z if bits == 16 else np.asarray(np.clip((z + 128) >> 8, -127, 127), np.int64)


def shifted(values: Integers, by: Integers | int) -> Integers:
    """Return ``values`` >> ``by``, rounded, with absolute values of at most 32767."""
    return np.clip(whole_shifted(values, by), -Z_MAX, Z_MAX)


def whole_shifted(values: Integers, by: Integers | int) -> Integers:
    """Return ``values`` >> ``by``, rounded."""
    return np.asarray((values + ((np.int64(1) << by) >> 1)) >> by, np.int64)


def _tanh(z: Integers, table: Integers, bits: Bits) -> Integers:
    size = np.abs(z)
    index, rest = size >> 7, size & 127
    value = table[index]
    if bits == 16:
        value = value + (((table[index + 1] - value) * rest + 64) >> 7)
    return np.asarray(np.where(z < 0, -value, value), np.int64)


def _line(line: Line, z: Integers) -> Integers:
    return np.where(z < 0, shifted(z * line.slope, line.shift), z)


def _curved(curved: Curved, z: Integers, bits: Bits) -> Integers:
    place = np.clip(shifted(np.abs(z) * curved.inward[0], curved.inward[1]), 0, Z_MAX)
    values = curved.table.values
    side = np.where(z < 0, 0, len(values) - 1)
    index, rest = place >> 7, place & 127
    value = values[side, index]
    if bits == 16:
        value = value + (((values[side, index + 1] - value) * rest + 64) >> 7)
    if curved.table.sides == "left":
        value = np.where(z < 0, value, 0)
    return np.clip(np.maximum(z, 0) + shifted(value * curved.outward[0], curved.outward[1]), -Z_MAX, Z_MAX)


def scaling(ratio: float) -> tuple[int, int]:
    """Return (multiplier of 15 bits, shift) of a multiplication by ``ratio``."""
    shift = int(np.clip(14 - np.floor(np.log2(ratio)), 0, 30))
    return int(min(np.floor(ratio * 2.0**shift + 0.5), Z_MAX)), shift


def _ends(step: Bent, end: float) -> tuple[float, float]:
    return max(step.low, -end), min(step.high, end)


def _rounded(values: Float64) -> Integers:
    return np.floor(values + 0.5).astype(np.int64)
