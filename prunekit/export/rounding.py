"""Rounding of weights to integers such that a layer's sums change least on recorded inputs.

Rounding each weight for itself adds up errors. Here the inputs are taken one after the other, and the error that
rounding the weights of one makes is taken over by those of the inputs still to come, as far as these say the same
(optimal brain quantization, Frantar and Alistarh 2022; in one order for all rows as in GPTQ, Frantar et al. 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Float64 = NDArray[np.float64]
Bits = Literal[8, 16]
"""Of activations beside int8 weights."""

# Layers of more inputs are rounded each weight for itself: the moments would take gigabytes and minutes.
MAX_INPUTS = 4_096
# Of the mean square of the inputs: what is not well known from few recorded ones stays as it was.
_DAMPING = 0.01
# Rows are rounded so many at a time: what any processor has in its second cache.
_VALUES_AT_ONCE = 2**16


def refitted(
    weight: Float64, bias: Float64, x: Integers, wanted: Float64, *, max_inputs: int = MAX_INPUTS
) -> tuple[Float64, Float64]:
    """Return (weight [out, in], bias [out]) whose sums of ``x`` [n, in] are nearer to ``wanted`` [n, out].

    Layers of more than ``max_inputs`` stay as they are.
    """
    if weight.shape[1] > max_inputs:
        return weight, bias
    inputs, size = _with_one(x)
    moment = _moment(inputs)
    both = np.concatenate([weight * size, bias[:, None]], axis=1)
    error = (wanted - inputs @ both.T).T @ inputs / len(inputs)
    both = both + np.linalg.solve(moment, error.T).T
    return both[:, :-1] / size, both[:, -1]


def rounded_to(weight: Float64, x: Integers, maximum: int, *, max_inputs: int = MAX_INPUTS) -> tuple[Integers, Float64]:
    """Return (``weight`` [out, in] rounded, at most ``maximum`` in size, what the biases [out] have to add for it).

    In layers of more than ``max_inputs`` each weight is rounded for itself.
    """
    if weight.shape[1] > max_inputs:
        return np.clip(np.floor(weight + 0.5), -maximum, maximum).astype(np.int64), np.zeros(len(weight))
    inputs, size = _with_one(x)
    moment = _moment(inputs)
    left = np.concatenate([weight * size, np.zeros((len(weight), 1))], axis=1)
    order = [*np.argsort(-np.diag(moment)[:-1]), len(moment) - 1]
    inverse = np.linalg.inv(moment[np.ix_(order, order)])
    upper = np.ascontiguousarray(np.linalg.cholesky(inverse).T)
    left = np.ascontiguousarray(left[:, order])
    whole = np.zeros(weight.shape, np.int64)
    at_once = max(_VALUES_AT_ONCE // left.shape[1], 1)
    for first in range(0, len(left), at_once):
        _round_rows_(left[first : first + at_once], whole[first : first + at_once], order, upper, size, maximum)
    return whole, left[:, -1]


def _round_rows_(
    left: Float64, whole: Integers, order: Sequence[int], upper: Float64, size: float, maximum: int
) -> None:
    """Round rows of weights, ``left`` in ``order``, into ``whole``; what is left of them is the error."""
    for place, column in enumerate(order[:-1]):
        whole[:, column] = np.clip(np.floor(left[:, place] / size + 0.5), -maximum, maximum).astype(np.int64)
        error = (left[:, place] - whole[:, column] * size) / upper[place, place]
        left[:, place + 1 :] -= error[:, None] * upper[place, place + 1 :]


def _with_one(x: Integers) -> tuple[Float64, float]:
    """Return the inputs [n, in + 1] over their largest size, with a one for the bias, and that size."""
    size = max(float(np.abs(x).max(initial=0)), 1.0)
    return np.concatenate([x / size, np.ones((len(x), 1))], axis=1), size


def _moment(inputs: Float64) -> Float64:
    moment = inputs.T @ inputs / len(inputs)
    damping = _DAMPING * float(np.diag(moment)[:-1].mean()) + 1e-9
    return np.asarray(moment + damping * np.eye(len(moment)), np.float64)
