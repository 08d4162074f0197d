"""Law 4: training with units physically removed on the way gives the weights of training with masks.

Both learners start equal and take the same batches: recorded transitions for the off-policy algorithms, recorded
rollouts for PPO. The pruner removes units in between, with penalty and everything on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from law_strategies import seeded
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from prunekit.adapters.learner import PrunableNetwork
from prunekit.adapters.sb3 import ALGORITHMS, attach_pruner, learner_of
from prunekit.errors import InputError
from prunekit.pruning.groups import find_groups
from prunekit.pruning.penalties import GRADIENT, PROXIMAL, Penalty
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Phases, Sparsity
from prunekit.pruning.surgery import shrink

UPDATES = 240
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 40, "batch_size": 20, "n_epochs": 10},
    "dqn": {"learning_starts": 50, "batch_size": 32, "target_update_interval": 7, "train_freq": 1},
    "sac": {"learning_starts": 50, "batch_size": 32, "train_freq": 1},
    "td3": {"learning_starts": 50, "batch_size": 32, "train_freq": 1, "policy_delay": 2},
}
CASES = [(name, critics) for name in SETTINGS for critics in (False, True) if (name, critics) != ("dqn", True)]


def build(name: str) -> BaseAlgorithm:
    env_id = "CartPole-v1" if name == "dqn" else "Pendulum-v1"
    algorithm = ALGORITHMS[name]
    policy = {"net_arch": algorithm.net_arch([24, 20], [22, 18])}
    environment = DummyVecEnv([lambda: gym.make(env_id)])
    return algorithm.model("MlpPolicy", environment, policy_kwargs=policy, seed=3, device="cpu", **SETTINGS[name])


def pruners_of(name: str, model: BaseAlgorithm, critics: bool, live_shrink: bool, penalty: Penalty) -> list[Pruner]:
    learner = learner_of(model)
    plan = PruningPlan(
        threshold=Sparsity(0.7),
        penalty=penalty,
        strength=0.1,
        phases=Phases(start=0.1, end=0.7),
        checks=12,
        patience=2,
        share_per_check=0.3,
        states=64,
    )
    return [
        attach_pruner(
            model,
            part,
            UPDATES // 2 if name == "td3" and part is learner.actor else UPDATES,  # TD3 steps its actor half as often
            plan,
            live_shrink=live_shrink,
        )
        for part in (learner.actor, learner.critic if critics else None)
        if part is not None
    ]


def recorded(model: Any, dtype: torch.dtype) -> Callable[[], None]:
    """Let ``model`` record transitions, or one rollout; the result takes updates on batches of it, drawn by a seed."""
    model.learn(60)
    model.policy.to(dtype)
    for module in model.policy.modules():
        if isinstance(module, nn.Linear):  # SB3 gives float32 observations whatever the policy is
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].to(dtype),))
    for optimizer in {id(part.optimizer): part.optimizer for part in parts_of(model)}.values():
        optimizer.state.clear()
    on_policy = hasattr(model, "rollout_buffer")
    buffer, method = (model.rollout_buffer, "get") if on_policy else (model.replay_buffer, "sample")
    draw = getattr(buffer, method)

    def cast(batch: Any) -> Any:
        return type(batch)(
            *(value.to(dtype) if value is not None and value.is_floating_point() else value for value in batch)
        )

    def in_dtype(*arguments: Any, **keywords: Any) -> Any:
        batches = draw(*arguments, **keywords)
        return map(cast, batches) if on_policy else cast(batches)

    setattr(buffer, method, in_dtype)
    return model.train if on_policy else lambda: model.train(gradient_steps=10, batch_size=32)


def parts_of(model: BaseAlgorithm) -> list[PrunableNetwork]:
    learner = learner_of(model)
    return [part for part in (learner.actor, learner.critic) if part is not None]


def same(one: nn.Module, other: nn.Module) -> bool:
    return next(one.parameters()) is next(other.parameters())


def weights_of(model: BaseAlgorithm, pruners: list[Pruner]) -> dict[str, torch.Tensor]:
    """Return all weights, those of pruned networks without the zeros that fill up the narrower critic of a pair."""
    found = {}
    for number, part in enumerate(parts_of(model)):
        masks = next((pruner.masks for pruner in pruners if same(pruner.network, part.network)), None)
        for index, network in enumerate((part.network, *part.twins)):
            left = network if masks is None else shrink(network, masks)
            found |= {
                f"part {number} network {index} {name}": value.detach() for name, value in left.state_dict().items()
            }
    return found


def trained(
    name: str, dtype: torch.dtype, critics: bool, live_shrink: bool, penalty: Penalty
) -> tuple[BaseAlgorithm, list[Pruner]]:
    model = build(name)
    train = recorded(model, dtype)
    pruners = pruners_of(name, model, critics, live_shrink, penalty)
    torch.manual_seed(5)
    np.random.seed(5)
    while pruners[-1].steps < pruners[-1].total_steps:
        train()
    for pruner in pruners:
        pruner.shrink_()
        assert pruner.frozen
        assert pruner.sparsity >= 0.7
    return model, pruners


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("name", "critics"), CASES)
def test_live_shrinking_gives_the_weights_of_training_with_masks(name: str, critics: bool, dtype: torch.dtype) -> None:
    masked, first = trained(name, dtype, critics, False, PROXIMAL)
    live, second = trained(name, dtype, critics, True, PROXIMAL)
    for one, other in zip(first, second, strict=True):
        assert one.steps == other.steps
        assert {key: keep.tolist() for key, keep in one.keep.items()} == {
            key: keep.tolist() for key, keep in other.keep.items()
        }
    expected, found = weights_of(masked, first), weights_of(live, second)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        scale = max(float(value.abs().max()), 1e-3)
        assert value.shape == found[key].shape, key
        assert float((found[key] - value).abs().max()) <= TOLERANCE[dtype] * scale, key


@pytest.mark.parametrize("name", ["ppo", "td3"])
def test_it_holds_for_the_gradient_penalty_too(name: str) -> None:
    masked, first = trained(name, torch.float64, False, False, GRADIENT)
    live, second = trained(name, torch.float64, False, True, GRADIENT)
    expected, found = weights_of(masked, first), weights_of(live, second)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("optimizer", ["adam", "amsgrad", "adamw", "rmsprop", "momentum"])
def test_it_holds_in_a_loop_of_one_s_own(optimizer: str) -> None:
    kinds: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
        "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-2),
        "amsgrad": lambda parameters: torch.optim.Adam(parameters, lr=1e-2, amsgrad=True, weight_decay=0.01),
        "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1),
        "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=1e-3, momentum=0.9, centered=True),
        "momentum": lambda parameters: torch.optim.SGD(parameters, lr=1e-2, momentum=0.9, nesterov=True),
    }
    torch.manual_seed(0)
    start = nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 2)).double()
    ends = []
    for live_shrink in (False, True):
        network = copy.deepcopy(start)
        twin = copy.deepcopy(start)
        own = kinds[optimizer](network.parameters())
        pruner = Pruner(
            network,
            own,
            UPDATES,
            PruningPlan(threshold=Sparsity(0.6), strength=0.1),
            twins=[twin],
            live_shrink=live_shrink,
        )
        generator = seeded(1)
        widths = set()
        for _ in range(UPDATES):
            states = torch.randn(16, 3, generator=generator, dtype=torch.float64)
            own.zero_grad()
            (network(states) - torch.sin(states[:, :2])).square().mean().backward()
            nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            own.step()
            with torch.no_grad():
                for target, online in zip(twin.parameters(), network.parameters(), strict=True):
                    target.lerp_(online, 0.05)
            widths.add(tuple(group.width for group in find_groups(network)))
        assert len(widths) > 5 if live_shrink else widths == {(20, 16)}
        pruner.shrink_()
        ends.append([*network.parameters(), *twin.parameters()])
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)


def test_an_optimizer_whose_state_cannot_follow_is_refused_before_anything_changes() -> None:
    network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = torch.optim.Adafactor(network.parameters(), lr=1e-2)
    pruner = Pruner(network, optimizer, 100, PruningPlan(threshold=Sparsity(0.5), strength=0.1))
    for _ in range(100):
        network(torch.randn(16, 3)).square().mean().backward()
        optimizer.step()
    before = [parameter.shape for parameter in network.parameters()]
    with pytest.raises(InputError, match="Adafactor keeps"):
        pruner.shrink_()
    assert [parameter.shape for parameter in network.parameters()] == before
