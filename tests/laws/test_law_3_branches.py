"""Laws 3 and 4 on torch networks with residual sums, norms, gates and branches: death is final; live is as masked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from law_branches import Built, branched
from law_strategies import fill_, seeded, seeds, tensors_of
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from prunekit.errors import CouplingError
from prunekit.pruning.importance import IMPORTANCES
from prunekit.pruning.penalties import GRADIENT, PROXIMAL, Penalty
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Phases, Sparsity
from prunekit.pruning.surgery import shrink

STEPS = 30
OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], Optimizer]] = {
    "sgd": lambda parameters: SGD(parameters, lr=0.01, momentum=0.9),
    "adam": lambda parameters: Adam(parameters, lr=0.02),
    "adamw": lambda parameters: AdamW(parameters, lr=0.02, weight_decay=0.1),
}


def plan_of(penalty: Penalty, importance: str = "irreplaceability") -> PruningPlan:
    return PruningPlan(
        threshold=Sparsity(0.4),
        importance=IMPORTANCES[importance],
        penalty=penalty,
        strength=0.1,
        phases=Phases(start=0.1, end=0.6),
        checks=10,
        patience=2,
        share_per_check=0.5,
    )


def joined(output: object) -> Tensor:
    return torch.cat(tensors_of(output), dim=1)


def steps_of(
    built: Built, network: nn.Module, optimizer: Optimizer, twin: nn.Module, seed: int, *, plain: bool = False
) -> Iterator[Tensor]:
    """Train step by step; unless ``plain``, gradients are clipped and batch norms take statistics from the batch."""
    generator = seeded(seed)
    for _ in range(STEPS):
        network.train(not plain)
        states = torch.randn(8, built.inputs, generator=generator, dtype=torch.float64)
        optimizer.zero_grad()
        (joined(network(states)) - 1.0).square().mean().backward()
        if not plain:
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for target, online in zip(twin.parameters(), network.parameters(), strict=True):
                target.lerp_(online, 0.1)
        yield states


@torch.no_grad()
def assert_dead(built: Built, network: nn.Module, masks: dict[str, Tensor], states: Tensor) -> None:
    """Every parameter of a dead unit is zero, and so is what it carries: gates on dead units change nothing."""
    for name, places in built.where.items():
        dead = (~masks[name]).nonzero().squeeze(1)
        for path, axis, start in places:
            left = network.get_parameter(path).index_select(axis, start + dead)
            assert not left.any(), f"{path} of a dead unit of {name} is not zero"
    mode = network.training
    network.eval()
    gates = {name: keep.double() for name, keep in masks.items()}
    for one, other in zip(built.gated(network, states, gates), network(states), strict=True):
        assert float((one - other).abs().max()) <= 1e-12 * max(1.0, float(other.abs().max()))
    network.train(mode)


@pytest.mark.parametrize("penalty", [PROXIMAL, GRADIENT], ids=lambda penalty: penalty.name)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@settings(deadline=None, max_examples=5)
@given(branched(), seeds())
def test_dead_units_stay_zero_in_network_and_twin(optimizer: str, penalty: Penalty, built: Built, seed: int) -> None:
    network, twin = copy.deepcopy(built.network), copy.deepcopy(built.network)
    fill_(twin, seed=11)
    own = OPTIMIZERS[optimizer](network.parameters())
    pruner = Pruner(network, own, STEPS, plan_of(penalty), twins=[twin], output_of=joined)
    before = pruner.masks
    for states in steps_of(built, network, own, twin, seed):
        for found in (network, twin):
            assert_dead(built, found, pruner.masks, states)
        assert not any((keep & ~before[name]).any() for name, keep in pruner.masks.items()), "a dead unit came back"
        before = pruner.masks
    if sum(built.widths.values()) >= 6:
        assert pruner.sparsity > 0.0
    network.eval()
    states = torch.randn(8, built.inputs, generator=seeded(5), dtype=torch.float64)
    with torch.no_grad():
        small = shrink(network, pruner.masks)
        torch.testing.assert_close(joined(small(states)), joined(network(states)), rtol=0.0, atol=1e-10)


@settings(deadline=None, max_examples=10)
@given(branched(), seeds(), st.integers(12, STEPS - 5))
def test_dead_units_stay_dead_through_a_resume(built: Built, seed: int, stop: int) -> None:
    network, twin = copy.deepcopy(built.network), copy.deepcopy(built.network)
    own = Adam(network.parameters(), lr=0.02)
    pruner = Pruner(network, own, STEPS, plan_of(PROXIMAL), twins=[twin], output_of=joined)
    steps = steps_of(built, network, own, twin, seed)
    for _ in range(stop):
        next(steps)
    other, its_twin = copy.deepcopy(built.network), copy.deepcopy(built.network)
    its = Adam(other.parameters(), lr=0.02)
    resumed = Pruner(other, its, STEPS, plan_of(PROXIMAL), twins=[its_twin], output_of=joined)
    resumed.load_state_dict(pruner.state_dict())
    other.load_state_dict(network.state_dict())
    its_twin.load_state_dict(twin.state_dict())
    its.load_state_dict(own.state_dict())
    for states in steps_of(built, other, its, its_twin, seed + 1):
        assert_dead(built, other, resumed.masks, states)
        assert not any((keep & ~pruner.masks[name]).any() for name, keep in resumed.masks.items())


@pytest.mark.parametrize("importance", sorted(set(IMPORTANCES) - {"weight_propagation"}))
@settings(deadline=None, max_examples=4)
@given(branched(), seeds())
def test_every_importance_but_the_one_for_chains_prunes(importance: str, built: Built, seed: int) -> None:
    network, twin = copy.deepcopy(built.network), copy.deepcopy(built.network)
    own = Adam(network.parameters(), lr=0.02)
    pruner = Pruner(network, own, STEPS, plan_of(PROXIMAL, importance), twins=[twin], output_of=joined)
    for states in steps_of(built, network, own, twin, seed):
        assert_dead(built, network, pruner.masks, states)
    assert all(bool(score.isfinite().all()) for score in pruner.importance.values())


@settings(deadline=None, max_examples=12)
@given(branched(counted=False), seeds())
def test_law_4_live_shrinking_gives_the_weights_of_training_with_masks(built: Built, seed: int) -> None:
    ends = []
    for live_shrink in (False, True):
        network, twin = copy.deepcopy(built.network), copy.deepcopy(built.network)
        own = Adam(network.parameters(), lr=0.02)
        pruner = Pruner(network, own, STEPS, plan_of(PROXIMAL), twins=[twin], output_of=joined, live_shrink=live_shrink)
        # Clipping sees the gradients of dead columns, and Adam blows up the rounding of what is 0 behind a batch norm.
        for _ in steps_of(built, network, own, twin, seed, plain=True):
            pass
        pruner.shrink_()
        ends.append({**network.state_dict(), **{f"twin.{key}": value for key, value in twin.state_dict().items()}})
    masked, live = ends
    assert masked.keys() == live.keys()
    for key, value in masked.items():
        torch.testing.assert_close(live[key], value, rtol=1e-6, atol=1e-9)


@settings(deadline=None, max_examples=15)
@given(branched(counted=True))
def test_live_shrinking_of_a_norm_over_all_units_is_refused_by_name(built: Built) -> None:
    own = Adam(built.network.parameters())
    with pytest.raises(CouplingError, match=r"module 'blocks\.\d\.norm' \((Layer|RMS)Norm\).*live_shrink=False"):
        Pruner(built.network, own, STEPS, live_shrink=True)
    assert not own._optimizer_step_pre_hooks
