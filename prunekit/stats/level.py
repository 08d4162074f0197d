"""The level of a test: the largest allowed probability of an error."""

from __future__ import annotations

import math

from prunekit.errors import InputError


def log_of_refuting(alpha: float) -> float:
    """Return the logarithm of the capital that refutes at the level ``alpha``; raises InputError for an ``alpha``
    outside (0, 1).

    >>> round(log_of_refuting(0.05), 3)
    2.996
    """
    if not 0.0 < alpha < 1.0:
        raise InputError(f"`alpha`, how often a bound may be wrong, must lie between 0 and 1, got {alpha:g}")
    return -math.log(alpha)
