"""LayerNorm and RMSNorm in 32-bit integers: their constants, and their NumPy twin.

A norm does not depend on the scale of its input. So in each call the centred values are scaled by a power of two until
the largest has 14 bits. Their squares then fit into 32 bits, and small values keep their precision. The square root of
epsilon is scaled in the same way, and so is the mean if units have been removed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.export.integer_activations import scaling, shifted, whole_shifted
from prunekit.export.rounding import Bits, Integers
from prunekit.graph.integers import Normed

FINE = 13
"""Values are multiplied by 2^13 before they are scaled down, so that scaling is always a shift to the right."""
_MAX_BITS = 14
_MAX_EPSILON = 65_535


@final
@dataclass(frozen=True, kw_only=True)
class NormNumbers:
    """Constants of a norm: ``epsilon`` is its square root in steps of x (of x * 128 if x has 8 bits), ``count`` that of
    the norm.

    Squares are shifted by ``narrow`` before they are added. Values over the root of the sum have 30 bits plus half of
    that shift; they are shifted by ``root`` minus that half. Then z = value * ``multiplier`` >> ``shift``.
    """

    centred: bool
    count: int
    epsilon: int
    narrow: int
    root: int
    multiplier: int
    shift: int


def norm_numbers(step: Normed, called: str, unit: float, z_unit: float, bits: Bits) -> NormNumbers:
    """Return the constants of ``step`` for x in steps of ``unit``, and z in steps of ``z_unit``.

    Raises InputError, naming node and op as ``called``, for an epsilon far above the range of x.
    """
    epsilon = math.sqrt(step.epsilon) / unit * (128.0 if bits == 8 else 1.0)
    if epsilon > _MAX_EPSILON:
        raise InputError(
            f"{called}: its epsilon, {step.epsilon:g}, is far above the variance of the recorded values, so nothing "
            "would be left in integers; export without `int8`"
        )
    narrow = max(math.ceil(math.log2(step.count)) - 2, 0)
    root = 15 + math.ceil(narrow / 2)
    multiplier, shift = scaling(math.sqrt(step.count / 2.0**narrow) / z_unit * 2.0 ** (root - 30))
    return NormNumbers(
        centred=step.centred,
        count=step.count,
        epsilon=max(round(epsilon), 1),
        narrow=narrow,
        root=root,
        multiplier=multiplier,
        shift=shift,
    )


def normed(numbers: NormNumbers, x: Integers, bits: Bits) -> Integers:
    """Return z [rows, n] of ``x`` [rows, n], with the same bits as the C."""
    x = x * 128 if bits == 8 else x
    count, gone = numbers.count, numbers.count - x.shape[1]
    sums = x.sum(axis=1, keepdims=True) if numbers.centred else np.zeros((len(x), 1), np.int64)
    mean = np.sign(sums) * ((np.abs(sums) + count // 2) // count)
    apart = x - mean
    largest = np.maximum(np.abs(apart).max(axis=1, keepdims=True), numbers.epsilon)
    if gone:
        largest = np.maximum(largest, np.abs(mean))
    down = _count(((largest << FINE) >> by) >= (1 << _MAX_BITS) for by in range(18))
    epsilon = np.full_like(mean, numbers.epsilon)
    value, middle, minimum = (whole_shifted(one << FINE, down) for one in (apart, mean, epsilon))
    squares = whole_shifted(value * value, numbers.narrow).sum(axis=1, keepdims=True)
    squares = squares + gone * whole_shifted(middle * middle, numbers.narrow)
    squares = squares + count * whole_shifted(minimum * minimum, numbers.narrow)
    halves = _count((squares << (2 * by)) < (1 << 30) for by in range(15))
    root = np.floor(np.sqrt((squares << (2 * halves)).astype(np.float64))).astype(np.int64)
    inverse = np.minimum(((1 << 30) + (root >> 1)) // root, 32_767)
    return shifted(shifted(value * inverse, numbers.root - halves) * numbers.multiplier, numbers.shift)


def _count(conditions: Iterable[NDArray[np.bool_]]) -> Integers:
    return np.asarray(np.sum([condition.astype(np.int64) for condition in conditions], axis=0), np.int64)
