"""Many episodes of one environment, in several copies that step in lockstep, so the policy answers batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.environments import Spaces, id_of, make_environment, spaces_of
from prunekit.errors import CheckError, FailedEpisodeError, PrunekitError
from prunekit.lazy import gymnasium as gym
from prunekit.rollouts.episodes import Act, episode, random_returns

Float32 = NDArray[np.float32]
Wrap = Callable[["gym.Env[Any, Any]"], "gym.Env[Any, Any]"]
"""From an environment to the one that is played in; it does the same to every one that it is given."""

# Steps between checks whether to stop.
_STEPS_BETWEEN_LOOKS = 64
# Steps over which copies of an environment must behave equally before several are used.
_TWIN_STEPS, _TWIN_SEED = 20, 1_234


@final
@dataclass(frozen=True, kw_only=True)
class BatchPolicy:
    """A policy: ``actions`` maps observations float32 [n, obs] to n actions for ``env.step``, with n up to ``batch``.

    An answer must not depend on the rest of the batch, so episodes do not depend on how many are played at once.
    ``batch`` is the largest useful batch size: 1 if a single call costs next to nothing.
    """

    actions: Callable[[Float32], Sequence[Any]]
    batch: int = 1


def one_at_a_time(act: Act) -> BatchPolicy:
    """Return ``act``, which maps one observation to an action, as a policy."""
    return BatchPolicy(actions=lambda observations: [act(observations[0])])


@final
@dataclass(frozen=True, kw_only=True)
class Episode:
    """An episode that was played: the sum of its rewards, and the observation before each step, float32 [steps,
    obs].
    """

    seed: int
    total: float
    observations: Float32


class StoppedError(CheckError):
    """The work was stopped because nobody waits for its result."""


@final
class EpisodeRunner:
    """Plays in the environment ``env_id``; up to ``max_copies`` episodes at once, if the policy is made for that.

    Episodes depend only on their seeds. ``steps`` counts the steps in requested episodes. ``stopped`` returns whether
    nobody waits for the result any more. ``note`` says why episodes are played one at a time, if they must be.
    """

    def __init__(self, env_id: str, kwargs: Mapping[str, Any] | None = None, max_copies: int = 16) -> None:
        self._env_id, self._kwargs, self._max_copies = env_id, kwargs, max_copies
        self._wrapped: Wrap = lambda made: made
        self.environment = self.another()
        self.spaces: Spaces = spaces_of(self.environment)
        self._copies: list[gym.Env[Any, Any]] = [self.environment]
        self.steps = 0
        self.stopped: Callable[[], bool] = lambda: False
        self.note = ""

    def another(self) -> gym.Env[Any, Any]:
        """Return a new environment of the same kind, with the same wrappers."""
        return self._wrapped(make_environment(self._env_id, self._kwargs))

    def wrap(self, wrapped: Wrap) -> None:
        """Wrap all environments, present and future, by ``wrapped``."""
        self._copies = [wrapped(environment) for environment in self._copies]
        self._wrapped, self.environment = wrapped, self._copies[0]

    def play(self, policy: BatchPolicy | Act, seed: int) -> Episode:
        """Play one episode with a policy, or with a function from an observation to an action. Raises as ``play_all``
        does.
        """
        asked = policy if isinstance(policy, BatchPolicy) else one_at_a_time(policy)
        return next(self.play_all(asked, [seed]))

    def play_all(self, policy: BatchPolicy, seeds: Iterable[int]) -> Iterator[Episode]:
        """Yield the episodes of ``seeds`` in order; the caller may stop at any time.

        Raises FailedEpisodeError as ``episode_return`` does, when the failed episode is due, and StoppedError if
        ``stopped`` becomes true on the way.
        """
        waiting = iter(seeds)
        copies = self._lockstep(policy.batch)
        playing: list[_Playing] = []
        done: dict[int, Episode | PrunekitError] = {}
        began = turn = 0
        free = list(reversed(copies))
        rounds = 0
        while True:
            while free and (seed := next(waiting, None)) is not None:
                one = _Playing(number=began, seed=seed, environment=free.pop())
                began += 1
                if one.begin(done):
                    playing.append(one)
                else:
                    free.append(one.environment)
            while turn in done:
                found = done.pop(turn)
                turn += 1
                if isinstance(found, PrunekitError):
                    raise found
                self.steps += len(found.observations)
                yield found
            if turn == began:
                return
            if rounds % _STEPS_BETWEEN_LOOKS == 0 and self.stopped():
                raise StoppedError("stopped")
            rounds += 1
            for one in _step(policy, playing, done):
                playing.remove(one)
                free.append(one.environment)

    def random(self, seed: int) -> float:
        """Return the random policy's return."""
        return random_returns(self.environment, [seed])[0]

    def close(self) -> None:
        """Close the environments."""
        for environment in self._copies:
            environment.close()

    def _lockstep(self, batch: int) -> list[gym.Env[Any, Any]]:
        wanted = 1 if self.note else min(batch, self._max_copies)
        while len(self._copies) < wanted:
            try:
                copy = self.another()
            except PrunekitError as error:
                self.note = f"episodes are played one at a time, because no second environment can be made: {error}"
            else:
                if any(copy.unwrapped is known.unwrapped for known in self._copies):
                    self.note = "episodes are played one at a time, because there is only one environment"
                    return self._copies[:1]
                self._copies.append(copy)
                if len(self._copies) == 2 and not _twins(*self._copies):
                    self.note = (
                        f"episodes are played one at a time, as environments '{id_of(self.environment)}' do not do the "
                        "same after a reset with the same seed"
                    )
            if self.note:
                for environment in self._copies[1:]:
                    environment.close()
                del self._copies[1:]
                return self._copies[:1]
        return self._copies[:wanted]


