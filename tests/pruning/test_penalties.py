"""Penalties: what they do to a unit's parameters, their gradient, and what lambda means."""

from __future__ import annotations

import copy

import pytest
import torch
from pruning_helpers import TwoHeads, batches, fit_step, mlp
from torch import Tensor, nn

from prunekit.pruning.groups import find_groups
from prunekit.pruning.importance import unit_norms
from prunekit.pruning.penalties import (
    GRADIENT,
    PROXIMAL,
    PenaltyStep,
    PenaltyWeights,
    add_gradients_,
    median_norm,
    protection,
    scale_free_lambda,
    shrink_norms_,
    unit_size,
)
from prunekit.pruning.slices import Group, unit_slices


def units_of(network: nn.Module) -> Tensor:
    """Return everything that dies with each unit of the network's only group, [width, |g|]."""
    (group,) = find_groups(network)
    return parts_of(network, group).detach().clone()


def parts_of(network: nn.Module, group: Group) -> Tensor:
    parts = [tensor.movedim(entry.axis, 0).reshape(group.width, -1) for tensor, entry in unit_slices(network, group)]
    return torch.cat(parts, dim=1)


def pull_of(network: nn.Module, **weight: Tensor) -> PenaltyWeights:
    return PenaltyWeights(
        network=network,
        groups=find_groups(network),
        weight={name.removeprefix("g"): value for name, value in weight.items()},
    )


def soft_threshold(units: Tensor, by: Tensor) -> Tensor:
    norms = units.norm(dim=1)
    return units * ((norms - by).clamp_min(0.0) / norms)[:, None]


def test_proximal_takes_the_same_length_off_whatever_the_size() -> None:
    network = mlp(3, 6, 2)
    before, bias = units_of(network), network[2].bias.clone()
    pull = before.norm(dim=1) * torch.tensor([0.0, 0.5, 2.0, 9.9, 10.1, 50.0])
    shrink_norms_(pull_of(network, g0=pull), 0.1)
    after = units_of(network)
    torch.testing.assert_close(after, soft_threshold(before, 0.1 * pull))
    assert bool((after[:4] != 0.0).all())
    assert bool((after[4:] == 0.0).all())
    assert bool((network[2].bias == bias).all())


def test_proximal_shrinks_the_columns_in_both_heads() -> None:
    network = TwoHeads()
    before = units_of(network)
    shrink_norms_(
        PenaltyWeights(network=network, groups=find_groups(network), weight={"body.0": torch.full((6,), 0.3)}), 0.5
    )
    torch.testing.assert_close(units_of(network), soft_threshold(before, torch.full((6,), 0.15)))


def test_proximal_steps_end_at_the_group_lasso_s_solution() -> None:
    network = mlp(3, 6, 2)
    goal = copy.deepcopy(network)
    anchors = units_of(goal)
    pull = anchors.norm(dim=1) * torch.tensor([0.2, 0.9, 0.99, 1.01, 2.0, 0.0])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.2)
    for _ in range(150):
        optimizer.zero_grad()
        pairs = zip(network.parameters(), goal.parameters(), strict=True)
        (sum((mine - its).square().sum() for mine, its in pairs) / 2.0).backward()
        optimizer.step()
        shrink_norms_(pull_of(network, g0=pull), 0.2)
    torch.testing.assert_close(units_of(network), soft_threshold(anchors, pull))
    assert bool((units_of(network)[3:5] == 0.0).all())


@pytest.mark.parametrize("penalty", [shrink_norms_, add_gradients_])
def test_dead_units_stay_zero_and_finite(penalty: PenaltyStep) -> None:
    network = mlp(3, 4, 2)
    with torch.no_grad():
        network[0].weight[1], network[0].bias[1], network[2].weight[:, 1] = 0.0, 0.0, 0.0
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    penalty(pull_of(network, g0=torch.ones(4)), 0.01)
    assert bool((units_of(network)[1] == 0.0).all())
    assert bool((network[0].weight.grad[1] == 0.0).all())
    for parameter in network.parameters():
        assert bool(parameter.isfinite().all())
        assert bool(parameter.grad.isfinite().all())


def test_the_gradient_penalty_adds_the_gradient_of_the_regularizer() -> None:
    network = mlp(3, 5, 4, 2)
    pull = pull_of(network, g0=torch.rand(5).double(), g2=torch.rand(4).double())
    reference = copy.deepcopy(network)
    first, second = find_groups(reference)
    regularizer = torch.zeros((), dtype=torch.float64)
    for group in (first, second):
        regularizer = regularizer + (pull.weight[group.name] * parts_of(reference, group).norm(dim=1)).sum()
    states = batches(3)()
    (reference(states).square().sum() + regularizer).backward()
    network(states).square().sum().backward()
    add_gradients_(pull, 123.0)
    for mine, its in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad)


