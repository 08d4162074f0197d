"""The comparison of an EnvPool environment with the user's own, from the same physical states."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from prunekit.adapters.envpool_states import Put, Shown, put_for
from prunekit.environments import id_of
from prunekit.errors import InputError

Array = np.ndarray[Any, Any]

_STEPS, _STARTS, _SEED = 20, 10, 1_234
# Rounding errors of float32 and float64 observations after this many steps, and of rewards, which are float32.
_CLOSE, _CLOSE_64 = 1e-5, 1e-9
_BEGINNINGS, _ERRORS = 64, 6.0
_NOTHING = object()


def envpool() -> Any:
    """Return the module EnvPool; raises InputError, saying how to install it, if it is missing."""
    try:
        import envpool as found
    except ImportError as error:
        raise InputError(
            "EnvPool is not installed; run: pip install 'prunekit[fast]' (it has wheels up to Python 3.11), or leave "
            "`fast` out"
        ) from error
    return found


def twin_of(env_id: str, environment: gym.Env[Any, Any], kwargs: Mapping[str, Any], seeds: Sequence[int]) -> Any:
    """Return EnvPool's environments ``env_id``, one per seed, with the arguments and time limit of ``environment``.

    Raises InputError if EnvPool does not have it, or if it does not take an argument.
    """
    library, name = envpool(), _known(env_id)
    words: dict[str, Any] = {"num_envs": len(seeds), "seed": [_own_seed(seed) for seed in seeds], "num_threads": 1}
    limit = None if environment.spec is None else environment.spec.max_episode_steps
    if limit is not None:
        words["max_episode_steps"] = limit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gymnasium warns about the form of EnvPool's spaces, which are not used
        known = library.make_spec(name).config._fields
        for word in kwargs:
            if word not in known:
                raise InputError(
                    f"EnvPool's environment '{name}' takes no argument {word}; leave `fast` out for this one"
                )
        pool = library.make_gymnasium(name, **words, **kwargs)
        assert pool.observation_space is not None  # made when it is first asked for, which warns
        return pool


def _known(env_id: str) -> str:
    """Return EnvPool's name of the environment ``env_id``; raises InputError if it has none."""
    name = env_id.rpartition(":")[2]
    if name not in envpool().list_all_envs():
        raise InputError(f"EnvPool has no environment '{name}'; leave `fast` out for this one")
    return name


def named_twin(environment: gym.Env[Any, Any]) -> tuple[str, dict[str, Any]]:
    """Return the id of the unwrapped ``environment``, and its arguments in EnvPool's form.

    The entries of highway-env's ``config`` are arguments in EnvPool. Raises InputError if the environment has no id.
    """
    inside = environment.unwrapped.spec
    if inside is None:
        raise InputError(
            f"environment '{id_of(environment)}' was not made by an id that EnvPool could look up; leave `fast` out"
        )
    known = gym.registry.get(inside.id)
    usual = {} if known is None else known.kwargs
    kwargs = {
        word: value
        for word, value in inside.kwargs.items()
        if word != "render_mode" and repr(usual.get(word, _NOTHING)) != repr(value)
    }
    config = kwargs.pop("config", None)
    return inside.id, {**kwargs, **(config or {})}


