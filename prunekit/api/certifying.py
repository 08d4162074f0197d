"""``prunekit.certify``: whether a policy keeps the return of another, by fresh episodes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from prunekit.api.asking import load_named
from prunekit.api.benching import model_of
from prunekit.api.compression import Answers
from prunekit.api.disturbing import disturbance_of
from prunekit.api.numbers import require_numbers
from prunekit.api.places import Environment, place_of
from prunekit.api.policy import PathLike, Policy
from prunekit.benching.certify import Certified, CertifySettings
from prunekit.benching.contest import Contest, disturbed, in_integers
from prunekit.benching.models import BenchModel, read_model
from prunekit.benching.players import Player, player_of, stateless
from prunekit.compression.teacher import Teacher
from prunekit.disturbances.randomization import Randomization
from prunekit.environment_functions import function_name
from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.generators import undisturbed
from prunekit.simulators.spec import EnvironmentSpec
from prunekit.stats.clipping import range_given


def certify(
    small: PathLike | Policy | Answers,
    teacher: PathLike | Policy | Answers,
    env: Environment | None = None,
    *,
    keep: float = 0.95,
    minutes: float = 5.0,
    episodes: int = 1_000,
    clip_range: tuple[float, float] | None = None,
    max_failures: float | None = None,
    failure_return: float | None = None,
    noise: float = 0.0,
    action_noise: float = 0.0,
    delay: int = 0,
    drop: float = 0.0,
    randomize: PathLike | Randomization | None = None,
    int8: bool = False,
    observations: NDArray[Any] | None = None,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Certified:
    """Play fresh episodes until it is certified, or refuted, that ``small`` keeps ``keep`` of the ``teacher``'s return.

    Both are files, ``Policy`` objects, or functions from observations float32 [n, obs] to answers [n] or [n, k].
    ``env`` is an id, a function that makes an environment, a vector environment, a batched simulator or an
    ``EnvironmentSpec``, made with ``env_kwargs``; by default the one that the teacher names.

    The test ends undecided after ``minutes``, or after ``episodes`` of each policy. The claim clips returns to
    ``clip_range`` (low, high). An episode fails if it earns less than ``failure_return``, by default low, and the claim
    requires that at most the share ``max_failures`` fails. With ``int8`` the small policy plays with int8 weights, and
    measures its ranges on ``observations`` [n, ...], by default on five episodes. All play under ``noise`` on
    observations, ``action_noise``, ``delay``, ``drop`` and parameters that the file ``randomize`` draws
    (``docs/robustness.md``), and the claim holds under them. The seeds of all episodes follow from ``seed``, so another
    ``seed`` plays other episodes. ``docs/certify.md`` explains the result.

    Raises InputError for arguments that do not fit and for a file that needs an argument of ``load``. Raises
    FailedEpisodeError if the environment fails before the range is fixed; if it fails later, the test ends without a
    certificate, and the result says why.

    >>> teacher = load("agent.zip", normalizer=False)  # doctest: +SKIP
    >>> certify("small.onnx", teacher, env="Hopper-v5").certified  # doctest: +SKIP
    True
    """
    with undisturbed(), load_named():
        require_numbers(
            real={"keep": keep, "minutes": minutes},
            whole={"episodes": episodes, "seed": seed},
            real_or_none={"max_failures": max_failures, "failure_return": failure_return},
        )
        settings = CertifySettings(
            keep=keep,
            clip_range=None if clip_range is None else range_given(clip_range),
            max_failures=max_failures,
            failure_return=failure_return,
            episodes=episodes,
            seconds=60.0 * minutes,
            seed=seed,
        )
        disturbance = disturbance_of(noise, action_noise, delay, drop, randomize)
        spec = place_of(teacher, env, env_kwargs)
        place = spec.episodes()
        try:
            own = (
                _integer_player(small, spec, place.spaces, observations)
                if int8
                else _player(small, "small", place.spaces)
            )
            facts = {"env": {"id": place.name, "kwargs": dict(spec.kwargs), "seeds": place.seeding.value}}
            contest = Contest(episodes=place, small=own, teacher=_player(teacher, "teacher", place.spaces), facts=facts)
            with disturbed(contest, disturbance) as under:
                return under.certified(under.play(), settings)
        finally:
            place.close()


def _player(policy: PathLike | Policy | Answers, name: str, spaces: Spaces) -> Player:
    if isinstance(policy, str | os.PathLike | Policy):
        return player_of(_model(policy, name, spaces), spaces)
    if not callable(policy):
        raise InputError(f"{name} is {type(policy).__name__}, but must be a file, a prunekit.Policy or a function")
    asked = Teacher(name=f"{name} ({function_name(policy)})", spaces=spaces, respond=policy)
    asked.probe()
    return stateless(asked.name, asked.act)


def _integer_player(
    policy: PathLike | Policy | Answers, spec: EnvironmentSpec, spaces: Spaces, observations: NDArray[Any] | None
) -> Player:
    if not isinstance(policy, str | os.PathLike | Policy):
        raise InputError("`int8` needs a file or a prunekit.Policy: the layers of a function are not known")
    return in_integers(_model(policy, "small", spaces), spec, spaces, 16, observations)


def _model(policy: PathLike | Policy, name: str, spaces: Spaces) -> BenchModel:
    return model_of(policy, name) if isinstance(policy, Policy) else read_model(Path(policy), spaces=spaces)
