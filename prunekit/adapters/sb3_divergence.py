"""How far removals move the policies of Stable-Baselines3, one divergence per algorithm.

Each compares a policy before and after, by their outputs [n, k], and returns one number [n] per observation.
"""

from __future__ import annotations

import copy

import torch
from stable_baselines3.common.distributions import DiagGaussianDistribution, Distribution, kl_divergence
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN
from torch import Tensor

from prunekit.pruning.trust_region import Divergence


def of_actor_critic(policy: ActorCriticPolicy) -> Divergence:
    """Return KL(before || after) of the action distributions of ``policy``, Gaussians with its present deviations."""

    def distribution(outputs: Tensor) -> Distribution:
        made = copy.copy(policy.action_dist)  # the policy's own holds the distribution of its last forward pass
        if isinstance(made, DiagGaussianDistribution):
            return made.proba_distribution(outputs.double(), policy.log_std.detach().double())
        return made.proba_distribution(outputs.double())

    def divergence(before: Tensor, after: Tensor) -> Tensor:
        found: Tensor = kl_divergence(distribution(before), distribution(after))
        return found.reshape(len(before), -1).sum(dim=1)

    return divergence


def of_greedy_actions(before: Tensor, after: Tensor) -> Tensor:
    """Return 1 where the greedy action of Q-values differs, otherwise 0.

    The mean is the total variation distance of the greedy policies, which are what is deployed. The KL divergence of a
    softmax would need a temperature, which depends on the scale of the rewards.
    """
    return (before.argmax(dim=1) != after.argmax(dim=1)).double()


def of_noisy_actions(deviation: float) -> Divergence:
    """Return the KL divergence of Gaussians around the actions, tanh of the outputs, with the deviation ``deviation``.

    TD3 is given the deviation of its target policy smoothing: its critics are trained not to tell actions apart that
    are closer than that (Fujimoto et al. 2018).
    """

    def divergence(before: Tensor, after: Tensor) -> Tensor:
        moved = (torch.tanh(after.double()) - torch.tanh(before.double())) / deviation
        return moved.square().sum(dim=1) / 2

    return divergence


def of_squashed_gaussians(before: Tensor, after: Tensor) -> Tensor:
    """Return KL(before || after) of SAC's policies; [n, 2k] are means and log standard deviations before squashing.

    Squashing maps both policies in the same way, so the KL divergence does not change by it.
    """
    (mean, log_std), (other, other_log_std) = (_gaussian(outputs) for outputs in (before, after))
    first, second = (
        torch.distributions.Normal(*pair) for pair in ((mean, log_std.exp()), (other, other_log_std.exp()))
    )
    return torch.distributions.kl_divergence(first, second).sum(dim=1)


def _gaussian(outputs: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_std = outputs.double().chunk(2, dim=1)
    return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
