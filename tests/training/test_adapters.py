"""Adapters: the number of optimizer steps, target networks, and the deployed view against SB3's own predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from prunekit.adapters.sb3 import actor_of, algorithm_for, learner_of
from prunekit.environments import Spaces, make_environment, spaces_of
from prunekit.errors import InputError
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Sparsity
from prunekit.training.presets import Preset, preset_for
from prunekit.training.request import TrainingRequest, build_learner


def small_preset(env_id: str, algorithm: str) -> Preset:
    preset = preset_for(env_id, algorithm)
    changes: dict[str, Any] = {
        "ppo": {"n_steps": 32, "batch_size": 32, "n_epochs": 3},
        "dqn": {"learning_starts": 100, "train_freq": 8, "gradient_steps": 5, "batch_size": 16, "buffer_size": 1000},
    }
    return Preset(
        steps=400,
        n_envs=2 if algorithm == "ppo" else 1,
        normalize=preset.normalize,
        activation=preset.activation,
        hidden=(24, 16),
        learning_rate_schedule=preset.learning_rate_schedule,
        model={**preset.model, **changes[algorithm]},
        policy=preset.policy,
    )


def build(env_id: str, algorithm: str) -> tuple[BaseAlgorithm, Spaces]:
    environment = make_environment(env_id)
    spaces = spaces_of(environment)
    environment.close()
    request = TrainingRequest(env_id, algorithm, small_preset(env_id, algorithm))
    return build_learner(request, spaces), spaces


@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
@pytest.mark.parametrize("steps", [64, 300])
def test_the_number_of_updates_is_exact(algorithm: str, steps: int) -> None:
    model, _ = build("CartPole-v1", algorithm)
    learner = learner_of(model)
    taken = 0

    def count(*_: object) -> None:
        nonlocal taken
        taken += 1

    learner.optimizer.register_step_post_hook(count)
    expected = learner.updates(steps)
    model.learn(steps)
    assert taken == expected


@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_units_die_in_the_learner_and_its_twins(algorithm: str) -> None:
    model, _ = build("CartPole-v1", algorithm)
    learner = learner_of(model)
    total = learner.updates(1200)
    pruner = Pruner(
        learner.network,
        learner.optimizer,
        total,
        PruningPlan(threshold=Sparsity(0.5)),
        twins=learner.twins,
        observe=learner.observe,
    )
    model.learn(1200)
    assert pruner.steps == total
    assert sum(int(keep.sum()) for keep in pruner.masks.values()) == 20
    for network in (learner.network, *learner.twins):
        for name, keep in pruner.masks.items():
            linear = network.get_submodule(name)
            assert isinstance(linear, torch.nn.Linear)
            assert not linear.weight[~keep].any()
            assert not linear.bias[~keep].any()
    assert (algorithm == "dqn") == bool(learner.twins)


@pytest.mark.parametrize(
    ("env_id", "algorithm"), [("CartPole-v1", "dqn"), ("Hopper-v5", "ppo"), ("LunarLander-v3", "ppo")]
)
def test_the_actor_acts_as_stable_baselines_predicts(env_id: str, algorithm: str) -> None:
    model, spaces = build(env_id, algorithm)
    model.learn(200)
    actor = actor_of(model, spaces)
    environment = make_environment(env_id)
    normalizer = model.get_vec_normalize_env()
    observations = [environment.reset(seed=seed)[0] for seed in range(50)]
    environment.close()
    raw = np.stack(observations).astype(np.float32)
    expected, _ = model.predict(raw if normalizer is None else normalizer.normalize_obs(raw), deterministic=True)
    with torch.no_grad():
        actions = actor(torch.from_numpy(raw)).numpy()
    np.testing.assert_allclose(actions, expected, atol=1e-5)


def test_an_algorithm_that_does_not_fit_the_actions_is_refused() -> None:
    continuous = Spaces(3, low=(-1.0,), high=(1.0,))
    with pytest.raises(InputError, match=r"'dqn' does not fit continuous actions; choose one of ppo"):
        algorithm_for("dqn", continuous)
    with pytest.raises(InputError, match=r"'sarsa' is unknown"):
        algorithm_for("sarsa", continuous)


def test_a_learner_without_adapter_is_refused(tmp_path: Path) -> None:
    from stable_baselines3 import A2C

    with pytest.raises(InputError, match="no adapter for A2C"):
        learner_of(A2C("MlpPolicy", "CartPole-v1", device="cpu"))
