"""A SimBa-style actor (LayerNorm, residual blocks): trained with masks, shrunk losslessly, exported to ONNX."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from compiled_policy import MISSING, REASON, acted
from pruning_helpers import early_plan
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

import prunekit
from prunekit.export.c_float import float_to_c, run_float32_step
from prunekit.export.session import onnxruntime
from prunekit.graph.counted_norms import CountedLayerNorm
from prunekit.graph.graph import Graph, Port, as_dtype
from prunekit.graph.onnx import to_onnx
from prunekit.graph.reference import run_step
from prunekit.graph.tracing import trace
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Sparsity

pytestmark = pytest.mark.xdist_group("simba")


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))  # type: ignore[no-any-return]


class Trunk(nn.Module):
    def __init__(self, inputs: int, width: int, blocks: int = 2) -> None:
        super().__init__()
        self.enter, self.norm = nn.Linear(inputs, width), nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.blocks(self.enter(x)))  # type: ignore[no-any-return]


class SimBa(nn.Module):
    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.trunk, self.leave = Trunk(inputs, width), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.trunk(x))  # type: ignore[no-any-return]


def graph_of(network: nn.Module, inputs: int) -> Graph:
    return trace(network, (Port(name="obs", shape=(inputs,)),)).graph


def run_onnx(graph: Graph, observations: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(to_onnx(graph), options, providers=["CPUExecutionProvider"])
    return session.run(["outputs"], {"obs": observations})[0]


@dataclass(kw_only=True)
class Trained:
    network: nn.Module
    pruner: Pruner
    first: float
    last: float


@pytest.fixture(scope="module")
def trained() -> Trained:
    torch.manual_seed(0)
    network = SimBa(5, 16, 3).double()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    pruner = Pruner(network, optimizer, 400, early_plan(Sparsity(0.5), strength=0.1))
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(400):
        states = torch.randn(64, 5, generator=generator, dtype=torch.float64)
        loss = (network(states) - torch.sin(2.0 * states[:, :3])).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return Trained(network=network, pruner=pruner, first=losses[0], last=sum(losses[-20:]) / 20)


def test_it_learns_while_it_is_pruned(trained: Trained) -> None:
    assert trained.pruner.frozen
    assert trained.pruner.sparsity == pytest.approx(0.5)
    assert trained.last < trained.first / 5
    assert [group.name for group in trained.pruner.groups] == ["trunk.enter", "trunk.blocks.0.up", "trunk.blocks.1.up"]


def test_with_counted_norms_it_shrinks_while_it_trains_to_the_weights_of_masks() -> None:
    """Law 4 under norms; the network is the same before anything has gone."""
    torch.manual_seed(0)
    plain = SimBa(5, 16, 3).double()
    networks = [copy.deepcopy(plain) for _ in range(2)]
    for network in networks:
        assert set(prunekit.count_norms_(network)) == {"trunk.norm", "trunk.blocks.0.norm", "trunk.blocks.1.norm"}
        assert network.state_dict().keys() == plain.state_dict().keys()
    states = torch.randn(150, 32, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(networks[0](states[0]), plain(states[0]), rtol=0.0, atol=1e-12)
    widths = []
    for network, live in zip(networks, (False, True), strict=True):
        optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
        pruner = Pruner(network, optimizer, 150, early_plan(Sparsity(0.5), strength=0.1), live_shrink=live)
        for batch in states:
            optimizer.zero_grad()
            (network(batch) - torch.sin(2.0 * batch[:, :3])).square().mean().backward()
            optimizer.step()
            widths += [len(network.trunk.norm.weight)] if live else []
        if not live:
            assert not all(bool(keep.all()) for keep in pruner.masks.values())
            networks[0] = prunekit.shrink(network, pruner.masks)
    assert widths[0] == 16
    assert len(set(widths)) > 2  # on the way, not only at the end
    for (name, one), (other, two) in zip(networks[0].named_parameters(), networks[1].named_parameters(), strict=True):
        assert name == other
        torch.testing.assert_close(one, two, rtol=0.0, atol=1e-9)
    assert isinstance(networks[1].trunk.norm, CountedLayerNorm)
    assert networks[1].trunk.norm.count == 16


@torch.no_grad()
def test_it_is_shrunk_without_loss_and_exported(trained: Trained) -> None:
    small = prunekit.shrink(trained.network, trained.pruner.masks)
    observations = torch.randn(100, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = trained.network(observations)
    assert float((small(observations) - expected).abs().max()) <= 1e-12
    assert sum(p.numel() for p in small.parameters()) < 0.5 * sum(p.numel() for p in trained.network.parameters())
    assert isinstance(small.get_submodule("trunk.norm"), CountedLayerNorm)
    graph = graph_of(small, 5)
    answers = run_step(graph, {"obs": observations.numpy()}, {})[0]["outputs"]
    np.testing.assert_allclose(answers, expected.numpy(), rtol=0.0, atol=1e-9)
    found = run_onnx(graph, observations.numpy().astype(np.float32))
    np.testing.assert_allclose(found, expected.numpy(), rtol=0.0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.skipif(bool(MISSING), reason=REASON)
def test_its_c_has_the_bits_of_its_twin(trained: Trained, tmp_path: Path) -> None:
    graph = as_dtype(graph_of(prunekit.shrink(trained.network, trained.pruner.masks), 5), np.float32)
    observations = np.random.default_rng(4).standard_normal((200, 5)).astype(np.float32)
    found = acted(float_to_c(graph, "p", {}), observations, tmp_path)
    expected = run_float32_step(graph, {"obs": observations}, {})[0]["outputs"]
    assert found.tobytes() == expected.tobytes()
    with torch.no_grad():
        original = trained.network(torch.from_numpy(observations).double()).numpy()
    np.testing.assert_allclose(found, original, rtol=0.0, atol=1e-5 * float(np.abs(original).max()))


class SimBaExtractor(BaseFeaturesExtractor):
    """SimBa's trunk where Stable-Baselines3 takes networks of one's own: ``policy_kwargs``."""

    def __init__(self, observation_space: gym.spaces.Box, width: int) -> None:
        super().__init__(observation_space, width)
        self.trunk = Trunk(observation_space.shape[0], width)

    def forward(self, observations: Tensor) -> Tensor:
        return self.trunk(observations)  # type: ignore[no-any-return]


def test_stable_baselines3_trains_it_with_masks() -> None:
    kwargs = {
        "features_extractor_class": SimBaExtractor,
        "features_extractor_kwargs": {"width": 16},
        "share_features_extractor": False,
        "net_arch": [],
    }
    model = PPO("MlpPolicy", "CartPole-v1", policy_kwargs=kwargs, n_steps=64, batch_size=32, n_epochs=5, seed=1)
    policy = model.policy
    actor = nn.Sequential(policy.pi_features_extractor, policy.action_net)
    pruner = Pruner(
        actor,
        policy.optimizer,
        60,
        early_plan(Sparsity(0.5), checks=20, states=64),
        observe=policy.pi_features_extractor,
    )
    model.learn(6 * 64)
    assert pruner.frozen
    assert pruner.sparsity == pytest.approx(0.5)
    observations = torch.randn(50, 4, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = policy.get_distribution(observations).distribution.logits
        small = prunekit.shrink(actor, pruner.masks)
        found = torch.log_softmax(small(observations), dim=-1)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-5)
    exported = run_onnx(graph_of(small, 4), observations.numpy())
    np.testing.assert_allclose(exported, small(observations).detach().numpy(), rtol=0.0, atol=1e-5)


def test_twins_and_copies_follow(trained: Trained) -> None:
    twin = copy.deepcopy(trained.network)
    optimizer = torch.optim.Adam(trained.network.parameters(), lr=0.0)
    again = Pruner(trained.network, optimizer, 400, early_plan(Sparsity(0.5)), twins=[twin])
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.normal_()
    again.load_state_dict(trained.pruner.state_dict())
    states = torch.randn(20, 5, dtype=torch.float64)
    with torch.no_grad():
        small = prunekit.shrink(twin, again.masks)
        torch.testing.assert_close(small(states), twin(states), rtol=0.0, atol=1e-12)
    again.detach()


class Shared(nn.Module):
    """One norm under several names, in two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.again, self.inner = self.norm, nn.Sequential(nn.Linear(4, 4), self.norm)


def test_a_norm_that_stands_in_several_places_stays_one() -> None:
    network = Shared()
    assert set(prunekit.count_norms_(network)) == {"norm", "again", "inner.1"}
    assert isinstance(network.norm, CountedLayerNorm)
    assert network.norm is network.again is network.inner[1]
    assert prunekit.count_norms_(network) == ()
