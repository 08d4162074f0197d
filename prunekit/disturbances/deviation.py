"""The standard deviations of observations, by which noise is scaled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

Act = Callable[[Any], Any]

DEVIATION_SEEDS = range(199_999_900, 199_999_920)
"""Of undisturbed episodes of a teacher, in terms of which noise is given; no certificate and no search plays them."""


@final
class Deviation:
    """The standard deviation of every entry over all observations that an ``act`` receives (Welford 1962)."""

    def __init__(self, width: int) -> None:
        self._count = 0
        self._mean = np.zeros(width)
        self._squares = np.zeros(width)

    def watching(self, act: Act) -> Act:
        """Return ``act`` with its observations recorded."""

        def watched(observation: Any) -> Any:
            self.take(observation)
            return act(observation)

        return watched

    def take(self, observation: Any) -> None:
        """Add one observation [obs]."""
        self._count += 1
        value = np.asarray(observation, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            change = value - self._mean
            self._mean += change / self._count
            self._squares += change * (value - self._mean)

    @property
    def value(self) -> NDArray[np.float64]:
        """The standard deviation [obs]; 0 before two observations, not finite if an observation was not."""
        found: NDArray[np.float64] = np.sqrt(self._squares / max(self._count, 1))
        return found
