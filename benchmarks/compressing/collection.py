"""Further files of https://github.com/DLR-RM/rl-trained-agents, for environments that Gymnasium has today."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from compressing.teachers import PUBLISHED

# The algorithms of each environment, under the environment's name in the collection.
_FILES = {
    "Acrobot-v1": ("a2c", "ars", "dqn", "ppo", "qrdqn", "trpo"),
    "BipedalWalker-v3": ("a2c", "trpo"),
    "BipedalWalkerHardcore-v3": ("a2c",),
    "CartPole-v1": ("a2c", "dqn", "ppo", "qrdqn", "trpo"),
    "HalfCheetah-v3": ("a2c", "ppo", "sac", "tqc", "trpo"),
    "Hopper-v3": ("a2c", "ppo", "sac", "tqc", "trpo"),
    "LunarLander-v2": ("a2c", "dqn", "ppo", "qrdqn", "trpo"),
    "LunarLanderContinuous-v2": ("a2c", "ars", "ddpg", "ppo", "trpo"),
    "MountainCar-v0": ("a2c", "ars", "dqn", "qrdqn", "trpo"),
    "MountainCarContinuous-v0": ("a2c", "ars", "ddpg", "ppo", "sac", "tqc", "trpo"),
    "Pendulum-v1": ("a2c", "ars", "ddpg", "ppo", "sac", "trpo"),
    "Swimmer-v3": ("a2c", "sac", "tqc"),
    "Walker2d-v3": ("a2c", "ppo", "sac", "tqc", "trpo"),
}
# Where Gymnasium has another version today; the policies still fit.
_TODAY = {"v3": "v5", "v2": "v3"}
_AS_THEY_WERE = ("BipedalWalker", "BipedalWalkerHardcore")


@final
@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """A file of the collection: its algorithm, and the environment that its folder names."""

    algorithm: str
    named: str

    @property
    def path(self) -> str:
        """Where it lies in a folder of published policies."""
        return f"dlr/{self.algorithm}/{self.named}_1/{self.named}.zip"

    @property
    def env_id(self) -> str:
        """The environment in which it plays today."""
        base, _, version = self.named.rpartition("-")
        return self.named if base in _AS_THEY_WERE else f"{base}-{_TODAY.get(version, version)}"


def published_files() -> list[PublishedFile]:
    """Return the files that no other table has. Linear policies are left out: nothing is smaller."""
    found = [PublishedFile(algorithm=one, named=name) for name, algorithms in _FILES.items() for one in algorithms]
    return [one for one in found if one.path not in PUBLISHED.values()]
