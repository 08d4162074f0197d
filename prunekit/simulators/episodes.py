"""Episodes of a policy in one environment, or in many at once."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from prunekit.environment_functions import first_line
from prunekit.environments import Spaces, described_spaces, id_of
from prunekit.errors import FailedEpisodeError, PrunekitError
from prunekit.rollouts import MAX_STEPS, Act, episode_return, random_returns
from prunekit.simulators.batch import Batch, Seeding

Returns = Callable[[int], float]
"""The return of one episode, by its seed."""
ActOf = Callable[[int], Act]
"""What acts in the episode of a seed."""


class Episodes(Protocol):
    """A source of episodes for policies."""

    @property
    def name(self) -> str:
        """The environment's name in messages and certificates."""

    @property
    def spaces(self) -> Spaces:
        """The environment's spaces, as policies need them."""

    @property
    def seeding(self) -> Seeding:
        """What a seed determines in an episode."""

    @property
    def registered(self) -> EnvSpec | None:
        """The environment's entry in Gymnasium's registry, or None."""

    def returns(self, act_of: ActOf) -> Returns:
        """Return a function from an episode's seed to its return under the policy.

        ``act_of`` maps a seed to the function that acts in its episode: from an observation [obs] to an action for the
        environment. The returned function raises FailedEpisodeError, naming environment and seed, if the environment
        fails.
        """

    def random(self) -> Returns:
        """Return a function from an episode's seed to the random policy's return; the seed also seeds the actions."""

    def close(self) -> None:
        """Close what this object opened."""


@final
@dataclass(frozen=True, kw_only=True)
class OneByOne:
    """Episodes in a single ``environment``, one after the other."""

    environment: gym.Env[Any, Any]
    spaces: Spaces
    seeding: Seeding = Seeding.EPISODES

    @property
    def name(self) -> str:
        """The environment's name."""
        return id_of(self.environment)

    @property
    def registered(self) -> EnvSpec | None:
        """The environment's entry in Gymnasium's registry, or None."""
        return self.environment.spec

    def returns(self, act_of: ActOf) -> Returns:
        """Return a function that plays an episode when it is called."""
        return lambda seed: episode_return(self.environment, act_of(seed), seed)

    def random(self) -> Returns:
        """Return a function that plays an episode with random actions."""
        return lambda seed: random_returns(self.environment, [seed])[0]

    def close(self) -> None:
        """Close the environment."""
        self.environment.close()


@final
class Together:
    """Episodes in all environments of ``batch`` at once.

    A requested episode is played together with those of the next seeds. After a reset of all environments each plays
    one episode, and its steps after the end do not count: taking the episodes that end first would favour short ones. A
    failed episode raises when it is requested, so certificates do not depend on the width. If the batch itself raises,
    all its episodes fail. The batch stays open.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.name, self.seeding, self.registered = batch.name, batch.seeding, batch.registered
        self.action_space = batch.action_space
        self.spaces = described_spaces(batch.name, batch.observation_space, batch.action_space)

    def returns(self, act_of: ActOf) -> Returns:
        """Return a function that plays a batch of episodes when it is called with the seed of a new one."""
        known: dict[int, float | PrunekitError] = {}

        def returned(seed: int) -> float:
            if seed not in known:
                seeds = range(seed, seed + self._batch.width)
                known.update(zip(seeds, self._played(act_of, seeds), strict=True))
            found = known[seed]
            if isinstance(found, PrunekitError):
                raise found
            return found

        return returned

    def random(self) -> Returns:
        """Return a function that plays with random actions; each environment's actions come from its seed."""

        def act_of(seed: int) -> Act:
            space = copy.deepcopy(self._batch.action_space)
            space.seed(seed)
            return lambda _: space.sample()

        return self.returns(act_of)

    def close(self) -> None:
        """Do nothing: the owner closes the batch."""

    def _played(self, act_of: ActOf, seeds: Sequence[int]) -> list[float | PrunekitError]:
        acts = [act_of(seed) for seed in seeds]
        totals, playing = np.zeros(len(seeds)), np.ones(len(seeds), np.bool_)
        errors: dict[int, PrunekitError] = {}
        observations = self._tried(lambda: self._batch.begin(seeds), "at the reset", seeds)
        actions: list[Any] = [self._any_action()] * len(seeds)
        step, own = 0, None if self.registered is None else self.registered.max_episode_steps
        limit = max(MAX_STEPS, own or 0)

        def fail(index: int, error: PrunekitError) -> None:
            errors[index] = error
            playing[index] = False

        while playing.any():
            for index in np.flatnonzero(playing).tolist():
                try:
                    actions[index] = self._acted(acts[index], observations[index], step, seeds[index])
                except PrunekitError as error:
                    fail(index, error)
            if not playing.any():
                break
            step += 1
            observations, rewards, over = self._tried(lambda: self._batch.step(actions), f"at step {step}", seeds)
            totals[playing] += rewards[playing]
            for index in np.flatnonzero(playing).tolist():
                if not math.isfinite(totals[index]):
                    told = f"the reward is not finite at step {step} of the episode with seed {seeds[index]}"
                    fail(index, self._failed(told))
            playing &= ~over
            for index in np.flatnonzero(playing).tolist() if step >= limit else ():
                told = f"the episode with seed {seeds[index]} has not ended after {step:,} steps; limit it"
                fail(index, self._failed(told))
        return [errors.get(index, float(total)) for index, total in enumerate(totals)]

    def _any_action(self) -> Any:
        """Return an action for an environment whose episode has ended before its first step."""
        space = copy.deepcopy(self._batch.action_space)
        space.seed(0)
        return space.sample()

    def _acted(self, act: Act, observation: Any, step: int, seed: int) -> Any:
        try:
            return act(observation)
        except PrunekitError as error:
            if np.isfinite(observation).all():
                raise
            raise self._failed(
                f"the observation is not finite after {step} steps of the episode with seed {seed}"
            ) from error

    def _tried(self, work: Callable[[], Any], where: str, seeds: Sequence[int]) -> Any:
        try:
            return work()
        except PrunekitError:
            raise
        except Exception as error:  # an environment raises anything
            told = f"{type(error).__name__}: {first_line(error)}"
            raise self._failed(f"failed {where} of the episodes from seed {seeds[0]} on ({told})") from error

    def _failed(self, told: str) -> FailedEpisodeError:
        return FailedEpisodeError(f"environment '{self.name}': {told}")
