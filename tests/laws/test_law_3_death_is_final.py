"""Law 3: a masked unit stays exactly zero through optimizer steps, target updates, saves and loads."""

from __future__ import annotations

import copy
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from law_strategies import Built, fill_, networks, seeded, seeds, tensors_of
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from prunekit.policy.actor import Actor
from prunekit.policy.artifact import load, make_artifact, save
from prunekit.policy.compaction import compact
from prunekit.policy.heads import ArgmaxHead
from prunekit.policy.program import lower
from prunekit.pruning.penalties import GRADIENT, PROXIMAL, Penalty
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Budget, Phases, Sparsity, Threshold

STEPS = 30
Parameters = Iterable[nn.Parameter]
Coupling = dict[str, tuple[str, ...]]
OPTIMIZERS: dict[str, Callable[[Parameters], Optimizer]] = {
    "sgd": lambda parameters: SGD(parameters, lr=0.02, momentum=0.9, nesterov=True),
    "adam": lambda parameters: Adam(parameters, lr=0.02),
    "amsgrad": lambda parameters: Adam(parameters, lr=0.02, amsgrad=True, weight_decay=0.1),
    "adamw": lambda parameters: AdamW(parameters, lr=0.02, weight_decay=0.1),
    "rmsprop": lambda parameters: RMSprop(parameters, lr=0.01, momentum=0.9, centered=True),
}


@dataclass(frozen=True, kw_only=True)
class Training:
    """A network in training, with one twin that follows softly and one that is copied now and then."""

    network: nn.Module
    soft: nn.Module
    hard: nn.Module
    optimizer: Optimizer
    pruner: Pruner

    def step_(self, inputs: Tensor) -> None:
        self.optimizer.zero_grad()
        losses = [(output - 1.0).square().mean() for output in tensors_of(self.network(inputs))]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        with torch.no_grad():
            for twin, online in zip(self.soft.parameters(), self.network.parameters(), strict=True):
                twin.lerp_(online, 0.1)
        if self.pruner.steps % 7 == 0:
            self.hard.load_state_dict(self.network.state_dict())

    @property
    def every_network(self) -> tuple[nn.Module, ...]:
        return self.network, self.soft, self.hard


def begin(networks: tuple[nn.Module, nn.Module, nn.Module], optimizer: Optimizer, plan: PruningPlan) -> Training:
    network, soft, hard = networks
    return Training(
        network=network,
        soft=soft,
        hard=hard,
        optimizer=optimizer,
        pruner=Pruner(network, optimizer, STEPS, plan, twins=(soft, hard)),
    )


def plan_of(penalty: Penalty = PROXIMAL, threshold: Threshold | None = None) -> PruningPlan:
    return PruningPlan(
        threshold=threshold or Sparsity(0.4),
        penalty=penalty,
        strength=0.1,
        phases=Phases(start=0.1, end=0.6),
        checks=10,
        patience=2,
        share_per_check=0.5,
    )


def fresh(built: Built, optimizer: str, plan: PruningPlan) -> Training:
    network = copy.deepcopy(built.network)
    twins = copy.deepcopy(built.network), copy.deepcopy(built.network)
    fill_(twins[0], seed=11)
    return begin((network, *twins), OPTIMIZERS[optimizer](network.parameters()), plan)


def batches(inputs: int, seed: int) -> Iterator[Tensor]:
    generator = seeded(seed)
    while True:
        yield torch.randn(8, inputs, generator=generator)


def assert_dead(network: nn.Module, coupling: Coupling, masks: dict[str, Tensor]) -> None:
    for name, consumers in coupling.items():
        for kind, parameter in network.get_submodule(name).named_parameters():
            assert not parameter[~masks[name]].any(), f"{name}.{kind} of a dead unit is not zero"
        for path in consumers:
            columns = network.get_submodule(path).get_parameter("weight")[:, ~masks[name]]
            assert not columns.any(), f"{path} still reads a dead unit of {name}"


