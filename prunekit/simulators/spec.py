"""The description of where a policy plays: a name, how environments are made, and a batch of them, if there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

from prunekit.environment_functions import EnvironmentMaker, function_name
from prunekit.environment_names import importable_maker
from prunekit.environments import make_environment, spaces_of
from prunekit.errors import InputError, UnusableEnvironmentError
from prunekit.made_environment import MadeEnvironment
from prunekit.simulators.batch import Batch, Simulator
from prunekit.simulators.episodes import Episodes, OneByOne, Together
from prunekit.simulators.first import FirstOfBatch
from prunekit.simulators.tensors import TensorBatch
from prunekit.simulators.vector import VectorBatch

_WAYS = "an id, a function that makes an environment, a vector environment, or a batched simulator"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class EnvironmentSpec:
    """Where a policy plays.

    ``name`` is its name in certificates. ``source`` makes a single environment from ``kwargs``: an id, ``MODULE:ID``,
    ``MODULE:FUNCTION``, or a function. ``vector`` is a gymnasium ``VectorEnv`` or a batched simulator (``Simulator``)
    in which many step together; with it, ``source`` may be None. ``actions`` is the action space of one environment,
    for a simulator without ``single_action_space``. Raises InputError for arguments that exclude each other.

    >>> EnvironmentSpec(name="Pole", source="CartPole-v1").make().name
    'Pole'
    """

    name: str
    source: str | EnvironmentMaker | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    vector: VectorEnv[Any, Any, Any] | Simulator | None = None
    actions: gym.Space[Any] | None = None

    def __post_init__(self) -> None:
        if self.source is None and self.vector is None:
            raise InputError(f"environment '{self.name}': nothing makes it; give `source` or `vector`")
        if self.source is None and self.kwargs:
            raise InputError(
                f"environment '{self.name}': `kwargs` are only for an environment that prunekit "
                "makes; make yours with them"
            )

    def make(self) -> gym.Env[Any, Any]:
        """Make one environment; raises UnusableEnvironmentError if it cannot be made, or only steps in a batch."""
        made = make_environment(self.single, self.kwargs)
        return made if self.name == self.source else MadeEnvironment(made, self.name)

    def episodes(self) -> Episodes:
        """Return where episodes are played: in ``vector`` if given, otherwise in an environment made from ``source``.

        Raises UnusableEnvironmentError if it cannot be made, or if its spaces are not supported.
        """
        if self.vector is None:
            environment = self.make()
            return OneByOne(environment=environment, spaces=spaces_of(environment))
        return Together(self._batch(self.vector))

    @property
    def single(self) -> str | EnvironmentMaker:
        """The function that makes one environment; raises UnusableEnvironmentError if there is none."""
        if self.source is None:
            raise UnusableEnvironmentError(
                f"environment '{self.name}' only steps in a batch, but single ones are needed here; give an id "
                "or a function that makes one"
            )
        return self.source

    def first(self) -> FirstOfBatch:
        """Return the first environment of ``vector``; raises UnusableEnvironmentError if ``vector`` is None."""
        if self.vector is None:
            raise UnusableEnvironmentError(f"environment '{self.name}' does not step in a batch")
        return FirstOfBatch(self._batch(self.vector), self.name)

    @property
    def portable(self) -> bool:
        """Whether another process can make the environment: from an id, or from a function that it can import."""
        return isinstance(self.source, str)

    def _batch(self, vector: VectorEnv[Any, Any, Any] | Simulator) -> Batch:
        count = vector.num_envs
        if not isinstance(count, int | np.integer) or count < 1:
            raise UnusableEnvironmentError(
                f"environment '{self.name}' has num_envs {count!r:.40}; it must be a positive integer"
            )
        if isinstance(vector, VectorEnv):
            return VectorBatch(vector, self.name)
        return TensorBatch(vector, self.name, self.actions)


def environment_spec(environment: object, kwargs: Mapping[str, Any] | None = None) -> EnvironmentSpec:
    """Return the ``EnvironmentSpec`` of an id, a function that makes an environment, a vector environment or a
    simulator.

    A function that can be imported is stored by name, so other processes can make its environment too. Raises
    InputError for anything else.
    """
    given = dict(kwargs or {})
    if isinstance(environment, EnvironmentSpec):
        return environment if not given else replace(environment, kwargs=given)
    if isinstance(environment, str):
        return EnvironmentSpec(name=environment, source=environment, kwargs=given)
    if isinstance(environment, VectorEnv):
        spec = _of_vector(environment)
        if given:
            raise InputError(
                f"environment '{spec.name}': `kwargs` are only for an environment that prunekit "
                "makes; make yours with them"
            )
        return spec
    if isinstance(environment, gym.Env):
        raise InputError(
            f"an environment object ({type(environment).__name__}) cannot be made again, which other episodes need; "
            f"give {_WAYS}"
        )
    if isinstance(environment, Simulator):
        return EnvironmentSpec(name=type(environment).__name__, vector=environment, kwargs=given)
    if callable(environment):
        name = importable_maker(environment)
        return EnvironmentSpec(name=name or function_name(environment), source=name or environment, kwargs=given)
    raise InputError(f"an environment must be {_WAYS}, not {type(environment).__name__}")


def _of_vector(vector: VectorEnv[Any, Any, Any]) -> EnvironmentSpec:
    """Return the spec of a vector environment. Its single environments are only known if no wrapper changes what
    policies see.
    """
    spec = vector.spec
    name = type(vector).__name__ if spec is None else spec.id
    source = vector.env_fns[0] if isinstance(vector, SyncVectorEnv | AsyncVectorEnv) else None
    return EnvironmentSpec(name=name, source=source, vector=vector)
