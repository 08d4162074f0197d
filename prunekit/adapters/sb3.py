"""Stable-Baselines3 learners: where their actor, optimizer and target networks are.

One small function per algorithm returns a ``Learner``; the table ``ALGORITHMS`` names them. Nothing outside
this file imports Stable-Baselines3's policies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.heads import ArgmaxHead, ClipHead


@final
@dataclass(frozen=True)
class Learner:
    """What pruning and export need of a learner; every module is shared with it, nothing is copied.

    ``network`` maps normalized observations to scores, ``observe`` is the module whose input those are in the
    learner's own forward pass, ``twins`` are target networks of the same shape as ``network``.
    ``updates(timesteps)`` counts the optimizer steps that training for so many environment steps takes.
    """

    network: nn.Module
    observe: nn.Module
    optimizer: torch.optim.Optimizer
    twins: tuple[nn.Module, ...]
    updates: Callable[[int], int]


@final
@dataclass(frozen=True)
class Algorithm:
    """One algorithm of Stable-Baselines3: its class, its adapter, and the actions that it can choose."""

    name: str
    model: type[BaseAlgorithm]
    learner: Callable[[Any], Learner]
    discrete: bool
    continuous: bool
    net_arch: Callable[[list[int], list[int]], Any]


def _ppo(model: PPO) -> Learner:
    if model.use_sde:
        raise InputError("PPO with gSDE keeps no plain mean action; train without use_sde")
    policy = model.policy
    trunk = policy.mlp_extractor.policy_net

    def updates(timesteps: int) -> int:
        per_rollout = model.n_steps * model.n_envs
        rollouts = -(-timesteps // per_rollout)
        return rollouts * model.n_epochs * -(-per_rollout // model.batch_size)

    return Learner(nn.Sequential(*trunk, policy.action_net), trunk, policy.optimizer, (), updates)


def _dqn(model: DQN) -> Learner:
    network, target = model.q_net.q_net, model.q_net_target.q_net

    def updates(timesteps: int) -> int:
        frequency = model.train_freq
        if not isinstance(frequency, TrainFreq) or frequency.unit is not TrainFrequencyUnit.STEP:
            raise InputError("DQN trained per episode has no known number of updates; give train_freq in steps")
        rollout = frequency.frequency * model.n_envs
        rollouts = -(-timesteps // rollout)
        silent = min(model.learning_starts // rollout, rollouts)
        per_rollout = model.gradient_steps if model.gradient_steps >= 0 else rollout
        return (rollouts - silent) * per_rollout

    return Learner(network, network, model.policy.optimizer, (target,), updates)


ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("ppo", PPO, _ppo, True, True, lambda actor, critic: {"pi": actor, "vf": critic}),
        Algorithm("dqn", DQN, _dqn, True, False, lambda actor, _: actor),
    )
}


def algorithm_for(name: str, spaces: Spaces) -> Algorithm:
    """Return the algorithm ``name``; raises InputError when it is unknown or does not fit the action space."""
    algorithm = ALGORITHMS.get(name)
    if algorithm is None:
        raise InputError(f"algorithm '{name}' is unknown; choose one of {', '.join(ALGORITHMS)}")
    discrete = spaces.discrete is not None
    if not (algorithm.discrete if discrete else algorithm.continuous):
        kind = "discrete" if discrete else "continuous"
        fitting = [a.name for a in ALGORITHMS.values() if (a.discrete if discrete else a.continuous)]
        raise InputError(f"algorithm '{name}' does not fit {kind} actions; choose one of {', '.join(fitting)}")
    return algorithm


def learner_of(model: BaseAlgorithm) -> Learner:
    """Return the view on ``model`` that pruning needs."""
    for algorithm in ALGORITHMS.values():
        if type(model) is algorithm.model:
            return algorithm.learner(model)
    raise InputError(f"no adapter for {type(model).__name__}; known are {', '.join(ALGORITHMS)}")


def actor_of(model: BaseAlgorithm, spaces: Spaces) -> Actor:
    """Return the deployed view of ``model``: normalizer with the statistics of now, network, head."""
    head = ArgmaxHead(spaces.start) if spaces.discrete is not None else ClipHead(spaces.low, spaces.high)
    return Actor(learner_of(model).network, head, normalizer_of(model.get_vec_normalize_env()))


def normalizer_of(vec_normalize: VecNormalize | None) -> Normalizer | None:
    """Return the observation normalizer of an SB3 ``VecNormalize`` (None where it leaves observations alone)."""
    if vec_normalize is None or not vec_normalize.norm_obs:
        return None
    statistics = vec_normalize.obs_rms
    if not isinstance(statistics, RunningMeanStd):
        raise InputError("VecNormalize over Dict observations is not supported; flatten the observations")
    scale = 1.0 / np.sqrt(statistics.var + vec_normalize.epsilon)
    return Normalizer(statistics.mean.tolist(), scale.tolist(), vec_normalize.clip_obs)