def train_(training: Training, coupling: Coupling, inputs: Iterator[Tensor], steps: int) -> None:
    """Train, and after every single step look at every dead unit in all networks."""
    for _ in range(steps):
        before = dict(training.pruner.masks)
        training.step_(next(inputs))
        for network in training.every_network:
            assert_dead(network, coupling, training.pruner.masks)
        for name, keep in training.pruner.masks.items():
            assert not (keep & ~before[name]).any(), "a dead unit came back"


def with_prunable_units() -> st.SearchStrategy[Built]:
    return networks().filter(lambda built: max(parameter.shape[0] for parameter in built.network.parameters()) >= 5)


@pytest.mark.parametrize("penalty", [PROXIMAL, GRADIENT], ids=lambda penalty: penalty.name)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@settings(deadline=None, max_examples=4)
@given(with_prunable_units(), seeds())
def test_dead_units_stay_zero_through_training(optimizer: str, penalty: Penalty, built: Built, seed: int) -> None:
    training = fresh(built, optimizer, plan_of(penalty))
    train_(training, built.coupling, batches(built.inputs, seed), STEPS)
    assert training.pruner.sparsity > 0.0


@settings(deadline=None, max_examples=8)
@given(with_prunable_units(), seeds())
def test_dead_units_stay_zero_in_budget_mode(built: Built, seed: int) -> None:
    training = fresh(built, "adam", plan_of(threshold=Budget(0.5)))
    train_(training, built.coupling, batches(built.inputs, seed), STEPS)
    assert training.pruner.sparsity > 0.0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@settings(deadline=None, max_examples=4)
@given(with_prunable_units(), seeds(), st.integers(12, STEPS - 5))
def test_dead_units_stay_zero_through_a_resume(optimizer: str, built: Built, seed: int, stop: int) -> None:
    inputs = batches(built.inputs, seed)
    first = fresh(built, optimizer, plan_of())
    train_(first, built.coupling, inputs, stop)
    content = io.BytesIO()
    torch.save(first.pruner.state_dict(), content)
    content.seek(0)

    network, soft, hard = (copy.deepcopy(network) for network in first.every_network)
    resumed_optimizer = OPTIMIZERS[optimizer](network.parameters())
    resumed_optimizer.load_state_dict(first.optimizer.state_dict())
    second = begin((network, soft, hard), resumed_optimizer, plan_of())
    second.pruner.load_state_dict(torch.load(content, weights_only=True))
    for name, keep in first.pruner.masks.items():
        assert torch.equal(second.pruner.masks[name], keep)
    train_(second, built.coupling, inputs, STEPS - stop)
    assert second.pruner.sparsity > 0.0


@settings(deadline=None, max_examples=8)
@given(with_prunable_units(), seeds())
def test_loading_kills_the_dead_in_networks_that_had_them_alive(built: Built, seed: int) -> None:
    first = fresh(built, "adam", plan_of())
    train_(first, built.coupling, batches(built.inputs, seed), STEPS)
    second = fresh(built, "adam", plan_of())
    second.pruner.load_state_dict(first.pruner.state_dict())
    assert second.pruner.sparsity > 0.0
    for network in second.every_network:
        assert_dead(network, built.coupling, first.pruner.masks)


@settings(deadline=None, max_examples=8)
@given(with_prunable_units(), seeds())
def test_dead_units_stay_dead_in_the_file(built: Built, seed: int) -> None:
    training = fresh(built, "adam", plan_of())
    train_(training, built.coupling, batches(built.inputs, seed), STEPS)
    masks = training.pruner.masks
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        save(make_artifact(Actor(training.network, ArgmaxHead()), masks, {}), path)
        read = load(path)
    names = list(read.masks)
    assert [keep.tolist() for keep in read.masks.values()] == [masks[name].tolist() for name in built.coupling]
    layers = [name for name, _ in read.actor.network.named_parameters() if name.endswith(".weight")]
    paths = [name.removesuffix(".weight") for name in layers]
    coupling: Coupling = {name: (path,) for name, path in zip(names, paths[1:], strict=True)}
    assert_dead(read.actor.network, coupling, read.masks)
    kept = tuple(int(keep.sum()) for keep in read.masks.values())
    assert lower(compact(read).artifact.actor).hidden == kept
