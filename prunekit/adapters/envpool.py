"""EnvPool's environments, many at once in compiled code, for learning and selection alone.

EnvPool has twins of Gymnasium's environments. A twin is used where it does the same as the user's own environment from
the same physical state (``require_twin``), and is refused by name where it does not. Its episodes have other beginnings
than Gymnasium's of the same seed, so nothing that is confirmed or certified is ever played here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np

from prunekit.adapters.envpool_twin import Array, envpool, flat, for_pool, require_twin, twin_of
from prunekit.environments import Spaces, make_environment, spaces_of
from prunekit.errors import CheckError, FailedEpisodeError
from prunekit.rollouts import MAX_STEPS, BatchPolicy, Episode

_STEPS_BETWEEN_LOOKS = 64


@final
class EnvPoolRunner:
    """Plays in EnvPool's twin of the environment ``env_id``, as ``EpisodeRunner`` does in the environment itself.

    What is played depends on seeds alone, but other episodes than Gymnasium's of the same seeds: to select, never to
    confirm or to certify. ``twin_id`` is EnvPool's name of it where that is another. ``steps`` and ``stopped`` are as
    there. Raises InputError, in one line, where EnvPool is missing or its twin is none.
    """

    def __init__(
        self, env_id: str, kwargs: Mapping[str, Any] | None = None, twin_id: str | None = None, max_copies: int = 64
    ) -> None:
        envpool()
        self._twin_id, self._kwargs, self._max_copies = twin_id or env_id, dict(kwargs or {}), max_copies
        self.environment = make_environment(env_id, kwargs)
        self.spaces: Spaces = spaces_of(self.environment)
        require_twin(self._twin_id, self.environment, self._kwargs)
        self.steps = 0
        self.stopped: Callable[[], bool] = lambda: False

    def pool(self, seeds: Sequence[int]) -> Any:
        """Return new environments of EnvPool, one per seed."""
        return twin_of(self._twin_id, self.environment, self._kwargs, seeds)

    def play_all(self, policy: BatchPolicy, seeds: Iterable[int]) -> Iterator[Episode]:
        """Yield the episodes of ``seeds`` in their order.

        Raises FailedEpisodeError where an observation or a reward is not finite or an episode does not end, CheckError
        where it was ``stopped`` on the way.
        """
        waiting = list(seeds)
        for first in range(0, len(waiting), self._max_copies):
            yield from self._played(policy, waiting[first : first + self._max_copies])

    def close(self) -> None:
        """Close the environment."""
        self.environment.close()

    def _played(self, policy: BatchPolicy, seeds: Sequence[int]) -> list[Episode]:
        pool = self.pool(seeds)
        try:
            seen: list[list[Array]] = [[] for _ in seeds]
            totals = np.zeros(len(seeds))
            shown = flat(pool.reset()[0])
            playing = np.arange(len(seeds))
            actions: list[Any] = [self.spaces.actions.decided(np.zeros(self.spaces.outputs, np.float32))] * len(seeds)
            rounds = 0
            while len(playing):
                if rounds % _STEPS_BETWEEN_LOOKS == 0 and self.stopped():
                    raise CheckError("stopped")
                if rounds == MAX_STEPS:
                    raise self._failed(f"has not ended after {MAX_STEPS:,} steps", seeds[playing[0]])
                rounds += 1
                rows = shown[playing].astype(np.float32)
                for index, row in zip(playing, rows, strict=True):
                    seen[index].append(row)
                for begin in range(0, len(playing), policy.batch):
                    part = playing[begin : begin + policy.batch]
                    for index, action in zip(part, policy.actions(rows[begin : begin + policy.batch]), strict=True):
                        actions[index] = action
                # Those that have ended go on with what they did last, which nobody looks at.
                observed, rewards, terminated, truncated, _ = pool.step(for_pool(pool, actions))
                shown = flat(observed)
                totals[playing] += rewards[playing]
                self.steps += len(playing)
                wrong = playing[~(np.isfinite(totals[playing]) & np.isfinite(shown[playing]).all(axis=1))]
                if len(wrong):
                    raise self._failed("shows or earns what is not finite", seeds[wrong[0]])
                playing = playing[~(terminated | truncated)[playing]]
        finally:
            pool.close()
        return [
            Episode(seed=seed, total=float(total), observations=np.asarray(rows, np.float32))
            for seed, total, rows in zip(seeds, totals, seen, strict=True)
        ]

    def _failed(self, told: str, seed: int) -> FailedEpisodeError:
        return FailedEpisodeError(f"EnvPool's environment '{self._twin_id}': the episode with seed {seed} {told}")
