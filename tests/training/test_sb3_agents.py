"""The agent that a training leaves is one of stock Stable-Baselines3: small, the same policy, and able to learn on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.save_util import recursive_getattr

from prunekit.adapters.sb3 import ALGORITHMS, actor_of, attach_pruner, learner_of
from prunekit.environments import make_environment, spaces_of
from prunekit.graph.reference import run_step
from prunekit.policy.actor import Actor
from prunekit.policy.artifact import load
from prunekit.policy.sizes import sizes_of
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Sparsity
from prunekit.readers.sb3.graph import read_zip
from prunekit.training.presets import preset_for
from prunekit.training.request import TrainingRequest
from prunekit.training.run import train

pytestmark = pytest.mark.xdist_group("stock_sb3")

SCRIPT = Path(__file__).with_name("stock_sb3.py")
PLAN = PruningPlan(threshold=Sparsity(0.75), strength=0.1, checks=16, patience=2, share_per_check=0.3, states=64)
ACTOR, CRITIC = (24, 20), (22, 18)
REPLAY: dict[str, Any] = {"learning_starts": 100, "batch_size": 32, "buffer_size": 400, "gradient_steps": 1}
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 16, "batch_size": 16, "n_epochs": 2},
    "dqn": {**REPLAY, "train_freq": 2, "target_update_interval": 70},
    "sac": {**REPLAY, "train_freq": 4},
    "td3": {**REPLAY, "train_freq": 4},
}
STEPS = {"ppo": 1280, "dqn": 1000, "sac": 800, "td3": 800}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run: Pendulum's actions have bounds of 2, Hopper's are three components."""

    algorithm: str
    env_id: str
    live_shrink: bool = True
    prune_critics: bool = False
    normalize: bool = False

    def __str__(self) -> str:
        kind = "live" if self.live_shrink else "masked"
        return f"{self.algorithm} {kind}{' with critics' if self.prune_critics else ''}"


CASES = [
    Case(algorithm="ppo", env_id="Hopper-v5", normalize=True),
    Case(algorithm="dqn", env_id="CartPole-v1"),
    Case(algorithm="sac", env_id="Pendulum-v1"),
    Case(algorithm="td3", env_id="Hopper-v5"),
    Case(algorithm="ppo", env_id="CartPole-v1", live_shrink=False),
    Case(algorithm="td3", env_id="Pendulum-v1", live_shrink=False, normalize=True),
    Case(algorithm="ppo", env_id="Pendulum-v1", prune_critics=True, normalize=True),
    Case(algorithm="sac", env_id="Hopper-v5", prune_critics=True, normalize=True),
]


def request_of(case: Case) -> TrainingRequest:
    preset = preset_for(case.env_id, case.algorithm)
    preset = replace(
        preset,
        n_envs=2 if case.algorithm == "ppo" else 1,
        normalize=case.normalize,
        hidden=CRITIC,
        model={**preset.model, **SETTINGS[case.algorithm]},
    )
    return TrainingRequest(
        env_id=case.env_id,
        algorithm=case.algorithm,
        preset=preset,
        seed=3,
        steps=STEPS[case.algorithm],
        plan=PLAN,
        hidden=ACTOR,
        live_shrink=case.live_shrink,
        prune_critics=case.prune_critics,
    )


def recorded(env_id: str) -> np.ndarray[Any, Any]:
    """Return observations [80, obs] float32 of an environment, those of the second half far out of the ordinary."""
    environment = make_environment(env_id)
    environment.action_space.seed(0)
    observations = [environment.reset(seed=0)[0]]
    while len(observations) < 80:
        observation, _, terminated, truncated, _ = environment.step(environment.action_space.sample())
        observations.append(environment.reset()[0] if terminated or truncated else observation)
    environment.close()
    result = np.stack(observations).astype(np.float32)
    result[40:] *= 30.0
    return result


