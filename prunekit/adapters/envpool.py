"""EnvPool's environments, many at once in compiled code, for learning and selection only.

EnvPool has its own versions of Gymnasium's environments, called twins here. A twin is used only if it behaves like the
user's own environment from the same physical state (``require_twin``). The same seed starts other episodes than in
Gymnasium, so nothing is confirmed or certified here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, final

import numpy as np

from prunekit.adapters.envpool_twin import Array, envpool, flat, for_pool, named_twin, require_twin, twin_of
from prunekit.environment_functions import EnvironmentMaker
from prunekit.environments import Spaces, make_environment, spaces_of
from prunekit.errors import FailedEpisodeError
from prunekit.rollouts import MAX_STEPS, BatchPolicy, Episode, StoppedError

_STEPS_BETWEEN_LOOKS = 64


@final
class EnvPoolRunner:
    """Plays in EnvPool's twin of the environment ``env_id``, with the interface of ``EpisodeRunner``.

    Episodes depend only on their seeds, but differ from Gymnasium's with the same seeds. Use them for selection, never
    for confirmation or certificates. ``twin_id`` is EnvPool's name of the twin, by default the id of the unwrapped
    environment. ``steps``, ``stopped`` and ``note`` are as in ``EpisodeRunner``. ``checked`` skips the comparison with
    the environment. Raises InputError, in one line, if EnvPool is missing or the comparison fails.
    """

    def __init__(
        self,
        env_id: str | EnvironmentMaker,
        kwargs: Mapping[str, Any] | None = None,
        twin_id: str | None = None,
        max_copies: int = 16,
        *,
        checked: bool = False,
    ) -> None:
        self.version = str(envpool().__version__)
        self.environment = make_environment(env_id, kwargs)
        try:
            self.spaces: Spaces = spaces_of(self.environment)
            named, self._kwargs = named_twin(self.environment)
            self.twin_id, self._max_copies = twin_id or named, max_copies
            if not checked:
                require_twin(self.twin_id, self.environment, self._kwargs)
        except BaseException:
            self.environment.close()
            raise
        self.steps = 0
        self.stopped: Callable[[], bool] = lambda: False
        self.note = ""

    def pool(self, seeds: Sequence[int]) -> Any:
        """Return new EnvPool environments, one per seed."""
        return twin_of(self.twin_id, self.environment, self._kwargs, seeds)

    def play_all(self, policy: BatchPolicy, seeds: Iterable[int]) -> Iterator[Episode]:
        """Yield the episodes of ``seeds`` in order.

        Raises FailedEpisodeError if an observation or a reward is not finite or an episode does not end, and
        StoppedError if ``stopped`` becomes true on the way.
        """
        waiting = list(seeds)
        for first in range(0, len(waiting), self._max_copies):
            yield from self._played(policy, waiting[first : first + self._max_copies])

    def random(self, seed: int) -> float:
        """Return the random policy's return."""
        space = deepcopy(self.environment.action_space)
        space.seed(seed)
        drawn = BatchPolicy(actions=lambda rows: [space.sample() for _ in rows], batch=1)
        return next(self.play_all(drawn, [seed])).total

    def close(self) -> None:
        """Close the environment."""
        self.environment.close()

    def _played(self, policy: BatchPolicy, seeds: Sequence[int]) -> Iterator[Episode]:
        pool = self.pool(seeds)
        try:
            seen, totals, failures = self._until_ended(pool, policy, seeds)
        finally:
            pool.close()
        for index, (seed, rows) in enumerate(zip(seeds, seen, strict=True)):
            if index in failures:
                raise FailedEpisodeError(
                    f"EnvPool's environment '{self.twin_id}': the episode with seed {seed} {failures[index]}"
                )
            self.steps += len(rows)
            yield Episode(seed=seed, total=float(totals[index]), observations=np.asarray(rows, np.float32))

    def _until_ended(
        self, pool: Any, policy: BatchPolicy, seeds: Sequence[int]
    ) -> tuple[list[list[Array]], Array, dict[int, str]]:
        """Return the observations of every episode, the returns, and the failures by index of the episode."""
        seen: list[list[Array]] = [[] for _ in seeds]
        totals, failures = np.zeros(len(seeds)), dict[int, str]()
        shown = flat(pool.reset()[0])
        playing = np.arange(len(seeds))
        actions: list[Any] = [self.spaces.actions.decided(np.zeros(self.spaces.outputs, np.float32))] * len(seeds)
        for rounds in range(MAX_STEPS):
            finite = np.isfinite(totals[playing]) & np.isfinite(shown[playing]).all(axis=1)
            failures |= dict.fromkeys(playing[~finite].tolist(), "has an observation or a reward that is not finite")
            playing = playing[finite]
            if not len(playing):
                return seen, totals, failures
            if rounds % _STEPS_BETWEEN_LOOKS == 0 and self.stopped():
                raise StoppedError("stopped")
            rows = shown[playing].astype(np.float32)
            for index, row in zip(playing, rows, strict=True):
                seen[index].append(row)
            for begin in range(0, len(playing), policy.batch):
                part = playing[begin : begin + policy.batch]
                for index, action in zip(part, policy.actions(rows[begin : begin + policy.batch]), strict=True):
                    actions[index] = action
            # Environments whose episode has ended repeat their last action; their results are ignored.
            observed, rewards, terminated, truncated, _ = pool.step(for_pool(pool, actions))
            shown = flat(observed)
            totals[playing] += rewards[playing]
            ended = (terminated | truncated)[playing]
            wrong = playing[ended & ~np.isfinite(totals[playing])]
            failures |= dict.fromkeys(wrong.tolist(), "has an observation or a reward that is not finite")
            playing = playing[~ended]
        failures |= dict.fromkeys(playing.tolist(), f"has not ended after {MAX_STEPS:,} steps")
        return seen, totals, failures
