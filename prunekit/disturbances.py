"""What happens to a policy outside its simulator: sensors that are noisy, observations that come late."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError

Act = Callable[[Any], Any]


@final
@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What is done to the observations of a policy.

    ``observation_noise`` is the standard deviation of Gaussian noise on every entry, in terms of the entry's own
    standard deviation over undisturbed episodes; ``delay_steps`` is how many steps late an observation comes (the first
    one is seen until the next arrives). Raises InputError for values that are negative or not finite.
    """

    observation_noise: float = 0.0
    delay_steps: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.observation_noise < math.inf or self.delay_steps < 0:
            raise InputError(
                f"a disturbance has noise and a delay that are not negative, not {self.observation_noise:g} and "
                f"{self.delay_steps}"
            )


def disturbed(act: Act, disturbance: Disturbance, deviation: NDArray[np.float64], seed: int) -> Act:
    """Return ``act`` under ``disturbance`` for one episode, whose ``seed`` seeds the noise.

    ``deviation`` [obs] is the standard deviation of every entry over undisturbed episodes. The policy sees arrays of
    its own, of the observations' dtype, or float64 where noise is added to whole numbers. Raises InputError where
    noise is asked for and a deviation is not finite.
    """
    if disturbance.observation_noise and not np.isfinite(deviation).all():
        entry = int(np.flatnonzero(~np.isfinite(deviation))[0])
        raise InputError(
            f"entry {entry} of the observations has no finite standard deviation, in terms of which noise is given; "
            "leave observation_noise out in this environment"
        )
    generator = np.random.default_rng([seed, 1])
    waiting: deque[Any] = deque()

    def late(observation: Any) -> Any:
        waiting.append(np.array(observation))  # an environment may write the next one over it
        seen = waiting[0]
        if len(waiting) > disturbance.delay_steps:
            waiting.popleft()
        if not disturbance.observation_noise:
            return act(seen)
        noise = disturbance.observation_noise * deviation * generator.standard_normal(deviation.shape)
        return act((seen + noise).astype(seen.dtype if np.issubdtype(seen.dtype, np.floating) else np.float64))

    return late


class Deviation:
    """The standard deviation of every entry over all observations that an ``act`` has been given (Welford 1962)."""

    def __init__(self, width: int) -> None:
        self._count = 0
        self._mean = np.zeros(width)
        self._squares = np.zeros(width)

    def watching(self, act: Act) -> Act:
        """Return ``act``, whose observations are taken in."""

        def watched(observation: Any) -> Any:
            self._count += 1
            value = np.asarray(observation, dtype=np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                change = value - self._mean
                self._mean += change / self._count
                self._squares += change * (value - self._mean)
            return act(observation)

        return watched

    @property
    def value(self) -> NDArray[np.float64]:
        """The standard deviation [obs]; 0 before two observations, not finite where an observation was not."""
        found: NDArray[np.float64] = np.sqrt(self._squares / max(self._count, 1))
        return found
