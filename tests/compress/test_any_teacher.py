"""Every kind of existing policy, as its own library writes it, becomes a certified network."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import points
import pytest
import torch
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import Tensor, nn

from prunekit.compression.read import read_teacher
from prunekit.compression.result import Compressed
from prunekit.compression.run import compress
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.workers import Site
from prunekit.environments import make_environment
from prunekit.readers.policy_file import PolicyOptions

SETTINGS = CompressSettings(
    search=SearchSettings(
        starts=((),), first_steps=600, steps=300, lesson_steps=300, teacher_episodes=10, selection_episodes=15
    ),
    episodes=300,
)
# Of position and velocity, as points.steer has them.
GAINS = torch.tensor([-1.5, -1.8])
# What the normalizer says of observations, where there is one.
MEAN, VARIANCE = np.array([0.3, -0.2]), np.array([4.0, 0.25])
ALGORITHMS = {
    "ppo": (PPO, points.FROM_ZERO, "action_net"),
    "ppo-continuous": (PPO, points.CONTINUOUS, "action_net"),
    "a2c": (A2C, points.CONTINUOUS, "action_net"),
    "dqn": (DQN, points.FROM_ZERO, "q_net.q_net.0"),
    "sac": (SAC, points.CONTINUOUS, "actor.mu"),
    "td3": (TD3, points.CONTINUOUS, "actor.mu.0"),
}


def assert_certified(path: Path, env_id: str, options: PolicyOptions | None = None) -> None:
    site = Site(env_id=env_id, teacher_of=partial(read_teacher, path, options=options))
    result: Compressed = compress(site, SETTINGS)
    assert result.certified
    assert result.chosen.hidden == ()
    assert result.certificate.lower_bound is not None
    assert result.certificate.lower_bound >= SETTINGS.search.keep


def set_controller(layer: nn.Linear, normalized: bool) -> None:
    """Make ``layer`` steer, from observations as the normalizer gives them."""
    mean = torch.from_numpy(MEAN).float() if normalized else torch.zeros(2)
    scale = torch.from_numpy(np.sqrt(VARIANCE)).float() if normalized else torch.ones(2)
    sides = torch.tensor([1.0]) if layer.out_features == 1 else torch.tensor([-1.0, 0.0, 1.0])
    with torch.no_grad():
        layer.weight.copy_(sides[:, None] * GAINS * scale)
        layer.bias.copy_(sides * (GAINS @ mean))
        if layer.out_features == 3:
            layer.bias[1] += 0.3


@pytest.mark.parametrize("normalized", [False, True], ids=["raw", "normalized"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_zips_of_stock_sb3(name: str, normalized: bool, tmp_path: Path) -> None:
    kind, env_id, place = ALGORITHMS[name]
    env: Any = DummyVecEnv([partial(make_environment, env_id)])
    if normalized:
        env = VecNormalize(env)
        env.obs_rms.mean, env.obs_rms.var = MEAN, VARIANCE
        env.save(str(tmp_path / "vec_normalize.pkl"))
    model: Any = kind("MlpPolicy", env, device="cpu", policy_kwargs={"net_arch": []})
    layer = model.policy.get_submodule(place)
    assert isinstance(layer, nn.Linear)
    set_controller(layer, normalized)
    model.save(tmp_path / "agent.zip")
    assert_certified(
        tmp_path / "agent.zip", env_id, PolicyOptions() if normalized else PolicyOptions(without_normalizer=True)
    )


class CleanRL(nn.Module):
    """An agent as CleanRL writes it, that knows its normalizer."""

    def __init__(self) -> None:
        super().__init__()
        self.actor_mean = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
        self.register_buffer("mean", torch.from_numpy(MEAN).float())
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            hidden, last = self.actor_mean[0], self.actor_mean[2]
            assert isinstance(hidden, nn.Linear)
            assert isinstance(last, nn.Linear)
            hidden.weight[0] = GAINS / 10.0
            hidden.bias[0] = GAINS @ self.get_buffer("mean") / 10.0
            last.weight[0, 0] = 10.0

    def forward(self, seen: Tensor) -> Tensor:
        assert isinstance(self.mean, Tensor)
        result: Tensor = self.actor_mean(seen - self.mean)
        return result


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_of_an_agent_of_cleanrl(tmp_path: Path) -> None:
    scripted: Any = torch.jit.script(CleanRL())
    scripted.save(str(tmp_path / "agent.pt"))
    assert_certified(tmp_path / "agent.pt", points.CONTINUOUS)


@pytest.mark.filterwarnings("ignore")
def test_onnx_of_torch_s_own_exporter(tmp_path: Path) -> None:
    shapes = {"seen": {0: torch.export.Dim("batch")}}
    path = tmp_path / "agent.onnx"
    module = CleanRL().eval()
    torch.onnx.export(module, (torch.zeros(2, 2),), path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    assert_certified(path, points.CONTINUOUS)
