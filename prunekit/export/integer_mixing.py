"""The constants of stages that combine values: shifts and 15-bit multipliers between different step sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.export.integer_activations import Z_MAX, IntegerActivation
from prunekit.export.integer_stages import Value
from prunekit.export.quantized import Added, Floated, Multiplied, Placed, rounded
from prunekit.export.rounding import Float64, Integers

# The rounding constant of a shift must fit into the bits that sums leave of 32.
_MAX_SHIFT = 24
# The largest number of bits of an offset of a 16-bit value, so the sum and the rounding constant fit into 32 bits.
_OFFSET_BITS = 29


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Steps:
    """The meaning of integers x: the value is ``unit`` * x + ``offset``, both [n]."""

    unit: Float64
    offset: Float64

    def of(self, value: Value) -> Steps:
        """Return the steps of ``value``, whose stage has these steps."""
        unit, offset = self.unit, self.offset
        for step in value.scaled:
            unit, offset = unit * step.scale, (offset - step.mean) * step.scale + step.shift
        return Steps(unit=np.asarray(unit, np.float64), offset=np.asarray(offset, np.float64))

    @property
    def level(self) -> float | None:
        """The common unit, if all are equal and not 0 and there is no offset; otherwise None."""
        first = float(self.unit[0])
        return first if first != 0.0 and (self.unit == first).all() and not self.offset.any() else None


def requantized(counts: Float64) -> tuple[Integers, Integers, Integers]:
    """Return (multiplier of 15 bits, shift before it, shift after it) that scale ``counts`` steps to 32767."""
    # A unit with tiny weights never gets near the end of the range, so a larger shift changes nothing.
    before = np.clip(np.ceil(np.log2(counts / Z_MAX)), 0.0, _MAX_SHIFT).astype(np.int64)
    ratio = Z_MAX / (counts / 2.0**before)
    after = np.clip(14 - np.floor(np.log2(ratio)), 0, 30).astype(np.int64)
    return rounded(np.minimum(ratio * 2.0**after, Z_MAX)), before, after


def placed(source: str, steps: Steps, end: float) -> Placed:
    """Return the stage that scales a value to a z whose largest stands for ``end``."""
    maximum = 2.0**_OFFSET_BITS
    ratio, offset = steps.unit * (Z_MAX / end), np.clip(steps.offset * (Z_MAX / end), -maximum, maximum)
    size = np.maximum(np.abs(ratio), 2.0**-16)
    room = _OFFSET_BITS - np.ceil(np.log2(np.maximum(np.abs(offset), 1.0)))
    shift = np.clip(np.minimum(14 - np.floor(np.log2(size)), room), 0, _MAX_SHIFT).astype(np.int64)
    multiplier = rounded(np.clip(ratio * 2.0**shift, -Z_MAX, Z_MAX))
    return Placed(source=source, multiplier=multiplier, offset=rounded(offset * 2.0**shift), shift=shift)


def added(
    name: str, sources: tuple[str, str], units: tuple[float, float], end: float, activation: IntegerActivation
) -> Added:
    """Return the sum of two values with one unit each, with a z whose largest stands for ``end``."""
    ratios = [unit * (Z_MAX / end) for unit in units]
    # Two factors of 14 bits, so that the sum of both products has 31.
    shift = int(np.clip(13 - np.floor(np.log2(max(map(abs, ratios)))), 0, _MAX_SHIFT))
    first, second = (int(np.clip(np.floor(ratio * 2.0**shift + 0.5), -(2**14), 2**14)) for ratio in ratios)
    return Added(name=name, sources=sources, multipliers=(first, second), shift=shift, activation=activation)


def multiplied(
    name: str, sources: tuple[str, str], units: tuple[float, float], end: float, activation: IntegerActivation
) -> Multiplied:
    """Return the product of two values with one unit each, z ending at ``end``."""
    unit = units[0] * units[1]
    multiplier, before, after = (int(one[0]) for one in requantized(np.asarray([end / abs(unit)])))
    return Multiplied(
        name=name,
        sources=sources,
        before=before,
        multiplier=multiplier if unit > 0.0 else -multiplier,
        after=after,
        activation=activation,
    )


def floated(name: str, source: str, steps: Steps) -> Floated:
    """Return a value converted to floats; raises InputError if float32 cannot hold it."""
    return Floated(name=name, source=source, step=in_float32(steps.unit, name), offset=in_float32(steps.offset, name))


def in_float32(values: Float64, name: str) -> NDArray[np.float32]:
    """Return ``values`` in float32; raises InputError, naming the node ``name``, if float32 cannot hold them."""
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    if not np.isfinite(found).all():
        raise InputError(f"node '{name}': its values are beyond float32; export without `int8`")
    return found
