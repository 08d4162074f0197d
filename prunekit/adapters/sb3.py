"""Adapters of Stable-Baselines3 algorithms: where each keeps its actor, optimizer and target networks.

One small function per algorithm returns a ``Learner``; the table ``ALGORITHMS`` maps names to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from prunekit.adapters.learner import Learner, PrunableNetwork
from prunekit.adapters.networks import Ensemble, TwoHeads, joined
from prunekit.adapters.sb3_divergence import (
    of_actor_critic,
    of_greedy_actions,
    of_noisy_actions,
    of_squashed_gaussians,
)
from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.heads import head_of
from prunekit.pruning.groups import find_groups
from prunekit.pruning.guard import ReturnGuard
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions
from prunekit.spaces.kind import ActionKind
from prunekit.spaces.multi_binary import MultiBinaryActions
from prunekit.spaces.multi_discrete import MultiDiscreteActions

# Of the range of one action value: Stable-Baselines3 computes high - low in float32.
_WIDEST = float(np.finfo(np.float32).max)


@final
@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """An algorithm of Stable-Baselines3: its class, its adapter, and the kinds of actions that it supports.

    ``squashed`` algorithms reach the bounds of a Box by tanh. ``net_arch`` gives (actor widths, critic widths) in the
    form that the algorithm takes, and ``net_arch_now`` those of a model.
    """

    name: str
    model: type[BaseAlgorithm]
    learner: Callable[[Any], Learner]
    actions: tuple[type[ActionKind], ...]
    squashed: bool
    net_arch: Callable[[list[int], list[int]], Any]
    net_arch_now: Callable[[Any], Any]


def _ppo(model: PPO) -> Learner:
    if model.use_sde:
        raise InputError(
            "the noise of PPO with gSDE has a parameter per last hidden unit, so units cannot be removed while "
            "it trains; train without use_sde"
        )
    policy = model.policy
    trunk, value_trunk = policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net

    def updates(timesteps: int) -> int:
        per_rollout = model.n_steps * model.n_envs
        rollouts = -(-timesteps // per_rollout)
        return rollouts * model.n_epochs * -(-per_rollout // model.batch_size)

    actor = PrunableNetwork(
        network=nn.Sequential(*trunk, policy.action_net),
        observe=trunk,
        optimizer=policy.optimizer,
        updates=updates,
        divergence=of_actor_critic(policy),
    )
    critic = PrunableNetwork(
        network=nn.Sequential(*value_trunk, policy.value_net),
        observe=value_trunk,
        optimizer=policy.optimizer,
        updates=updates,
    )
    return Learner(actor=actor, critic=critic)


def _dqn(model: DQN) -> Learner:
    network, target = model.q_net.q_net, model.q_net_target.q_net
    return Learner(
        actor=PrunableNetwork(
            network=network,
            observe=network,
            optimizer=model.policy.optimizer,
            updates=_off_policy_updates(model),
            twins=(target,),
            divergence=of_greedy_actions,
        )
    )


def _sac(model: SAC) -> Learner:
    if model.use_sde:
        raise InputError(
            "the noise of SAC with gSDE has a parameter per last hidden unit, so units cannot be removed while "
            "it trains; train without use_sde"
        )
    actor: Any = model.actor
    network = TwoHeads(actor.latent_pi, actor.mu, actor.log_std)
    updates = _off_policy_updates(model)
    return Learner(
        actor=PrunableNetwork(
            network=network,
            observe=actor.latent_pi,
            optimizer=actor.optimizer,
            updates=updates,
            divergence=of_squashed_gaussians,
            distribution_of=joined,
        ),
        critic=_critics(model, updates),
        squashed=True,
    )


def _td3(model: TD3) -> Learner:
    updates = _off_policy_updates(model)
    mu: Any = model.actor.mu
    target: Any = model.actor_target.mu
    actor = PrunableNetwork(
        network=nn.Sequential(*mu[:-1]),  # without the tanh at its end, which is the head's
        observe=mu,
        optimizer=model.actor.optimizer,
        updates=lambda timesteps: updates(timesteps) // model.policy_delay,
        twins=(nn.Sequential(*target[:-1]),),
        divergence=of_noisy_actions(model.target_policy_noise) if model.target_policy_noise > 0.0 else None,
    )
    return Learner(actor=actor, critic=_critics(model, updates), squashed=True)


def _critics(model: SAC | TD3, updates: Callable[[int], int]) -> PrunableNetwork:
    """Return one network per critic, each with its own masks; SB3 requires critics of equal widths."""
    online, target = Ensemble(model.critic.q_networks), Ensemble(model.critic_target.q_networks)
    families: dict[str, list[str]] = {}
    for group in find_groups(online):
        families.setdefault(group.name.split(".", 2)[2], []).append(group.name)
    equal_widths = tuple(tuple(family) for family in families.values())
    observe = model.critic.q_networks[0]
    return PrunableNetwork(
        network=online,
        observe=observe,
        optimizer=model.critic.optimizer,
        updates=updates,
        twins=(target,),
        output_of=joined,
        equal_widths=equal_widths,
    )


def _off_policy_updates(model: OffPolicyAlgorithm) -> Callable[[int], int]:
    def updates(timesteps: int) -> int:
        frequency = model.train_freq
        if not isinstance(frequency, TrainFreq) or frequency.unit is not TrainFrequencyUnit.STEP:
            raise InputError("with train_freq in episodes the number of updates is not known; give train_freq in steps")
        rollout = frequency.frequency * model.n_envs
        rollouts = -(-timesteps // rollout)
        silent = min(model.learning_starts // rollout, rollouts)
        per_rollout = model.gradient_steps if model.gradient_steps >= 0 else rollout
        return (rollouts - silent) * per_rollout

    return updates


def _widths(layers: Iterable[nn.Module]) -> list[int]:
    return [layer.out_features for layer in layers if isinstance(layer, nn.Linear)]


def _with_critic(actor: Iterable[nn.Module], model: Any) -> dict[str, list[int]]:
    return {"pi": _widths(actor), "qf": _widths(model.critic.q_networks[0])[:-1]}


ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm(
            name="ppo",
            model=PPO,
            learner=_ppo,
            actions=(DiscreteActions, MultiDiscreteActions, MultiBinaryActions, BoxActions),
            squashed=False,
            net_arch=lambda actor, critic: {"pi": actor, "vf": critic},
            net_arch_now=lambda model: {
                "pi": _widths(model.policy.mlp_extractor.policy_net),
                "vf": _widths(model.policy.mlp_extractor.value_net),
            },
        ),
        Algorithm(
            name="dqn",
            model=DQN,
            learner=_dqn,
            actions=(DiscreteActions,),
            squashed=False,
            net_arch=lambda actor, _: actor,
            net_arch_now=lambda model: _widths(model.q_net.q_net)[:-1],
        ),
        Algorithm(
            name="sac",
            model=SAC,
            learner=_sac,
            actions=(BoxActions,),
            squashed=True,
            net_arch=lambda actor, critic: {"pi": actor, "qf": critic},
            net_arch_now=lambda model: _with_critic(model.actor.latent_pi, model),
        ),
        Algorithm(
            name="td3",
            model=TD3,
            learner=_td3,
            actions=(BoxActions,),
            squashed=True,
            net_arch=lambda actor, critic: {"pi": actor, "qf": critic},
            net_arch_now=lambda model: _with_critic(model.actor.mu[:-2], model),
        ),
    )
}


def algorithm_for(name: str, spaces: Spaces) -> Algorithm:
    """Return the algorithm ``name``; raises InputError if it is unknown or does not support the action space.

    Squashed actions need bounds that are finite and not equal.
    """
    algorithm = ALGORITHMS.get(name)
    if algorithm is None:
        raise InputError(f"`algo` {name} is unknown; choose one of {', '.join(ALGORITHMS)}")
    actions = spaces.actions
    if type(actions) not in algorithm.actions:
        fitting = [other.name for other in ALGORITHMS.values() if type(actions) in other.actions]
        advice = f"choose one of {', '.join(fitting)}" if fitting else "no algorithm here does"
        raise InputError(f"`algo` {name} does not fit {actions.sort} actions; {advice}")
    if algorithm.squashed and isinstance(actions, BoxActions):
        for index, (low, high) in enumerate(zip(actions.low, actions.high, strict=True)):
            if not 0.0 < high - low <= _WIDEST:
                raise InputError(
                    f"`algo` {name} squashes actions into their bounds, but the action space has [{low:g}, "
                    f"{high:g}] for value {index}; choose ppo, or give the environment finite bounds that differ"
                )
    return algorithm


def algorithm_of(model: BaseAlgorithm) -> Algorithm:
    """Return the algorithm of ``model``; raises InputError if it has no adapter."""
    for algorithm in ALGORITHMS.values():
        if type(model) is algorithm.model:
            return algorithm
    raise InputError(f"{type(model).__name__} cannot be pruned while it trains; choose one of {', '.join(ALGORITHMS)}")


def learner_of(model: BaseAlgorithm) -> Learner:
    """Return the ``Learner`` of ``model``."""
    return algorithm_of(model).learner(model)


def attach_pruner(
    model: BaseAlgorithm,
    prunable: PrunableNetwork,
    total_steps: int,
    plan: PruningPlan,
    *,
    guard: ReturnGuard | None = None,
    live_shrink: bool = True,
) -> Pruner:
    """Return a Pruner on ``prunable`` of ``model``; ``total_steps`` counts optimizer steps, as ``updates`` does.

    With live shrinking, stock SB3 can save and load ``model`` at any time. Raises InputError if ``plan`` limits the
    divergence, and the network is no policy for which it is known.
    """
    if plan.max_divergence is not None and prunable.divergence is None:
        raise InputError(
            "`max_divergence` is for policies, and for those of TD3 with a target_policy_noise above 0, which is the "
            "scale of their actions; leave it out"
        )
    return Pruner(
        prunable.network,
        prunable.optimizer,
        total_steps,
        plan,
        twins=prunable.twins,
        observe=prunable.observe,
        output_of=prunable.output_of,
        guard=guard,
        live_shrink=live_shrink,
        equal_widths=prunable.equal_widths,
        on_shrink=lambda: sync_net_arch_(model),
        divergence=prunable.divergence,
        distribution_of=prunable.distribution_of,
    )


def actor_of(model: BaseAlgorithm, spaces: Spaces) -> Actor:
    """Return the deployed policy of ``model``: normalizer with its current statistics, network, head."""
    learner = learner_of(model)
    head = head_of(spaces.actions.squashed() if learner.squashed else spaces.actions)
    return Actor(learner.actor.network, head, normalizer_of(model.get_vec_normalize_env()))


def sync_net_arch_(model: BaseAlgorithm) -> None:
    """Write the current widths of ``model``'s networks to where SB3 reads them when it loads a model."""
    net_arch = algorithm_of(model).net_arch_now(model)
    model.policy_kwargs = {**model.policy_kwargs, "net_arch": net_arch}
    model.policy.net_arch = net_arch
    if isinstance(model, DQN):  # its policy's own save() looks there
        model.policy.net_args["net_arch"] = net_arch


def normalizer_of(vec_normalize: VecNormalize | None) -> Normalizer | None:
    """Return the observation normalizer of an SB3 ``VecNormalize``, or None if it does not normalize observations."""
    if vec_normalize is None or not vec_normalize.norm_obs:
        return None
    statistics = vec_normalize.obs_rms
    if not isinstance(statistics, RunningMeanStd):
        raise InputError("VecNormalize over Dict observations is not supported; flatten the observations")
    scale = 1.0 / np.sqrt(statistics.var + vec_normalize.epsilon)
    return Normalizer(statistics.mean.tolist(), scale.tolist(), vec_normalize.clip_obs)
