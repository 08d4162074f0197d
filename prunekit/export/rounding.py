"""Rounding of weights to integers with the smallest change of a layer's sums on recorded inputs.

Rounding each weight separately lets errors add up. Here the inputs are processed one after the other. The rounding
error of one input's weights is compensated by the weights of the inputs still to come, as far as these are correlated
with it (optimal brain quantization, Frantar and Alistarh 2022; in one order for all rows as in GPTQ, Frantar et al.
2022, arXiv 2210.17323). The step of each row is the one with the smallest remaining error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Float64 = NDArray[np.float64]
Bits = Literal[8, 16]
"""Of activations beside int8 weights."""


@final
@dataclass(frozen=True, kw_only=True)
class Rounding:
    """How weights are rounded.

    ``damping``, relative to the mean square of the inputs, limits changes in directions that the recorded inputs do not
    determine. ``steps`` are the candidates for each row, relative to its largest weight over 127, in layers of up to
    ``max_searched`` inputs; the first of equals wins. In layers of more than ``max_inputs`` each weight is rounded
    separately, because the second moments would take gigabytes.
    """

    damping: float = 1e-4
    steps: tuple[float, ...] = (1.0, 0.7, 0.8, 0.9, 0.95, 1.05, 1.1, 1.2, 1.4)
    max_searched: int = 1_024
    max_inputs: int = 4_096


# The number of rows that are rounded at a time; they fit into the second-level cache of any processor.
_VALUES_AT_ONCE = 2**16


def refitted(weight: Float64, bias: Float64, x: Integers, wanted: Float64, how: Rounding) -> tuple[Float64, Float64]:
    """Return (weight [out, in], bias [out]) whose sums of ``x`` [n, in] are closer to ``wanted`` [n, out].

    Layers of more than ``how.max_inputs`` inputs are returned unchanged.
    """
    if weight.shape[1] > how.max_inputs:
        return weight, bias
    inputs, size = _with_one(x)
    moment = _moment(inputs, how.damping)
    both = np.concatenate([weight * size, bias[:, None]], axis=1)
    error = (wanted - inputs @ both.T).T @ inputs / len(inputs)
    both = both + np.linalg.solve(moment, error.T).T
    return both[:, :-1] / size, both[:, -1]


def rounded_to(
    weight: Float64, step: Float64, x: Integers, cap: int, room: Float64, how: Rounding
) -> tuple[Integers, Float64, Float64]:
    """Return (``weight`` [out, in] in integer steps of at most ``cap``, corrections of the biases [out], the steps
    [out]).

    The steps are those of ``how`` times ``step`` that change each row's sums of ``x`` least. Smaller steps clip the
    largest weights of a row for the benefit of all others; larger steps leave room for compensation. The sum of a row's
    absolute values stays below ``room`` [out] if it does with ``step`` itself. In very wide layers each weight is
    rounded separately.
    """
    if weight.shape[1] > how.max_inputs:
        whole = np.clip(np.floor(weight / step[:, None] + 0.5), -cap, cap).astype(np.int64)
        return whole, np.zeros(len(weight)), step
    inputs, size = _with_one(x)
    moment = _moment(inputs, how.damping)
    order = [*np.argsort(-np.diag(moment)[:-1]), len(moment) - 1]
    inverse = np.linalg.inv(moment[np.ix_(order, order)])
    upper = np.ascontiguousarray(np.linalg.cholesky(inverse).T)
    at_once = max(_VALUES_AT_ONCE // len(moment), 1)
    steps = how.steps if weight.shape[1] <= how.max_searched else how.steps[:1]
    found = [
        _best_rows(weight[rows], step[rows], steps, order, upper, size, cap, room[rows])
        for rows in (slice(first, first + at_once) for first in range(0, len(weight), at_once))
    ]
    whole, left, chosen = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return whole, left, chosen


def _best_rows(
    weight: Float64,
    step: Float64,
    factors: Sequence[float],
    order: Sequence[int],
    upper: Float64,
    size: float,
    cap: int,
    room: Float64,
) -> tuple[Integers, Float64, Float64]:
    """Return integer rows, the corrections of their biases, and their steps."""
    best = np.zeros(weight.shape, np.int64), np.zeros(len(weight)), step.copy()
    lowest = np.full(len(weight), np.inf)
    for factor in factors:
        tried = step * factor
        left = np.concatenate([weight / tried[:, None] * size, np.zeros((len(weight), 1))], axis=1)
        left = np.ascontiguousarray(left[:, order])
        whole = np.zeros(weight.shape, np.int64)
        error = _round_rows_(left, whole, order, upper, size, cap) * tried**2
        if factor != 1.0:
            error = np.where(np.abs(whole).sum(axis=1) < room, error, np.inf)
        better = error < lowest
        for kept, own in zip(best, (whole, left[:, -1], tried), strict=True):
            kept[better] = own[better]
        lowest = np.minimum(error, lowest)
    return best


def _round_rows_(
    left: Float64, whole: Integers, order: Sequence[int], upper: Float64, size: float, cap: int
) -> Float64:
    """Round rows of weights, ``left`` in ``order``, into ``whole``; afterwards ``left`` holds the errors.

    Return the mean square change of the sums per row, including damping.
    """
    squares = np.zeros(len(left))
    for place, column in enumerate(order[:-1]):
        whole[:, column] = np.clip(np.floor(left[:, place] / size + 0.5), -cap, cap).astype(np.int64)
        error = (left[:, place] - whole[:, column] * size) / upper[place, place]
        left[:, place + 1 :] -= error[:, None] * upper[place, place + 1 :]
        squares += error**2
    return squares


def _with_one(x: Integers) -> tuple[Float64, float]:
    """Return the inputs [n, in + 1] divided by their largest absolute value, with a one appended for the bias, and that
    value.
    """
    size = max(float(np.abs(x).max(initial=0)), 1.0)
    return np.concatenate([x / size, np.ones((len(x), 1))], axis=1), size


def _moment(inputs: Float64, damping: float) -> Float64:
    moment = inputs.T @ inputs / len(inputs)
    damping = damping * float(np.diag(moment)[:-1].mean()) + 1e-9
    return np.asarray(moment + damping * np.eye(len(moment)), np.float64)
