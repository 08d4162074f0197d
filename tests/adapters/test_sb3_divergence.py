"""How far a removal moves a policy, for every algorithm and kind of actions, beside formulas spelled out."""

from __future__ import annotations

from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from prunekit.adapters.sb3 import attach_pruner, learner_of
from prunekit.errors import InputError
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Phases, Sparsity
from prunekit.pruning.trust_region import Divergence

BOX = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
SPACES: dict[str, gym.Space[Any]] = {
    "box": BOX,
    "discrete": gym.spaces.Discrete(3),
    "multi_discrete": gym.spaces.MultiDiscrete([3, 2]),
    "multi_binary": gym.spaces.MultiBinary(2),
}
REPLAY: dict[str, Any] = {"learning_starts": 20, "batch_size": 16, "buffer_size": 200, "train_freq": 1}
CASES: dict[str, tuple[type[BaseAlgorithm], str, dict[str, Any]]] = {
    **{f"ppo {name}": (PPO, name, {"n_steps": 32, "batch_size": 16}) for name in SPACES},
    "dqn": (DQN, "discrete", REPLAY),
    "sac": (SAC, "box", REPLAY),
    "td3": (TD3, "box", REPLAY),
}


class Small(gym.Env[Any, Any]):
    """Observations of chance, and a space of actions that a test chooses."""

    observation_space = gym.spaces.Box(-9.0, 9.0, (3,), np.float32)

    def __init__(self, space: gym.Space[Any]) -> None:
        self.action_space = space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = 10
        return self.np_random.normal(size=3).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return self.np_random.normal(size=3).astype(np.float32), float(np.sum(action)), False, self.left == 0, {}


def build(case: str, **changes: Any) -> Any:
    model, space, settings = CASES[case]
    arch: Any = {"pi": [16, 12], "qf" if model in (SAC, TD3) else "vf": [8]} if model is not DQN else [16, 12]
    policy = {"net_arch": arch}
    return model("MlpPolicy", Small(SPACES[space]), policy_kwargs=policy, seed=0, device="cpu", **settings, **changes)


def divergence_of(model: BaseAlgorithm) -> Divergence:
    found = learner_of(model).actor.divergence
    assert found is not None
    return found


