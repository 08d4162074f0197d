"""Where policies play: one environment, and what they saw and earned there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import gymnasium as gym
import numpy as np

from prunekit.benching.models import BenchModel
from prunekit.benching.runtimes import OnnxRuntime
from prunekit.environments import Spaces, make_environment, spaces_of
from prunekit.errors import CheckError
from prunekit.export.onnx import to_onnx
from prunekit.policy.actor import Actor
from prunekit.policy.graphs import graph_of
from prunekit.policy.program import Float32
from prunekit.rollouts import Act, episode_return, random_returns

# Steps between looks whether to stop.
_PATIENCE = 64


@final
class Arena:
    """The environment ``env_id``, and how many steps were played in it; ``stopped`` says that nobody waits any more."""

    def __init__(self, env_id: str, kwargs: Mapping[str, Any] | None = None) -> None:
        self._env_id, self._kwargs = env_id, kwargs
        self.environment = self.another()
        self.spaces: Spaces = spaces_of(self.environment)
        self.steps = 0
        self.stopped: Callable[[], bool] = lambda: False

    def another(self) -> gym.Env[Any, Any]:
        """Return a new environment of the same kind."""
        return make_environment(self._env_id, self._kwargs)

    def play(self, act: Act, seed: int) -> tuple[float, Float32]:
        """Return the return of one episode, and the observations [steps, obs] that ``act`` was asked about.

        Raises FailedEpisodeError as ``episode_return`` does, CheckError where it was ``stopped`` on the way.
        """
        seen: list[Float32] = []

        def watched(observation: Any) -> Any:
            if len(seen) % _PATIENCE == 0 and self.stopped():
                raise CheckError("stopped")
            seen.append(np.array(observation, np.float32))  # a copy: some environments write into one buffer
            return act(observation)

        total = episode_return(self.environment, watched, seed)
        self.steps += len(seen)
        return total, np.asarray(seen, np.float32)

    def random(self, seed: int) -> float:
        """Return the random policy's return."""
        return random_returns(self.environment, [seed])[0]

    def close(self) -> None:
        """Close the environment."""
        self.environment.close()


def exported(actor: Actor) -> bytes:
    """Return ``actor`` as ONNX."""
    return to_onnx(graph_of(actor), {})


def runtime_of(content: bytes, spaces: Spaces) -> OnnxRuntime:
    """Return what runs an ``exported`` actor, batch 1."""
    return OnnxRuntime(
        BenchModel(path=Path("the student"), content=content, size_bytes=len(content), hidden=(), parameters=0, macs=0),
        spaces,
    )


def deployed(actor: Actor, spaces: Spaces) -> Act:
    """Return what ``actor`` does when it is exported: an observation [obs] to the action that ``env.step`` accepts."""
    return runtime_of(exported(actor), spaces).act
