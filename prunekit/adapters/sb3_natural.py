"""PPO with natural-gradient steps for the actor."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.distributions import Distribution, kl_divergence
from torch import Tensor, nn

from prunekit.optim.fisher import natural
from prunekit.spaces.curvature import Curvature


@final
@dataclass(frozen=True, kw_only=True)
class NaturalSettings:
    """How a rollout updates the actor.

    ``divergence`` is the mean divergence, in nats, between the policies before and after the ``steps`` of a rollout, if
    they all have the same direction. If it exceeds ``max_divergence``, the Fisher matrix no longer describes the
    change: the step is halved, and dropped after ``halvings``. A gradient averages several ``rollouts`` by importance
    sampling, because that of a single one is mostly noise. Ratios are clipped at ``clip``. The latest network
    contributes at least ``min_share_of_latest`` to the average, which therefore reaches back about 25 rollouts.
    """

    divergence: float = 0.006
    steps: int = 10
    clip: float = 0.2
    rollouts: int = 4
    max_divergence: float = 0.03
    halvings: int = 8
    min_share_of_latest: float = 0.04


class _Rollout(NamedTuple):
    """Observations [n, obs], actions, their log-densities when they were chosen, and advantages, [n] each."""

    observations: Tensor
    actions: Tensor
    log_prob: Tensor
    gains: Tensor


@final
class NaturalPPO(PPO):
    """PPO with natural-gradient steps (``fisher.py``) on its clipped objective; Adam trains only the critic.

    A gradient combines the latest rollouts by importance sampling. A ratio of densities is clipped around its value
    before the steps. Source: Queeney, Paschalidis and Cassandras 2021, "Generalized proximal policy optimization with
    sample reuse".

    The actor is the policy's ``action_net``, which maps observations [n, obs] to the parameters of its distribution.
    Set its ``curvature`` before learning; ``settings`` are optional. If the actor requires no gradient, only the critic
    learns. Standard deviations stay fixed, because they would use up steps of a fixed length.
    """

    curvature: Curvature
    settings = NaturalSettings()
    _average: nn.Module | None = None
    _averaged = 0
    _latest: tuple[_Rollout, ...] = ()

    def take(self, network: nn.Module) -> None:
        """Continue from ``network``; it becomes the moving average of the actors after each rollout."""
        self.policy.action_net = copy.deepcopy(network)
        self._average, self._averaged = network, 0
        self._latest = ()

    def saved(self) -> tuple[nn.Module, int, tuple[_Rollout, ...]]:
        """Return the actor and its rollouts, for ``resume``."""
        return self.policy.action_net, self._averaged, self._latest

    def resume(self, network: nn.Module | None, saved: tuple[nn.Module, int, tuple[_Rollout, ...]]) -> None:
        """Restore what ``saved`` returned; ``network`` is the average."""
        self._average = network
        self.policy.action_net, self._averaged, self._latest = saved

    def train(self) -> None:
        """Update actor and critic from the rollout buffer."""
        self.policy.set_training_mode(True)
        self._train_critic()
        network = self.policy.action_net
        if not all(parameter.requires_grad for parameter in network.parameters()):
            return
        self._train_actor(network)
        if self._average is not None:
            self._averaged += 1
            share = max(self.settings.min_share_of_latest, 2.0 / (self._averaged + 2.0))
            with torch.no_grad():
                for mean, latest in zip(self._average.parameters(), network.parameters(), strict=True):
                    mean.lerp_(latest, share)

    def _train_critic(self) -> None:
        assert isinstance(self.rollout_buffer, RolloutBuffer)
        for _ in range(self.n_epochs):
            for rows in self.rollout_buffer.get(self.batch_size):
                loss = (self.policy.predict_values(rows.observations).flatten() - rows.returns).square().mean()
                self.policy.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self.policy.optimizer.step()

    def _train_actor(self, network: nn.Module) -> None:
        assert isinstance(self.rollout_buffer, RolloutBuffer)
        rows = next(self.rollout_buffer.get(None))
        with torch.no_grad():
            old = self._distribution(rows.observations)
        actions = rows.actions.reshape(-1, *(self.action_space.shape or ()))
        gains = (rows.advantages - rows.advantages.mean()) / (rows.advantages.std() + 1e-8)
        rollout = _Rollout(rows.observations, actions, rows.old_log_prob, gains)
        self._latest = (*self._latest, rollout)[-self.settings.rollouts :]
        seen = _Rollout(*(torch.cat(parts) for parts in zip(*self._latest, strict=True)))
        with torch.no_grad():
            before = self._ratio(seen)
        parameters = list(network.parameters())
        start = [parameter.detach().clone() for parameter in parameters]
        solve = natural(network, rows.observations, self.curvature)
        if solve is None:
            return
        settings = self.settings
        for _ in range(settings.steps):
            gain = clipped_gain(self._ratio(seen), before, seen.gains, settings.clip)
            slopes = torch.autograd.grad(gain, parameters)
            gradient = torch.cat([slope.flatten() for slope in slopes]).double()
            way = solve(gradient)
            length = math.sqrt(max(float(way @ gradient), 1e-24))
            _move_(parameters, (way * (math.sqrt(2.0 * settings.divergence) / settings.steps / length)).float())
        with torch.no_grad():
            for halving in range(1, settings.halvings + 1):
                # NaN counts as too far.
                if divergence(old, self._distribution(rows.observations)) <= settings.max_divergence:
                    return
                for parameter, value in zip(parameters, start, strict=True):
                    parameter.copy_(value.lerp(parameter, 0.5) if halving < settings.halvings else value)

    def _ratio(self, seen: _Rollout) -> Tensor:
        """Return the density of the actions under the current policy over that when they were chosen, [n]."""
        return (self._distribution(seen.observations).log_prob(seen.actions) - seen.log_prob).exp()

    def _distribution(self, observations: Tensor) -> Distribution:
        return copy.copy(self.policy.get_distribution(observations))  # the policy has one, which it changes


def clipped_gain(ratio: Tensor, before: Tensor, gains: Tensor, clip: float = 0.2) -> Tensor:
    """Return the clipped surrogate gain, [] from [n] each.

    ``ratio`` is the density ratio to the policy that acted, and ``before`` the same ratio when the steps began. The
    ratio may move from ``before`` as far as PPO lets it move from 1, by ``clip`` (GePPO, Queeney, Paschalidis and
    Cassandras 2021).
    """
    clipped = torch.minimum(torch.maximum(ratio, before - clip), before + clip)
    return torch.minimum(ratio * gains, clipped * gains).mean()


def divergence(old: Distribution, new: Distribution) -> float:
    """Return the mean Kullback-Leibler divergence over a batch of distributions, in nats."""
    each = kl_divergence(old, new)
    return float((each if each.ndim == 1 else each.sum(dim=1)).mean())


def _move_(parameters: Sequence[Tensor], way: Tensor) -> None:
    with torch.no_grad():
        steps = torch.split(way, [parameter.numel() for parameter in parameters])
        for parameter, step in zip(parameters, steps, strict=True):
            parameter.add_(step.view_as(parameter))