def outputs(width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(50, width, generator=generator)
    return before, before + 0.3 * torch.randn(50, width, generator=generator)


def test_gaussians_with_the_deviations_of_now() -> None:
    model = build("ppo box")
    divergence, (before, after) = divergence_of(model), outputs(2)
    for log_std in ((0.0, 0.0), (-1.0, 0.5)):
        with torch.no_grad():
            model.policy.log_std.copy_(torch.tensor(log_std))
        std = torch.tensor(log_std).exp()
        found = divergence(before, after)
        torch.testing.assert_close(found, (((after - before) / std).square().sum(dim=1) / 2).double())
        assert not found.requires_grad


def categorical(before: Tensor, after: Tensor) -> Tensor:
    one, other = before.log_softmax(dim=1), after.log_softmax(dim=1)
    return (one.exp() * (one - other)).sum(dim=1)


def test_distributions_of_whole_numbers_and_of_bits() -> None:
    before, after = outputs(3)
    torch.testing.assert_close(
        divergence_of(build("ppo discrete"))(before, after), categorical(before, after).double(), rtol=1e-5, atol=1e-6
    )
    before, after = outputs(5)
    parts = categorical(before[:, :3], after[:, :3]) + categorical(before[:, 3:], after[:, 3:])
    torch.testing.assert_close(
        divergence_of(build("ppo multi_discrete"))(before, after), parts.double(), rtol=1e-5, atol=1e-6
    )
    before, after = outputs(2)
    one, other = before.sigmoid(), after.sigmoid()
    bits = one * (one / other).log() + (1 - one) * ((1 - one) / (1 - other)).log()
    torch.testing.assert_close(
        divergence_of(build("ppo multi_binary"))(before, after), bits.sum(dim=1).double(), rtol=1e-5, atol=1e-6
    )


def test_the_policy_s_own_distribution_stays_what_it_was() -> None:
    model = build("ppo discrete")
    model.predict(np.zeros(3, np.float32))
    before = model.policy.action_dist.distribution
    divergence_of(model)(*outputs(3))
    assert model.policy.action_dist.distribution is before


def test_q_values_count_changed_greedy_actions() -> None:
    before = torch.tensor([[1.0, 2.0, 0.0], [5.0, 4.9, 0.0], [0.0, 0.0, 1.0]])
    after = torch.tensor([[100.0, 200.0, 0.0], [4.8, 4.9, 0.0], [0.0, 0.5, 1.0]])
    assert divergence_of(build("dqn"))(before, after).tolist() == [0.0, 1.0, 0.0]


def test_td3_s_actions_are_compared_at_the_scale_of_its_smoothing() -> None:
    before, after = outputs(2)
    for noise in (0.2, 0.1):
        found = divergence_of(build("td3", target_policy_noise=noise))(before, after)
        expected = ((after.tanh() - before.tanh()) / noise).square().sum(dim=1) / 2
        torch.testing.assert_close(found, expected.double(), rtol=1e-4, atol=1e-6)


def test_sac_s_squashed_gaussians_are_as_far_apart_as_the_gaussians() -> None:
    before, after = outputs(4)
    after[0, 2:] = 100.0  # beyond the bounds of the deviation
    (mean, log_std), (other, other_log_std) = (both.double().chunk(2, dim=1) for both in (before, after))
    one, two = log_std.clamp(-20, 2).exp(), other_log_std.clamp(-20, 2).exp()
    expected = ((two / one).log() + (one.square() + (mean - other).square()) / (2 * two.square()) - 0.5).sum(dim=1)
    torch.testing.assert_close(divergence_of(build("sac"))(before, after), expected)
    learner = learner_of(build("sac"))
    assert learner.actor.distribution_of is not None
    assert learner.actor.distribution_of(learner.actor.network(torch.zeros(5, 3))).shape == (5, 4)


@pytest.mark.parametrize("case", CASES)
def test_every_algorithm_trains_with_a_limit(case: str) -> None:
    """The limit is kept while the window lasts, and the sparsity is reached."""
    model = build(case)
    actor, steps = learner_of(model).actor, 128
    limit = 0.02 if case == "dqn" else 1e-4
    plan = PruningPlan(
        threshold=Sparsity(0.7),
        phases=Phases(start=0.2, end=0.7),
        checks=8,
        patience=1,
        states=64,
        max_divergence=limit,
    )
    pruner = attach_pruner(model, actor, actor.updates(steps), plan)
    moved = []

    def watch(*_: object) -> None:
        if pruner.steps < 0.7 * pruner.total_steps:
            moved.append(cast("float", pruner.divergence))

    actor.optimizer.register_step_post_hook(watch)
    model.learn(steps)
    assert max(moved) <= limit
    assert pruner.frozen
    assert sum(int(keep.sum()) for keep in pruner.keep.values()) == 28 - 20


@pytest.mark.parametrize("case", ["ppo box", "sac"])
def test_a_critic_has_no_limit(case: str) -> None:
    model = build(case)
    critic = learner_of(model).critic
    assert critic is not None
    with pytest.raises(InputError, match="`max_divergence` is for policies"):
        attach_pruner(model, critic, 100, PruningPlan(max_divergence=0.1))


def test_td3_without_smoothing_has_no_scale() -> None:
    model = build("td3", target_policy_noise=0.0)
    with pytest.raises(InputError, match="for those of TD3 with a target_policy_noise above 0"):
        attach_pruner(model, learner_of(model).actor, 100, PruningPlan(max_divergence=0.1))
    attach_pruner(model, learner_of(model).actor, 100, PruningPlan(threshold=Sparsity(0.5)))
