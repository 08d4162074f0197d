"""Episodes under a disturbance, in any simulator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from prunekit.disturbances.channel import Channel
from prunekit.disturbances.deviation import Act
from prunekit.disturbances.environment import under
from prunekit.disturbances.record import Disturbance
from prunekit.errors import InputError
from prunekit.simulators.episodes import ActOf, Episodes, OneByOne, Returns, Together


@contextmanager
def episodes_under(
    episodes: Episodes, disturbance: Disturbance, deviation: NDArray[np.float64] | None = None
) -> Iterator[Episodes]:
    """Yield ``episodes`` under ``disturbance``; they are not closed afterwards.

    ``deviation`` [obs] is that of the observations, needed only for noise on them. Raises InputError as
    ``DisturbedEnvironment`` does, and for randomized parameters in a batch of environments.
    """
    if isinstance(episodes, OneByOne):
        with under(episodes.environment, disturbance, deviation) as environment:
            yield replace(episodes, environment=environment)
        return
    if disturbance.randomization is not None or not isinstance(episodes, Together):
        raise InputError(
            f"environment '{episodes.name}': its parameters cannot be drawn where many step together; give an id or a "
            "function that makes a single one"
        )
    yield _Disturbed(episodes, Channel(disturbance, deviation, episodes.action_space, episodes.name))


class _Disturbed:
    """``inner`` with a channel between environments and policies; it does not affect the random policy."""

    def __init__(self, inner: Together, channel: Channel) -> None:
        self._inner, self._channel = inner, channel
        self.name, self.seeding, self.registered = inner.name, inner.seeding, inner.registered
        self.spaces = inner.spaces

    def returns(self, act_of: ActOf) -> Returns:
        """Return a function that plays each episode with the channel of its seed."""

        def disturbed(seed: int) -> Act:
            return self._channel.acting(act_of(seed), seed)

        return self._inner.returns(disturbed)

    def random(self) -> Returns:
        """Return a function that plays an episode with random actions."""
        return self._inner.random()

    def close(self) -> None:
        """Do nothing: the owner closes the environment."""
