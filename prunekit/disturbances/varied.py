"""An environment whose parameters are drawn for every episode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, final

import gymnasium as gym
import numpy as np

from prunekit.disturbances.parameters import KWARGS, Place, arguments_of, place_of, require_argument, wanted
from prunekit.disturbances.randomization import Randomization
from prunekit.environment_functions import first_line
from prunekit.environments import id_of
from prunekit.errors import InputError, UnusableEnvironmentError

# Values that Gymnasium's CartPole derives from its parameters in its constructor, and uses in every step.
_COMPUTED: dict[str, dict[str, Callable[[Any], float]]] = {
    "gymnasium.envs.classic_control.cartpole.CartPoleEnv": {
        "total_mass": lambda env: env.masspole + env.masscart,
        "polemass_length": lambda env: env.masspole * env.length,
    },
}


@final
class Varied:
    """Draws the parameters of ``environment`` before each episode, and restores them.

    The environment must be reset after each draw. Raises InputError, naming the parameter, for one that the environment
    does not have.
    """

    def __init__(self, environment: gym.Env[Any, Any], randomization: Randomization) -> None:
        self._original = self.environment = environment
        self._randomization = randomization
        arguments = [entry for entry in randomization.parameters if entry.path.startswith(f"{KWARGS}.")]
        self._arguments = {entry.path: entry for entry in arguments}
        self._places = [entry for entry in randomization.parameters if entry.path not in self._arguments]
        self._changed: list[tuple[str, Place, Any]] = []
        self._numbers: dict[str, float] = {}
        if arguments:
            spec = environment.spec
            if spec is None:
                raise InputError(f"{arguments[0].path}: the environment is not registered, so it cannot be made again")
            self._numbers = arguments_of(environment.unwrapped, spec.kwargs)
            for path in self._arguments:
                require_argument(path, self._numbers)
        for entry in self._places:
            wanted(place_of(environment.unwrapped, entry.path).value, entry, 0.0)

    @property
    def is_made_again(self) -> bool:
        """Whether every episode has a new environment, because arguments of the constructor are drawn."""
        return bool(self._arguments)

    def vary(self, generator: np.random.Generator) -> gym.Env[Any, Any]:
        """Return the environment with parameters drawn from ``generator``; reset it next."""
        self.restore()
        drawn = self._randomization.draw(generator)
        if self._arguments:
            self.environment = self._made(drawn)
        inside = self.environment.unwrapped
        for entry in self._places:
            place = place_of(inside, entry.path)
            value = wanted(place.value, entry, drawn[entry.path])
            place.put(value)
            self._changed.append((entry.path, place, value))
        self._compute(inside)
        return self.environment

    def require_kept(self) -> None:
        """Raise InputError if the environment changed a drawn parameter during its reset."""
        for path, _, value in self._changed:
            if not np.array_equal(place_of(self.environment.unwrapped, path).value, value):
                raise InputError(
                    f"{path}: environment '{id_of(self.environment)}' sets it itself as an episode begins, so that it "
                    "cannot be randomized; leave it out"
                )

    def restore(self) -> None:
        """Restore all parameters."""
        if not self._changed and self.environment is self._original:
            return
        for _, place, _ in reversed(self._changed):
            place.put_back()
        if self._changed and self.environment is self._original:
            _set_mujoco_constants(self.environment.unwrapped)
        self._changed = []
        if self.environment is not self._original:
            self.environment.close()
            self.environment = self._original

    def _compute(self, inside: Any) -> None:
        """Recompute what the environment's constructor derived from its parameters."""
        paths = [path for path, _, _ in self._changed]
        for kind in type(inside).__mro__:
            for name, computed in _COMPUTED.get(f"{kind.__module__}.{kind.__qualname__}", {}).items():
                if paths and name not in paths:
                    place = place_of(inside, name)
                    value = computed(inside)
                    place.put(value)
                    self._changed.append((name, place, value))
        if any(path.startswith("model.") for path in paths):
            _set_mujoco_constants(inside)

    def _made(self, drawn: dict[str, float]) -> gym.Env[Any, Any]:
        """Return a new environment with the drawn arguments."""
        spec = self._original.spec
        assert spec is not None
        values = {
            path.removeprefix(f"{KWARGS}."): wanted(self._numbers[path.removeprefix(f"{KWARGS}.")], entry, drawn[path])
            for path, entry in self._arguments.items()
        }
        try:
            return gym.make(replace(spec, kwargs={**spec.kwargs, **values}))
        except Exception as error:  # an environment's own checks of its arguments raise anything
            told = ", ".join(f"{path} {value:g}" for path, value in values.items())
            raise UnusableEnvironmentError(
                f"environment '{id_of(self._original)}' cannot be made with {told} ({first_line(error)})"
            ) from error


def _set_mujoco_constants(inside: Any) -> None:
    """Let MuJoCo recompute the constants that it derived when it compiled the model, such as masses of subtrees."""
    model, data = getattr(inside, "model", None), getattr(inside, "data", None)
    if type(model).__name__ == "MjModel" and data is not None:
        import mujoco

        mujoco.mj_setConst(model, data)
