"""Fits the rational functions of the generated C (tanh, erf), and measures their errors over every float32.

    python benchmarks/c_math.py

Each is x * P(x^2) / Q(x^2), Q(0) = 1, fitted to the least largest absolute error on [0, end] by Lawson's iteration: a
linear least-squares fit of x * P - y * Q in float64, weighted by 1 / Q of the last one, so that it is the error of the
quotient, and by weights that grow where that error is large. Beyond the end the function is taken to be 1. The
coefficients of the fit, rounded to float32, stand in ``prunekit/graph/c/functions.py``; this script says if they
differ. The square root and the exponential below zero, which are made of others, are measured too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import NDArray
from record import write_result

from prunekit.graph.c.functions import ERF, TANH, Rational, decay, root
from prunekit.graph.c.literals import Float32

Array = NDArray[np.float64]
_POINTS, _ITERATIONS = 4_000, 60


def fitted(function: Callable[[Array], Array], above: int, below: int, end: float) -> Rational:
    """Return x * P(x^2) / Q(x^2) with P of degree ``above`` and Q of degree ``below``, the nearest to ``function``."""
    x = 0.5 * end * (1.0 - np.cos(np.pi * (np.arange(_POINTS) + 0.5) / _POINTS))
    y, square = function(x), x * x
    weights, last = np.ones(_POINTS), np.ones(_POINTS)
    best, least = (np.zeros(above + 1), np.zeros(below + 1)), math.inf
    columns = np.stack([x * square**i for i in range(above + 1)] + [-y * square**i for i in range(1, below + 1)], 1)
    sizes = np.abs(columns).max(axis=0)
    for _ in range(_ITERATIONS):
        share = np.sqrt(weights) / last
        found = np.linalg.lstsq(columns / sizes * share[:, None], y * share, rcond=None)[0] / sizes
        numerator, denominator = found[: above + 1], np.concatenate([[1.0], found[above + 1 :]])
        last = polynomial.polyval(square, denominator)
        error = np.abs(x * polynomial.polyval(square, numerator) / last - y)
        if error.max() < least:
            best, least = (numerator, denominator), float(error.max())
        weights *= error / error.max() + 1e-3
        weights /= weights.mean()
    above_line, below_line = (tuple(float(np.float32(value)) for value in part) for part in best)
    return Rational(numerator=above_line, denominator=below_line, end=end)


def largest_error(rational: Rational, function: Callable[[Array], Array]) -> float:
    """Return the largest absolute error over every float32 from 0 to beyond the end."""
    largest = 0.0
    last = int(np.float32(rational.end + 1.0).view(np.uint32))
    for first in range(0, last, 2**22):
        x = np.arange(first, min(first + 2**22, last), dtype=np.uint32).view(np.float32)
        largest = max(largest, float(np.abs(rational(x).astype(np.float64) - function(x.astype(np.float64))).max()))
    return largest


def largest_of_decay() -> float:
    """Return the largest absolute error of exp(x) over every float32 from 0 down to -100."""
    last = int(np.float32(100.0).view(np.uint32))
    return max(float(np.abs(decay(-x) - np.exp(-x.astype(np.float64))).max()) for x in _positive(0, last))


def largest_of_root() -> float:
    """Return the largest error of the square root over every float32 of two octaves, in units in the last place."""
    first, last = (int(np.float32(end).view(np.uint32)) for end in (1.0, 4.0))
    largest = 0.0
    for x in _positive(first, last):
        true = np.sqrt(x.astype(np.float64))
        largest = max(largest, float((np.abs(root(x) - true) / np.spacing(true.astype(np.float32))).max()))
    return largest


def _positive(first: int, last: int) -> Iterator[Float32]:
    for start in range(first, last, 2**22):
        yield np.arange(start, min(start + 2**22, last), dtype=np.uint32).view(np.float32)


def _erf(x: Array) -> Array:
    import torch

    return torch.erf(torch.from_numpy(x)).numpy()


def main() -> None:
    """Fit, compare with what is in the code, measure, and write the result."""
    entries = {}
    for name, function, used, above, below in (("tanh", np.tanh, TANH, 3, 4), ("erf", _erf, ERF, 4, 5)):
        fit = fitted(function, above, below, used.end)
        entries[name] = {
            "numerator": [value.hex() for value in fit.numerator],
            "denominator": [value.hex() for value in fit.denominator],
            "end": used.end,
            "in the code": fit == used,
            "largest absolute error over float32": largest_error(used, function),
        }
        print(name, entries[name])
    made = {"exp below zero": largest_of_decay(), "sqrt, in units in the last place": largest_of_root()}
    entries |= {name: {"largest absolute error over float32": error} for name, error in made.items()}
    print(made)
    write_result("c_math", "python benchmarks/c_math.py", {"functions": entries})


if __name__ == "__main__":
    main()
