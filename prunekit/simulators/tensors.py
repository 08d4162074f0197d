"""A batched simulator of torch tensors, on any device, as a ``Batch``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunekit.environment_functions import first_line
from prunekit.errors import PrunekitError, UnusableEnvironmentError
from prunekit.simulators.batch import Seeding, Simulator

_POLICY = "policy"


@final
class TensorBatch:
    """A batch of the ``simulator``, called ``name`` in messages; it is not closed here.

    Its episodes cannot be seeded. ``actions`` is the action space of one environment, if the simulator has no
    ``single_action_space``. Raises UnusableEnvironmentError if its results do not follow ``Simulator``.
    """

    seeding, registered = Seeding.NONE, None

    def __init__(self, simulator: Simulator, name: str, actions: gym.Space[Any] | None = None) -> None:
        self._simulator, self.name = simulator, name
        self.width = int(simulator.num_envs)
        space = actions or getattr(simulator, "single_action_space", None)
        if not isinstance(space, gym.Space):
            raise UnusableEnvironmentError(
                f"environment '{name}' has no single_action_space; give the action space of one environment as "
                "`actions` of EnvironmentSpec"
            )
        self.action_space: gym.Space[Any] = space
        self._device = torch.device("cpu")
        self._shape: tuple[int, ...] | None = None
        try:
            first = self.begin(())
        except PrunekitError:
            raise
        except Exception as error:  # a simulator raises anything
            raise UnusableEnvironmentError(
                f"environment '{name}' failed at its first reset ({type(error).__name__}: {first_line(error)})"
            ) from error
        self._shape = first.shape
        self.observation_space: gym.Space[Any] = gym.spaces.Box(-np.inf, np.inf, first.shape[1:], np.float32)

    def begin(self, seeds: Sequence[int]) -> NDArray[Any]:  # noqa: ARG002
        """Reset all environments."""
        given = self._simulator.reset()
        return self._observations(given[0] if isinstance(given, tuple) else given)

    def step(self, actions: Sequence[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
        """Take one action each."""
        given = self._simulator.step(torch.as_tensor(np.stack(actions)).to(self._device))
        if not isinstance(given, tuple) or len(given) not in (4, 5):
            raise UnusableEnvironmentError(
                f"environment '{self.name}': step returned {_told(given)}; return (observations, rewards, "
                "dones, extras)"
            )
        over = np.zeros(self.width, np.bool_)
        for ends in given[2:-1]:
            over |= self._column(ends, "ends").astype(np.bool_)
        return self._observations(given[0]), self._column(given[1], "rewards").astype(np.float64), over

    def _observations(self, given: Any) -> NDArray[np.float32]:
        found = given
        if isinstance(given, Mapping) or hasattr(given, "keys"):
            if _POLICY not in given.keys():  # noqa: SIM118  (a TensorDict has no other way)
                raise UnusableEnvironmentError(
                    f"environment '{self.name}' has observations {', '.join(map(str, given.keys()))!r:.80}, none of "
                    f"which is '{_POLICY}'"
                )
            found = given[_POLICY]
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != self.width:
            raise UnusableEnvironmentError(
                f"environment '{self.name}' has observations {_told(found)}, but a policy takes a tensor of "
                f"[{self.width}, obs]"
            )
        if self._shape is not None and tuple(found.shape) != self._shape:
            raise UnusableEnvironmentError(
                f"environment '{self.name}' has observations {list(found.shape)}, but had {list(self._shape)} before"
            )
        self._device = found.device
        # The simulator may write the next ones into the same memory.
        return np.array(found.detach().to("cpu", torch.float32).numpy())

    def _column(self, given: Any, what: str) -> NDArray[Any]:
        if not isinstance(given, Tensor) or given.numel() != self.width:
            raise UnusableEnvironmentError(
                f"environment '{self.name}' has {what} {_told(given)}, but there are {self.width} environments"
            )
        found: NDArray[Any] = given.detach().to("cpu").reshape(-1).numpy()
        return found


def _told(given: object) -> str:
    shape = getattr(given, "shape", None)
    return f"of {type(given).__name__}" + ("" if shape is None else f" {list(shape)}")
