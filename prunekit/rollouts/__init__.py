"""Episodes of environments, each with its seed: one after the other, or many in lockstep."""

from prunekit.rollouts.episodes import (
    MAX_STEPS,
    Act,
    episode,
    episode_return,
    failed,
    random_returns,
)
from prunekit.rollouts.runner import BatchPolicy, Episode, EpisodeRunner, StoppedError, one_at_a_time

__all__ = [
    "MAX_STEPS", "Act", "BatchPolicy", "Episode", "EpisodeRunner", "StoppedError", "episode", "episode_return",
    "failed", "one_at_a_time", "random_returns",
]  # fmt: skip