def acted(actor: Actor, observations: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        result: np.ndarray[Any, Any] = actor(torch.from_numpy(observations)).numpy()
    return result


@pytest.fixture(scope="module")
def stock() -> Iterator[subprocess.Popen[str]]:
    """A process without prunekit, which does tasks."""
    with subprocess.Popen(
        [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as it:
        yield it


def assert_stock_sb3_goes_on(stock: subprocess.Popen[str], folder: Path, arrays: dict[str, Any], **task: Any) -> None:
    """Have ``stock_sb3.py`` load, check and train the agent."""
    assert stock.stdin is not None
    assert stock.stdout is not None
    folder.mkdir(exist_ok=True)
    np.savez(folder / "arrays.npz", **arrays)
    words = {"vec_normalize": None, "policy": None, "steps": 300, "arrays": str(folder / "arrays.npz"), **task}
    (folder / "task.json").write_text(json.dumps(words, default=str))
    print(folder / "task.json", file=stock.stdin, flush=True)
    assert stock.stdout.readline() == "0\n", (folder / "said.txt").read_text()


def net_arch_of(algorithm: str, actor: list[int], critic: list[int]) -> Any:
    if algorithm == "dqn":
        return actor
    return {"pi": actor, "vf" if algorithm == "ppo" else "qf": critic}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_agent_of_a_run_is_one_of_stock_stable_baselines3(
    case: Case, tmp_path: Path, stock: subprocess.Popen[str]
) -> None:
    result = train(request_of(case), tmp_path / "run")
    assert result.complete
    living = {name: units for name, (units, _) in result.status.living.items()}
    actor = [units for name, units in living.items() if not name.startswith("critic.")]
    assert sum(actor) == 11  # a quarter of 24 + 20
    critic = list(CRITIC)
    if case.prune_critics:
        widths: dict[str, list[int]] = {}
        for name, units in living.items():
            if name.startswith("critic."):
                widths.setdefault(name.rpartition(".")[2], []).append(units)
        assert {len(family) for family in widths.values()} == {2 if case.algorithm == "sac" else 1}
        critic = [max(family) for family in widths.values()]
        assert sum(critic) < sum(CRITIC) / 2

    artifact = load(tmp_path / "run" / "model.pt")
    if case.live_shrink:
        assert [keep.tolist() for keep in artifact.masks.values()] == [[True] * units for units in actor]
        assert artifact.provenance["original_hidden"] == list(ACTOR)
    else:
        assert [int(keep.sum()) for keep in artifact.masks.values()] == actor
        assert [keep.numel() for keep in artifact.masks.values()] == list(ACTOR)
        assert "original_hidden" not in artifact.provenance
    agent, statistics = tmp_path / "run" / "agent.zip", tmp_path / "run" / "vec_normalize.pkl"
    assert statistics.is_file() == case.normalize
    observations = recorded(case.env_id)
    actions = acted(artifact.actor, observations)
    scores = artifact.actor.outputs(torch.from_numpy(observations)).detach()
    assert float(scores.std(dim=0).min()) > 1e-3  # a policy that looks at its observations

    read = read_zip(agent, statistics if case.normalize else None).graph
    found, _ = run_step(read, {"obs": observations}, {}, np.float32)
    np.testing.assert_allclose(found["action"], actions, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["outputs"], scores.numpy(), rtol=1e-5, atol=1e-5)
    assert list(sizes_of(read).hidden) == actor
    assert_stock_sb3_goes_on(
        stock,
        tmp_path / "stock",
        {"observations": observations, "actions": actions, "scores": scores.numpy()},
        algorithm=case.algorithm,
        env_id=case.env_id,
        agent=agent,
        vec_normalize=statistics if case.normalize else None,
        net_arch=net_arch_of(case.algorithm, actor, critic),
    )


class SaveMidway(BaseCallback):
    """Saves the model and, apart, its policy as a user would, once units are gone but not yet all."""

    def __init__(self, folder: Path, pruners: list[Pruner], observations: np.ndarray[Any, Any]) -> None:
        super().__init__()
        self.folder, self.pruners, self.observations = folder, pruners, observations
        self.arrays: dict[str, Any] = {}
        self.widths: list[list[int]] = []

    def _on_step(self) -> bool:
        self.widths_now = [[group.width for group in pruner.groups] for pruner in self.pruners]
        if not self.arrays and all(0.3 < pruner.sparsity < 0.6 for pruner in self.pruners):
            assert all(pruner.phase == "pruning" for pruner in self.pruners)
            self.widths = self.widths_now
            self.model.save(self.folder / "midway.zip")
            self.model.policy.save(self.folder / "policy.zip")
            actions, _ = self.model.predict(self.observations, deterministic=True)
            self.arrays = {"observations": self.observations, "actions": actions, **moments_of(self.model)}
        return True


def moments_of(model: BaseAlgorithm) -> dict[str, Any]:
    """Return both of Adam's moments of every parameter of the policy, by optimizer and parameter."""
    names = {parameter: name for name, parameter in model.policy.named_parameters()}
    found = {}
    for title in model._get_torch_save_params()[0]:
        if title.endswith("optimizer"):
            for parameter, state in recursive_getattr(model, title).state.items():
                if parameter in names:  # the temperature of SAC is no part of the policy
                    for moment in ("exp_avg", "exp_avg_sq"):
                        found[f"{title} {names[parameter]} {moment}"] = state[moment].numpy().copy()
    return found


@pytest.mark.parametrize(
    ("name", "env_id"), [("dqn", "CartPole-v1"), *((n, "Pendulum-v1") for n in ("ppo", "sac", "td3"))]
)
def test_a_model_saved_by_its_user_in_the_middle_of_live_shrinking_loads(
    name: str, env_id: str, tmp_path: Path, stock: subprocess.Popen[str]
) -> None:
    algorithm = ALGORITHMS[name]
    model = algorithm.model(
        "MlpPolicy",
        gym.make(env_id),
        policy_kwargs={"net_arch": algorithm.net_arch(list(ACTOR), list(CRITIC))},
        seed=3,
        device="cpu",
        **SETTINGS[name],
    )
    learner = learner_of(model)
    pruners = [
        attach_pruner(model, part, part.updates(STEPS[name]), PLAN)
        for part in (learner.actor, learner.critic)
        if part is not None
    ]
    observations = recorded(env_id)
    midway = SaveMidway(tmp_path, pruners, observations)
    model.learn(STEPS[name], callback=midway)
    assert midway.arrays
    assert all(pruner.frozen for pruner in pruners)
    actor, *critics = midway.widths
    assert sum(actor) < sum(ACTOR)
    assert sum(midway.widths_now[0]) < sum(actor)
    critic = critics[0][:2] if critics else []
    assert not critic or sum(critic) < sum(CRITIC)
    environment = make_environment(env_id)
    spaces = spaces_of(environment)
    environment.close()
    found, _ = run_step(read_zip(tmp_path / "midway.zip").graph, {"obs": observations}, {}, np.float32)
    np.testing.assert_allclose(found["action"], midway.arrays["actions"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        acted(actor_of(model, spaces), observations), model.predict(observations, deterministic=True)[0], atol=1e-5
    )
    assert_stock_sb3_goes_on(
        stock,
        tmp_path,
        midway.arrays,
        algorithm=name,
        env_id=env_id,
        agent=tmp_path / "midway.zip",
        policy=tmp_path / "policy.zip",
        net_arch=net_arch_of(name, actor, critic),
    )
