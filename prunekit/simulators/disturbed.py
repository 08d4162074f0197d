"""Episodes under a disturbance, wherever they are played."""

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
    """Give ``episodes`` under ``disturbance`` for a while; they are not closed.

    ``deviation`` [obs] is that of the observations, needed for noise on them alone. Raises InputError as
    ``DisturbedEnvironment`` does, and for parameters that are to be drawn where many environments step together.
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
    """``inner`` with a channel between the environments and whoever acts; the random policy sees nothing of it."""

    def __init__(self, inner: Together, channel: Channel) -> None:
        self._inner, self._channel = inner, channel
        self.name, self.seeding, self.registered = inner.name, inner.seeding, inner.registered
        self.spaces = inner.spaces

    def returns(self, act_of: ActOf) -> Returns:
        """Return what plays with a channel of each episode's seed."""

        def disturbed(seed: int) -> Act:
            return self._channel.acting(act_of(seed), seed)

        return self._inner.returns(disturbed)

    def random(self) -> Returns:
        """Return what plays at random."""
        return self._inner.random()

    def close(self) -> None:
        """Leave it open: who made it closes it."""
