"""Attaching a pruner: to which optimizers and networks, what it sees, and that it leaves everything else alone."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import final

import pytest
import torch
from pruning_helpers import TwoHeads, batches, bits, fit, fit_step, fixed_importance, idle_step, mlp
from torch import Tensor, nn

from prunekit.pruning.importance import Evidence, UnitImportance, unit_norms
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Budget, Phases, Sparsity

HALF = PruningPlan(threshold=Sparsity(0.5), strength=0.1)


def is_held(network: nn.Sequential, pruner: Pruner) -> bool:
    """Whether every dead unit of the pruner is exactly zero in ``network``."""
    return all(bool((unit_norms(network, g)[~pruner.masks[g.name]] == 0.0).all()) for g in pruner.groups)


@pytest.mark.parametrize("critic_first", [True, False])
def test_other_parameters_and_rates_in_the_optimizer_are_left_alone(critic_first: bool) -> None:
    actor, critic = mlp(3, 10, 2), mlp(3, 10, 1, seed=1)
    lone_actor, lone_critic = copy.deepcopy(actor), copy.deepcopy(critic)
    groups = [{"params": critic.parameters(), "lr": 0.5}, {"params": actor.parameters(), "lr": 0.01}]
    optimizer = torch.optim.SGD(groups if critic_first else groups[::-1])
    pruner = Pruner(actor, optimizer, 100, HALF)
    lone = torch.optim.SGD(lone_actor.parameters(), lr=0.01)
    lone_pruner = Pruner(lone_actor, lone, 100, HALF)
    plain = torch.optim.SGD(lone_critic.parameters(), lr=0.5)
    states = batches(3)
    for _ in range(100):
        batch = states()
        (0.1 * critic(batch).square().mean()).backward()
        fit_step(actor, optimizer, batch)
        critic.zero_grad()
        fit_step(lone_actor, lone, batch)
        plain.zero_grad()
        (0.1 * lone_critic(batch).square().mean()).backward()
        plain.step()
    assert pruner.sparsity == lone_pruner.sparsity == 0.5
    assert bits(actor) == bits(lone_actor)


def test_a_critic_in_the_same_optimizer_trains_as_without_a_pruner() -> None:
    results = []
    for pruned in (True, False):
        actor, critic = mlp(3, 10, 2), mlp(3, 10, 1, seed=1)
        optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=1e-2)
        if pruned:
            Pruner(actor, optimizer, 100, HALF)
        states = batches(3)
        for _ in range(100):
            batch = states()
            optimizer.zero_grad()
            (actor(batch).square().mean() + (critic(batch) - 1.0).square().mean()).backward()
            optimizer.step()
        results.append((bits(actor), bits(critic)))
    assert results[0][1] == results[1][1]
    assert results[0][0] != results[1][0]


def test_a_detached_pruner_does_nothing_more() -> None:
    network = mlp(3, 10, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    pruner = Pruner(network, optimizer, 100, HALF)
    fit(network, optimizer, 60)
    masks = {name: keep.clone() for name, keep in pruner.masks.items()}
    assert 0.0 < pruner.sparsity < 0.5
    pruner.detach()
    assert not network._forward_pre_hooks
    fit(network, optimizer, 60)
    assert pruner.steps == 60
    assert all(bool((pruner.masks[name] == keep).all()) for name, keep in masks.items())
    assert not is_held(network, pruner)


def test_a_copied_network_needs_a_new_pruner() -> None:
    # the columns of a dead sigmoid unit have a gradient, so that nothing but the pruner keeps it dead
    network = mlp(3, 10, 2, activation=nn.Sigmoid)
    pruner = Pruner(network, torch.optim.Adam(network.parameters(), lr=1e-2), 100, HALF)
    fit(network, pruner.optimizer, 100)
    loose, attached = copy.deepcopy(network), copy.deepcopy(network)
    fit(loose, torch.optim.Adam(loose.parameters(), lr=1e-2), 5)
    assert not is_held(loose, pruner)
    optimizer = torch.optim.Adam(attached.parameters(), lr=1e-2)
    renewed = Pruner(attached, optimizer, 100, HALF)
    renewed.load_state_dict(pruner.state_dict())
    fit(attached, optimizer, 5)
    assert is_held(attached, pruner)
    assert (pruner.steps, renewed.steps) == (100, 105)


def test_a_copied_or_pickled_network_carries_no_pruner_with_it() -> None:
    network = mlp(3, 10, 2)
    plain_size = len(pickle.dumps(network))
    pruner = Pruner(network, torch.optim.Adam(network.parameters()), 100, HALF, output_of=lambda output: output)
    network(torch.zeros(1000, 3, dtype=torch.float64))
    assert len(pickle.dumps(network)) < plain_size + 1000
    twin = copy.deepcopy(network)
    twin(torch.zeros(500, 3, dtype=torch.float64))
    assert len(pickle.dumps(twin)) < plain_size + 1000
    assert sum(len(states) for states in pruner.state_dict()["states"]) == 1000


def seen_by(plan_states: int) -> tuple[PruningPlan, list[Tensor]]:
    seen: list[Tensor] = []

    def looking(evidence: Evidence) -> UnitImportance:
        seen.append(evidence.seen.states.clone())
        return {group.name: torch.ones(group.width) for group in evidence.groups}

    return PruningPlan(
        threshold=Budget(0.0), importance=looking, phases=Phases(start=0.5, end=1.0), checks=1, states=plan_states
    ), seen


@pytest.mark.parametrize("kept", [1, 20, 32, 50])
def test_the_importance_is_measured_on_the_most_recent_inputs(kept: int) -> None:
    network = mlp(3, 6, 2)
    plan, seen = seen_by(kept)
    pruner = Pruner(network, torch.optim.SGD(network.parameters(), lr=0.1), 10, plan)
    states, given = batches(3), []
    for _ in range(5):
        given.append(states())
        idle_step(network, pruner.optimizer, given[-1])
    assert bool((seen[0] == torch.cat(given)[-kept:]).all())
    assert len(seen[0]) == kept


def test_inputs_are_kept_as_they_were_and_measuring_is_no_input() -> None:
    network = mlp(3, 6, 2)
    plan, seen = seen_by(1000)
    pruner = Pruner(network, torch.optim.SGD(network.parameters(), lr=0.1), 10, plan)
    buffer = torch.zeros(4, 3, dtype=torch.float64)
    for step in range(10):
        buffer.fill_(float(step))
        idle_step(network, pruner.optimizer, buffer)
    assert [len(states) for states in seen] == [20, 40]
    assert seen[1][:, 0].tolist() == [float(step) for step in range(10) for _ in range(4)]


def test_single_named_and_stacked_inputs_are_seen() -> None:
    @final
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = mlp(3, 6, 2)

        def forward(self, observation: Tensor) -> Tensor:
            return self.layers(observation)

    network = Named()
    plan, seen = seen_by(1000)
    pruner = Pruner(network, torch.optim.SGD(network.parameters(), lr=0.1), 2, plan)
    given = batches(3)()
    network(given[0])
    network(observation=given[1:4])
    network(given[4:].reshape(4, 3, 3))
    pruner.optimizer.step()
    assert len(seen) == 1
    assert bool((seen[0] == given).all())


def test_a_pruner_can_observe_another_module() -> None:
    network, trunk = mlp(3, 6, 2), nn.Identity()
    plan, seen = seen_by(1000)
    pruner = Pruner(network, torch.optim.SGD(network.parameters(), lr=0.1), 10, plan, observe=trunk)
    inputs = batches(3)()
    trunk(inputs)
    for _ in range(5):
        idle_step(network, pruner.optimizer, batches(3, seed=2)())
    assert bool((seen[0] == inputs).all())


def test_measuring_is_deterministic_and_changes_no_statistics() -> None:
    network = nn.Sequential(nn.BatchNorm1d(3), *mlp(3, 6).double(), nn.Dropout(0.5), *mlp(6, 2)).double()
    network[2].eval()
    plan, seen = seen_by(1000)
    pruner = Pruner(network, torch.optim.SGD(network.parameters(), lr=0.1), 2, plan)
    network(batches(3)())
    generator, running = torch.get_rng_state(), network[0].running_mean.clone()
    network.zero_grad()
    pruner.optimizer.step()
    assert len(seen) == 1
    assert bool((torch.get_rng_state() == generator).all())
    assert bool((network[0].running_mean == running).all())
    assert [module.training for module in network] == [True, True, False, True]


@pytest.mark.parametrize("swapped", [False, True])
def test_the_decision_says_which_head_units_are_judged_by(swapped: bool) -> None:
    network = TwoHeads(hidden=6)
    with torch.no_grad():
        network.mean.weight[:, :3] = 0.0
        network.log_std.weight[:, 3:] = 0.0
    pruner = Pruner(
        network,
        torch.optim.SGD(network.parameters(), lr=1e-4),
        200,
        HALF,
        **({"output_of": lambda output: output[1]} if swapped else {}),
    )
    states = batches(3)
    for _ in range(200):
        network.zero_grad()
        network(states())
        pruner.optimizer.step()
    assert pruner.masks["body.0"].tolist() == [swapped] * 3 + [not swapped] * 3


def test_twins_die_with_the_network_and_stay_dead_through_soft_updates() -> None:
    network = mlp(3, 12, 2)
    twin = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    plan = PruningPlan(
        threshold=Sparsity(0.5), strength=0.1, importance=fixed_importance(g0=[float(unit + 1) for unit in range(12)])
    )
    pruner = Pruner(network, optimizer, 100, plan, twins=[twin])
    states = batches(3)
    for _ in range(100):
        fit_step(network, optimizer, states())
        assert is_held(twin, pruner)
        with torch.no_grad():
            for theirs, mine in zip(twin.parameters(), network.parameters(), strict=True):
                theirs.lerp_(mine, 0.05)
        assert is_held(twin, pruner)
    assert pruner.masks["0"].tolist() == [unit >= 6 for unit in range(12)]
    assert bool((unit_norms(twin, pruner.groups[0])[6:] > 0.0).all())


class Keeping(nn.Module):
    """A network as training loops have them: it keeps an activation, and a hook of it holds a lock."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(3, 20, 8)
        self.head = nn.Linear(8, 2, dtype=torch.float64)
        self.latent: Tensor | None = None
        self.lock = threading.Lock()
        self.register_forward_hook(self.locked)

    def locked(self, *_: object) -> None:
        with self.lock:
            pass

    def forward(self, states: Tensor) -> Tensor:
        latent = torch.tanh(self.body(states))
        self.latent = latent
        result: Tensor = self.head(latent)
        return result


@pytest.mark.parametrize("live_shrink", [False, True])
def test_whatever_a_training_loop_keeps_in_its_modules(live_shrink: bool) -> None:
    network = Keeping()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    pruner = Pruner(
        network, optimizer, 100, PruningPlan(threshold=Sparsity(0.5), strength=0.1), live_shrink=live_shrink
    )
    states = batches(3)
    for _ in range(100):
        optimizer.zero_grad()
        network(states()).square().mean().backward()
        optimizer.step()
    assert pruner.sparsity == 0.5
    assert network.latent is not None
    assert len(network._forward_hooks) == 1