def test_the_gradient_penalty_leaves_parameters_without_gradient_alone() -> None:
    network = mlp(3, 5, 2)
    before = units_of(network)
    network[2].weight.grad = torch.zeros_like(network[2].weight)
    add_gradients_(pull_of(network, g0=torch.ones(5)), 0.1)
    assert network[0].weight.grad is None
    assert bool((network[2].weight.grad != 0.0).all())
    assert bool((units_of(network) == before).all())


def test_proximal_acts_after_the_step_and_gradient_before_it() -> None:
    assert (PROXIMAL.before, PROXIMAL.after) == (None, shrink_norms_)
    assert (GRADIENT.before, GRADIENT.after) == (add_gradients_, None)


def test_protection_spares_important_units_within_bounds() -> None:
    importance = {"a": torch.tensor([0.0, 0.4, 1.9, 1000.0]), "b": torch.tensor([3.9, 7.0])}
    masks = {"a": torch.tensor([True, True, True, True]), "b": torch.tensor([True, False])}
    alpha = protection(importance, masks)
    # 1 / (I + 0.1), held within [0.1, 10], over the mean of the five living units
    mean = (10.0 + 2.0 + 0.5 + 0.1 + 0.25) / 5.0
    assert alpha["a"].tolist() == pytest.approx([10.0 / mean, 2.0 / mean, 0.5 / mean, 0.1 / mean])
    assert float(alpha["b"][0]) == pytest.approx(0.25 / mean)
    living = torch.cat([alpha[name][masks[name]] for name in masks])
    assert float(living.mean()) == pytest.approx(1.0)


def test_equal_units_are_pulled_equally() -> None:
    masks = {"a": torch.ones(3, dtype=torch.bool)}
    assert protection({"a": torch.ones(3)}, masks)["a"].tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_the_size_of_a_unit_counts_all_that_dies_with_it() -> None:
    deep, two = mlp(3, 5, 4, 2), TwoHeads()
    assert [unit_size(deep, group) for group in find_groups(deep)] == [3 + 1 + 4, 5 + 1 + 2]
    assert [unit_size(two, group) for group in find_groups(two)] == [3 + 1 + 2 + 2]


@pytest.mark.parametrize(("learning_rate", "updates"), [(1e-3, 500), (1e-1, 500), (1e-2, 7)])
@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_lambda_takes_strength_median_norms_off_an_average_unit(
    learning_rate: float, updates: int, strength: float
) -> None:
    network = mlp(3, 7, 2)
    (group,) = find_groups(network)
    before = units_of(network).norm(dim=1)
    lambda_ = scale_free_lambda(median_norm(network, [group]), strength, learning_rate, updates)
    pull = pull_of(network, g0=torch.full((7,), lambda_ * 6**0.5, dtype=torch.float64))
    for _ in range(updates):
        shrink_norms_(pull, learning_rate)
    expected = (before - strength * before.median()).clamp_min(0.0)
    torch.testing.assert_close(unit_norms(network, group), expected, rtol=1e-6, atol=1e-9)


def test_lambda_measures_units_of_different_sizes_by_the_root_of_their_size() -> None:
    network = mlp(3, 2, 9, 1)
    groups = find_groups(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.5)
    sizes = [3 + 1 + 9, 2 + 1 + 1]
    assert [unit_size(network, group) for group in groups] == sizes
    # with all parameters at 0.5 every unit's norm is 0.5 * sqrt(|g|)
    assert scale_free_lambda(median_norm(network, groups), 2.0, 0.1, 10) == pytest.approx(2.0 * 0.5 / (0.1 * 10))


def test_both_forms_shrink_units_that_the_loss_does_not_need() -> None:
    for penalty in (PROXIMAL, GRADIENT):
        network, plain = mlp(3, 8, 1), mlp(3, 8, 1)
        for net, weight in ((network, 0.05), (plain, 0.0)):
            optimizer, states = torch.optim.SGD(net.parameters(), lr=0.05), batches(3)
            pull = pull_of(net, g0=torch.full((8,), weight, dtype=torch.float64))
            if penalty.before is not None:
                optimizer.register_step_pre_hook(lambda *_, pull=pull, act=penalty.before: act(pull, 0.05))
            if penalty.after is not None:
                optimizer.register_step_post_hook(lambda *_, pull=pull, act=penalty.after: act(pull, 0.05))
            for _ in range(300):
                fit_step(net, optimizer, states())
        assert float(units_of(network).norm(dim=1).min()) < 0.5 * float(units_of(plain).norm(dim=1).min())
