"""Adapters: the number of optimizer steps, target networks, and the deployed view against SB3's own predict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_getattr
from torch import nn

from prunekit.adapters.learner import PrunableNetwork
from prunekit.adapters.sb3 import ALGORITHMS, actor_of, algorithm_for, attach_pruner, learner_of
from prunekit.environments import Spaces, make_environment, spaces_of
from prunekit.errors import InputError
from prunekit.policy.heads import ArgmaxHead, ClipHead, TanhHead
from prunekit.pruning.groups import find_groups
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Sparsity
from prunekit.pruning.slices import linear_at
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions
from prunekit.training.presets import preset_for
from prunekit.training.request import TrainingRequest, build_learner
from prunekit.training.run import train

REPLAY: dict[str, Any] = {"learning_starts": 100, "buffer_size": 1000, "batch_size": 16}
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 32, "batch_size": 32, "n_epochs": 3},
    "dqn": {**REPLAY, "train_freq": 8, "gradient_steps": 5, "target_update_interval": 50},
    "sac": {**REPLAY, "train_freq": 8, "gradient_steps": 3},
    "td3": {**REPLAY, "train_freq": 8, "gradient_steps": 3},
}
ENVIRONMENTS = {"ppo": "Pendulum-v1", "dqn": "CartPole-v1", "sac": "Pendulum-v1", "td3": "Pendulum-v1"}
PLAN = PruningPlan(threshold=Sparsity(0.5), strength=0.1, checks=20, share_per_check=0.2, states=64)


def build(algorithm: str, env_id: str | None = None, n_envs: int | None = None, **settings: Any) -> Any:
    """Return a small learner: 24 and 16 units in the actor, 20 and 14 in a critic."""
    env_id = env_id or ENVIRONMENTS[algorithm]
    preset = preset_for(env_id, algorithm)
    preset = replace(
        preset,
        n_envs=n_envs or (2 if algorithm == "ppo" else 1),
        hidden=(20, 14),
        model={**preset.model, **SETTINGS[algorithm], **settings},
    )
    return build_learner(
        TrainingRequest(env_id=env_id, algorithm=algorithm, preset=preset, hidden=(24, 16)), spaces_in(env_id)
    )


def spaces_in(env_id: str) -> Spaces:
    environment = make_environment(env_id)
    spaces = spaces_of(environment)
    environment.close()
    return spaces


def parts_of(model: BaseAlgorithm) -> dict[str, PrunableNetwork]:
    learner = learner_of(model)
    return {"actor": learner.actor} | ({} if learner.critic is None else {"critic": learner.critic})


def pruner_of(model: BaseAlgorithm, part: PrunableNetwork, steps: int, live_shrink: bool) -> Pruner:
    return attach_pruner(model, part, part.updates(steps), PLAN, live_shrink=live_shrink)


UPDATES = [
    *((name, 1 if name != "ppo" else 2, {}) for name in SETTINGS),
    ("dqn", 3, {"gradient_steps": -1}),  # as many as steps of all environments
    ("sac", 2, {"train_freq": 3, "gradient_steps": 2}),
    ("td3", 2, {"train_freq": 5, "gradient_steps": -1, "policy_delay": 3}),
    ("td3", 1, {"train_freq": 1, "gradient_steps": 1, "learning_starts": 0}),
    ("ppo", 3, {"batch_size": 40}),  # the last batch of an epoch is smaller
]


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
@pytest.mark.parametrize(("algorithm", "n_envs", "settings"), UPDATES)
@pytest.mark.parametrize("steps", [64, 101, 300])
def test_the_number_of_updates_is_exact(algorithm: str, n_envs: int, settings: dict[str, Any], steps: int) -> None:
    model = build(algorithm, n_envs=n_envs, **settings)
    parts = parts_of(model)
    taken = dict.fromkeys(parts, 0)
    for name, part in parts.items():

        def count(*_: object, name: str = name) -> None:
            taken[name] += 1

        part.optimizer.register_step_post_hook(count)
    expected = {name: part.updates(steps) for name, part in parts.items()}
    model.learn(steps)
    assert taken == expected
    assert steps < 300 or min(taken.values()) > 0


def test_td3_steps_its_actor_half_as_often() -> None:
    learner = learner_of(build("td3"))
    assert learner.critic is not None
    assert learner.critic.updates(300) == 78  # 3 in each of 38 rollouts of 8 steps but the first 12
    assert learner.actor.updates(300) == 39


@pytest.mark.parametrize("live_shrink", [False, True])
@pytest.mark.parametrize("algorithm", SETTINGS)
def test_units_die_in_the_learner_and_its_twins(algorithm: str, live_shrink: bool) -> None:
    model = build(algorithm)
    parts = parts_of(model)
    pruners = {name: pruner_of(model, part, 1200, live_shrink) for name, part in parts.items()}
    original = {name: [group.width for group in pruner.groups] for name, pruner in pruners.items()}
    assert original["actor"] == [24, 16]
    assert original.get("critic", []) == {"ppo": [20, 14], "dqn": []}.get(algorithm, [20, 14, 20, 14])
    model.learn(1200)
    for name, pruner in pruners.items():
        part = parts[name]
        assert pruner.steps == pruner.total_steps
        assert pruner.frozen
        assert sum(int(keep.sum()) for keep in pruner.keep.values()) == sum(original[name]) // 2
        padded = sum(int((~keep).sum()) for keep in pruner.masks.values())
        if live_shrink and not part.equal_widths:
            assert padded == 0
        for network in (part.network, *part.twins):
            for group in pruner.groups:
                keep = pruner.masks[group.name]
                producer = linear_at(network, group.name)
                assert producer.out_features == keep.numel() == group.width
                assert live_shrink or keep.numel() == pruner.keep[group.name].numel()
                assert not producer.weight[~keep].any()
                assert not producer.bias[~keep].any()
                assert producer.weight[keep].any(dim=1).all()
                for path in group.consumers:
                    assert not linear_at(network, path).weight[:, ~keep].any()
    twins = {name: len(part.twins) for name, part in parts.items()}
    assert twins == {
        "ppo": {"actor": 0, "critic": 0},
        "dqn": {"actor": 1},
        "sac": {"actor": 0, "critic": 1},
        "td3": {"actor": 1, "critic": 1},
    }[algorithm]  # fmt: skip


@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_every_critic_has_masks_of_its_own_and_all_are_equally_wide(algorithm: str) -> None:
    model = build(algorithm)
    critic = parts_of(model)["critic"]
    pruner = pruner_of(model, critic, 1200, live_shrink=True)
    model.learn(1200)
    layers: dict[str, list[str]] = {}
    for name in pruner.keep:
        layers.setdefault(name.rpartition(".")[2], []).append(name)
    assert [len(names) for names in layers.values()] == [2, 2]
    for one, other in layers.values():
        assert not torch.equal(pruner.keep[one], pruner.keep[other])
        widths = [linear_at(network, name).out_features for network in (critic.network, *critic.twins)
                  for name in (one, other)]  # fmt: skip
        assert widths == [max(int(pruner.keep[name].sum()) for name in (one, other))] * 4
    for modules in (model.critic.q_networks, model.critic_target.q_networks):
        assert len({tuple(layer.out_features for layer in network if isinstance(layer, nn.Linear))
                    for network in modules}) == 1  # fmt: skip


@pytest.mark.parametrize("algorithm", SETTINGS)
def test_after_live_shrinking_the_optimizers_update_the_parameters_that_are_there(algorithm: str) -> None:
    model = build(algorithm)
    pruners = [pruner_of(model, part, 1200, live_shrink=True) for part in parts_of(model).values()]
    model.learn(1200)
    optimizers = [recursive_getattr(model, name) for name in model._get_torch_save_params()[0] if "optimizer" in name]
    held = [parameter for own in optimizers for group in own.param_groups for parameter in group["params"]]
    targets = {parameter for name, parameter in model.policy.named_parameters() if "_target" in name}
    assert {*held} - {getattr(model, "log_ent_coef", None)} == {*model.policy.parameters()} - targets
    for own in optimizers:
        for parameter, state in own.state.items():
            assert any(parameter is one for one in held)
            assert state["exp_avg"].shape == state["exp_avg_sq"].shape == parameter.shape
    assert all(pruner.sparsity >= 0.5 for pruner in pruners)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(200)
    after = model.policy.state_dict()
    assert [name for name, value in before.items() if torch.equal(value, after[name])] == []


@pytest.mark.parametrize(
    ("env_id", "algorithm", "head"),
    [
        ("CartPole-v1", "dqn", ArgmaxHead),
        ("Hopper-v5", "ppo", ClipHead),
        ("LunarLander-v3", "ppo", ArgmaxHead),
        ("Pendulum-v1", "ppo", ClipHead),
        ("Pendulum-v1", "sac", TanhHead),
        ("Pendulum-v1", "td3", TanhHead),
        ("Hopper-v5", "sac", TanhHead),
    ],
)
@pytest.mark.parametrize("pruned", [False, True])
def test_the_actor_acts_as_stable_baselines_predicts(
    env_id: str, algorithm: str, head: type[Any], pruned: bool
) -> None:
    model = build(algorithm, env_id)
    if pruned:
        pruner_of(model, learner_of(model).actor, 400, live_shrink=True)
    model.learn(400)
    actor = actor_of(model, spaces_in(env_id))
    assert isinstance(actor.head, head)
    environment = make_environment(env_id)
    normalizer = model.get_vec_normalize_env()
    raw = np.stack([environment.reset(seed=seed)[0] for seed in range(50)]).astype(np.float32)
    environment.close()
    raw = np.concatenate([raw, 10.0 * raw, 300.0 * raw])  # ordinary ones, and such as drive actions to their bounds
    with torch.no_grad():
        last = [module for module in actor.network.modules() if isinstance(module, nn.Linear)][-1]
        last = last if algorithm != "sac" else model.actor.mu
        last.weight.mul_(
            100.0 if algorithm == "ppo" else 3.0
        )  # SB3 begins with actions near 0, which tell heads little
    expected, _ = model.predict(raw if normalizer is None else normalizer.normalize_obs(raw), deterministic=True)
    with torch.no_grad():
        actions = actor(torch.from_numpy(raw)).numpy()
    np.testing.assert_allclose(actions, expected, atol=1e-5)
    if env_id == "Pendulum-v1":
        assert np.abs(actions).max() > 1.5
        assert np.logical_and(np.abs(actions) > 0.2, np.abs(actions) < 1.9).any()


@pytest.mark.parametrize("model", [PPO, SAC])
def test_gsde_is_refused(model: type[BaseAlgorithm]) -> None:
    with pytest.raises(InputError, match=f"{model.__name__} with gSDE has a parameter per last hidden unit"):
        learner_of(model("MlpPolicy", "Pendulum-v1", use_sde=True, device="cpu"))


def test_training_per_episode_is_refused() -> None:
    learner = learner_of(TD3("MlpPolicy", "Pendulum-v1", train_freq=(1, "episode"), device="cpu"))
    assert learner.critic is not None
    for part in (learner.actor, learner.critic):
        with pytest.raises(InputError, match="the number of updates is not known"):
            part.updates(1000)


def test_dqn_has_no_critic_to_prune(tmp_path: Path) -> None:
    request = TrainingRequest(
        env_id="CartPole-v1",
        algorithm="dqn",
        preset=preset_for("CartPole-v1", "dqn"),
        steps=2000,
        plan=PLAN,
        prune_critics=True,
    )
    with pytest.raises(InputError, match="dqn has no critic; leave the option out"):
        train(request, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_dense_run_prunes_no_critics() -> None:
    with pytest.raises(InputError, match="exclude each other"):
        TrainingRequest(
            env_id="Pendulum-v1", algorithm="sac", preset=preset_for("Pendulum-v1", "sac"), prune_critics=True
        )


@pytest.mark.parametrize("algorithm", SETTINGS)
def test_the_widths_of_now_are_written_in_the_form_that_builds_them(algorithm: str) -> None:
    model = build(algorithm)
    written = {
        "ppo": {"pi": [24, 16], "vf": [20, 14]},
        "dqn": [24, 16],
        "sac": {"pi": [24, 16], "qf": [20, 14]},
        "td3": {"pi": [24, 16], "qf": [20, 14]},
    }[algorithm]
    assert model.policy_kwargs["net_arch"] == written == ALGORITHMS[algorithm].net_arch_now(model)
    assert [group.width for group in find_groups(learner_of(model).actor.network)] == [24, 16]


def test_an_algorithm_that_does_not_fit_the_actions_is_refused() -> None:
    continuous = Spaces(observation=3, actions=BoxActions(low=(-1.0,), high=(1.0,)))
    with pytest.raises(InputError, match=r"`algo` dqn does not fit continuous actions; choose one of ppo, sac, td3"):
        algorithm_for("dqn", continuous)
    with pytest.raises(InputError, match=r"`algo` td3 does not fit discrete actions; choose one of ppo, dqn"):
        algorithm_for("td3", Spaces(observation=4, actions=DiscreteActions(count=2)))
    with pytest.raises(InputError, match=r"`algo` sarsa is unknown; choose one of ppo"):
        algorithm_for("sarsa", continuous)


def test_a_learner_without_adapter_is_refused() -> None:
    with pytest.raises(InputError, match="A2C cannot be pruned"):
        learner_of(A2C("MlpPolicy", "CartPole-v1", device="cpu"))