@final
@dataclass(kw_only=True, eq=False)
class _Playing:
    """An episode in progress."""

    number: int
    seed: int
    environment: gym.Env[Any, Any]
    steps: Generator[Any, Any, tuple[float, int]] = field(init=False)
    seen: list[Float32] = field(default_factory=list)

    def begin(self, done: dict[int, Episode | PrunekitError]) -> bool:
        """Reset the environment; return whether there is a step to take."""
        self.steps = episode(self.environment, self.seed)
        return self._go_on(lambda: next(self.steps), done)

    def step(self, action: Any, done: dict[int, Episode | PrunekitError]) -> bool:
        """Take one step; return whether there is another."""
        return self._go_on(lambda: self.steps.send(action), done)

    def fail(self, error: PrunekitError, done: dict[int, Episode | PrunekitError]) -> None:
        """End the episode because the policy has no answer."""
        try:
            self.steps.throw(error)
        except PrunekitError as raised:
            done[self.number] = raised

    def _go_on(self, move: Callable[[], Any], done: dict[int, Episode | PrunekitError]) -> bool:
        try:
            self.seen.append(np.array(move(), np.float32))  # a copy: some environments write into one buffer
        except StopIteration as end:
            observations = np.asarray(self.seen, np.float32)
            done[self.number] = Episode(seed=self.seed, total=end.value[0], observations=observations)
            return False
        except FailedEpisodeError as error:
            done[self.number] = error
            return False
        return True


def _step(policy: BatchPolicy, playing: Sequence[_Playing], done: dict[int, Episode | PrunekitError]) -> list[_Playing]:
    """Take one step in every episode; return those that have ended, with their outcomes in ``done``."""
    ended = []
    if len(playing) == 1:
        answers: Sequence[Any] | None = None
    else:
        try:
            answers = policy.actions(np.stack([one.seen[-1] for one in playing]))
        except PrunekitError:
            answers = None  # asked again one by one, to find the episode that failed
    for index, one in enumerate(playing):
        if answers is not None:
            action = answers[index]
        else:
            try:
                action = policy.actions(one.seen[-1][None])[0]
            except PrunekitError as error:
                one.fail(error, done)
                ended.append(one)
                continue
        if not one.step(action, done):
            ended.append(one)
    return ended


def _twins(first: gym.Env[Any, Any], second: gym.Env[Any, Any]) -> bool:
    """Return whether both environments behave equally, to the bit, over some steps after a reset with the same seed.

    The second one plays another episode before, so an environment that remembers earlier episodes is detected.
    """
    first.action_space.seed(_TWIN_SEED)
    actions = [first.action_space.sample() for _ in range(_TWIN_STEPS)]
    _begun(second, _TWIN_SEED + 1, actions)
    return _begun(first, _TWIN_SEED, actions) == _begun(second, _TWIN_SEED, actions)


def _begun(environment: gym.Env[Any, Any], seed: int, actions: Sequence[Any]) -> str:
    """Return the beginning of an episode as text: observations, rewards and ends, to the bit."""
    bits: list[Any] = []
    try:
        observation, _ = environment.reset(seed=seed)
        for action in actions:
            bits.append(np.array(observation, np.float32).tobytes())
            observation, reward, terminated, truncated, _ = environment.step(action)
            bits.append((float(reward), terminated, truncated))
            if terminated or truncated:
                break
    except Exception as error:  # an environment raises anything; the error is reported when an episode is played there
        bits.append(type(error).__name__)
    return repr(bits)