def _own_seed(seed: int) -> int:
    """Return EnvPool's seed for ``seed``: an integer of 31 bits."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0]) >> 1


class _Recorded(NamedTuple):
    """Recorded episodes of EnvPool: actions and rewards [steps, n], observations [steps, n, obs], and ends."""

    beginnings: list[Shown]
    actions: list[list[Any]]
    observations: Array
    rewards: Array
    terminated: Array
    truncated: Array


class _Step(NamedTuple):
    observation: Array
    reward: float
    terminated: bool
    truncated: bool


def require_twin(env_id: str, environment: gym.Env[Any, Any], kwargs: Mapping[str, Any]) -> None:
    """Check that EnvPool's ``env_id`` and ``environment`` behave alike for 20 steps from ten equal states.

    Observations, rewards and ends must be equal up to rounding, and first observations alike on average. Raises
    InputError, naming the environment and the step, if they are not, or if this cannot be checked.
    """
    _known(env_id)
    try:
        put = put_for(environment.unwrapped)
        _require_settings(env_id, environment, kwargs)
        _require_steps(env_id, environment, kwargs, put)
        _require_beginnings(env_id, environment, kwargs)
    except InputError as error:
        raise InputError(
            f"EnvPool's environment '{env_id}' cannot stand in for yours: {error}; leave `fast` out for this one"
        ) from error


def _require_settings(env_id: str, environment: gym.Env[Any, Any], kwargs: Mapping[str, Any]) -> None:
    """Raise InputError if a setting that both have, such as the length of an episode, differs."""
    own = getattr(environment.unwrapped, "config", None)
    if not isinstance(own, Mapping):
        return
    pool = twin_of(env_id, environment, kwargs, [_SEED])
    try:
        for name, value in dict(pool.config).items():
            mine = own.get(name)
            if isinstance(value, int | float) and isinstance(mine, int | float) and mine != value:
                raise InputError(f"its {name} is {value:g}, that of yours {mine:g}")
    finally:
        pool.close()


def _require_steps(env_id: str, environment: gym.Env[Any, Any], kwargs: Mapping[str, Any], put: Put) -> None:
    played = _recorded(env_id, environment, kwargs)
    close = _CLOSE_64 if played.observations.dtype == np.float64 else _CLOSE
    compared = 0
    for start, beginning in enumerate(played.beginnings):
        own = _played(environment, beginning, put, [row[start] for row in played.actions])
        for step, (observation, reward, terminated, truncated) in enumerate(own):
            other = played.observations[step, start]
            if observation.shape != other.shape:
                raise InputError(f"its observations have {len(other)} values, those of yours {len(observation)}")
            ends = (bool(played.terminated[step, start]), bool(played.truncated[step, start]))
            told = f"at step {step + 1} of episode {start + 1} of the comparison"
            if ends != (terminated, truncated):
                raise InputError(f"{told} {'it' if any(ends) else 'yours'} ends and the other does not")
            apart = float((np.abs(observation - other) / (1.0 + np.abs(observation))).max())
            if not apart <= close:
                raise InputError(f"{told} the observations of the two differ by {apart:.2g}")
            earned = float(played.rewards[step, start])
            if not abs(reward - earned) <= _CLOSE * (1.0 + abs(reward)):
                raise InputError(f"{told} EnvPool's reward is {earned:g}, yours is {reward:g}")
            compared += 1
            if any(ends):
                break
    if compared < _STEPS:
        raise InputError(f"its episodes end after {compared / len(played.beginnings):.1f} steps, too few to compare")


def _played(environment: gym.Env[Any, Any], beginning: Shown, put: Put, actions: Sequence[Any]) -> list[_Step]:
    """Return the steps of ``environment`` from the state ``beginning`` until its end."""
    environment.reset(seed=_SEED)
    put(environment.unwrapped, beginning)
    steps = []
    for action in actions:
        observation, reward, terminated, truncated, _ = environment.step(action)
        row = np.asarray(observation, np.float64).ravel()
        steps.append(_Step(row, float(reward), bool(terminated), bool(truncated)))
        if terminated or truncated:
            break
    return steps


def _recorded(env_id: str, environment: gym.Env[Any, Any], kwargs: Mapping[str, Any]) -> _Recorded:
    """Record EnvPool's environments under random actions."""
    space = deepcopy(environment.action_space)
    space.seed(_SEED)
    pool = twin_of(env_id, environment, kwargs, range(_SEED, _SEED + _STARTS))
    try:
        shown, told = pool.reset()
        debug = pool.debug_states() if hasattr(pool, "debug_states") else [None] * _STARTS
        known = {name: values for name, values in told.items() if np.shape(values)[:1] == (_STARTS,)}
        beginnings = [
            Shown(row, {name: values[index] for name, values in known.items()}, state)
            for index, (row, state) in enumerate(zip(flat(shown), debug, strict=True))
        ]
        actions, steps = [], []
        for _ in range(_STEPS):
            actions.append([space.sample() for _ in range(_STARTS)])
            observed, *rest = pool.step(for_pool(pool, actions[-1]))[:4]
            steps.append((flat(observed), *rest))
    finally:
        pool.close()
    columns = [np.array(column) for column in zip(*steps, strict=True)]
    return _Recorded(beginnings, actions, *columns)


def _require_beginnings(env_id: str, environment: gym.Env[Any, Any], kwargs: Mapping[str, Any]) -> None:
    """Raise InputError if first observations of the two differ in their means or standard deviations."""
    seeds = range(_SEED, _SEED + _BEGINNINGS)
    pool = twin_of(env_id, environment, kwargs, seeds)
    try:
        other = flat(pool.reset()[0]).astype(np.float64)
    finally:
        pool.close()
    own = flat(np.array([environment.reset(seed=seed)[0] for seed in seeds])).astype(np.float64)
    middle = (own.mean(axis=0) + other.mean(axis=0)) / 2.0
    for one, two in ((own, other), (np.abs(own - middle), np.abs(other - middle))):
        error = np.sqrt((one.var(axis=0) + two.var(axis=0)) / _BEGINNINGS)
        apart = np.abs(one.mean(axis=0) - two.mean(axis=0))
        far = apart > _ERRORS * error + _CLOSE * (1.0 + np.abs(middle))
        if far.any():
            raise InputError(f"its episodes begin in other states (entry {int(far.argmax())} of the observations)")


def for_pool(pool: Any, actions: Sequence[Any]) -> Array:
    """Return actions for ``env.step`` [n] in the form that EnvPool takes."""
    return np.asarray(actions).astype(pool.action_space.dtype)


def flat(observations: Any) -> Array:
    """Return observations [n, ...] as rows [n, obs]; a Dict is flattened in Gymnasium's order."""
    if isinstance(observations, Mapping):
        return np.concatenate([flat(observations[name]) for name in sorted(observations)], axis=1)
    found = np.asarray(observations)
    return found.reshape(len(found), -1)
