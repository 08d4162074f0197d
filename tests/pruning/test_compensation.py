"""Compensation: units that stay take over from units that go."""

from __future__ import annotations

import copy

import pytest
import torch
from pruning_helpers import TwoHeads, batches, fit_step, mlp
from torch import Tensor, nn

from prunekit.pruning.compensation import compensate_
from prunekit.pruning.forward_pass import forward_pass
from prunekit.pruning.groups import find_groups
from prunekit.pruning.importance import Evidence, irreplaceability, output_sensitivity
from prunekit.pruning.masks import full_masks
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner, first_tensor
from prunekit.pruning.schedules import Sparsity
from prunekit.pruning.surgery import shrink


def states(rows: int = 500, features: int = 3, seed: int = 3) -> Tensor:
    return torch.randn(rows, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def without(network: nn.Module, name: str, go: Tensor) -> nn.Module:
    masks = full_masks(find_groups(network))
    masks[name][go] = False
    return shrink(network, masks)


def compensated(network: nn.Module, index: int, go: Tensor, inputs: Tensor) -> nn.Module:
    group = find_groups(network)[index]
    result = copy.deepcopy(network)
    stay = torch.tensor([unit for unit in range(group.width) if unit not in go])
    values = forward_pass(network, find_groups(network), inputs, first_tensor).hidden[group.name]
    compensate_((result,), group.consumers, values[:, stay], values[:, go], stay, go)
    return result


def loss(network: nn.Module, small: nn.Module, inputs: Tensor) -> float:
    with torch.no_grad():
        one, other = network(inputs), small(inputs)
    if isinstance(one, tuple):
        one, other = torch.cat(one, dim=1), torch.cat(other, dim=1)
    return float((one - other).square().mean())


def test_a_copy_of_another_unit_goes_without_a_trace() -> None:
    network = mlp(3, 8, 2)
    with torch.no_grad():
        network[0].weight[5] = network[0].weight[2]
        network[0].bias[5] = network[0].bias[2]
    go, inputs = torch.tensor([5]), states()
    assert loss(network, without(network, "0", go), inputs) > 1e-3
    small = without(compensated(network, 0, go, inputs), "0", go)
    assert loss(network, small, states(seed=4)) < 1e-6


@pytest.mark.parametrize("index", [0, 1])
def test_most_of_a_wide_layer_can_go(index: int) -> None:
    network, inputs, fresh = mlp(3, 40, 40, 2), states(), states(seed=4)
    name, go = str(2 * index), torch.arange(20)
    plain = loss(network, without(network, name, go), fresh)
    small = without(compensated(network, index, go, inputs), name, go)
    assert loss(network, small, fresh) < plain / 20


def test_a_constant_unit_goes_into_the_bias() -> None:
    network = mlp(3, 8, 2)
    with torch.no_grad():
        network[0].weight[1] = 0.0
        network[0].bias[1] = 0.7
    go, inputs = torch.tensor([1]), states()
    changed = compensated(network, 0, go, inputs)
    expected = network[2].bias + network[2].weight[:, 1] * torch.tanh(torch.tensor(0.7, dtype=torch.float64))
    torch.testing.assert_close(changed[2].bias, expected)
    torch.testing.assert_close(changed[2].weight, network[2].weight)


def test_the_prediction_is_the_ridge_regression_s() -> None:
    network, inputs = mlp(3, 6, 2), states()
    go, stay = torch.tensor([4, 0]), [1, 2, 3, 5]
    hidden = torch.tanh(network[0](inputs)).detach()
    kept, lost = hidden[:, stay] - hidden[:, stay].mean(dim=0), hidden[:, go] - hidden[:, go].mean(dim=0)
    ridge = 1e-3 * kept.square().sum(dim=0).mean() * torch.eye(4, dtype=torch.float64)
    a = torch.linalg.inv(kept.T @ kept + ridge) @ kept.T @ lost
    changed = compensated(network, 0, go, inputs)
    torch.testing.assert_close(changed[2].weight[:, stay], network[2].weight[:, stay] + network[2].weight[:, go] @ a.T)
    offset = hidden[:, go].mean(dim=0) - hidden[:, stay].mean(dim=0) @ a
    torch.testing.assert_close(changed[2].bias, network[2].bias + network[2].weight[:, go] @ offset)


def test_both_heads_are_compensated() -> None:
    network, inputs = TwoHeads(hidden=30), states()
    go = torch.arange(12)
    plain = loss(network, without(network, "body.0", go), inputs)
    assert loss(network, without(compensated(network, 0, go, inputs), "body.0", go), inputs) < plain / 20


def test_consumers_without_a_bias_get_the_best_fit_without_one() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 2, bias=False)).double()
    go, inputs = torch.arange(6), states()
    plain = loss(network, without(network, "0", go), inputs)
    small = without(compensated(network, 0, go, inputs), "0", go)
    assert small[2].bias is None
    assert loss(network, small, inputs) < plain / 20


def test_a_target_network_is_compensated_with_its_own_weights() -> None:
    network, target = mlp(3, 20, 2), mlp(3, 20, 2)
    with torch.no_grad():
        target[2].weight.mul_(-2.0)
    group, go, inputs = find_groups(network)[0], torch.arange(6), states()
    before = copy.deepcopy(target)
    values = forward_pass(network, (group,), inputs, first_tensor).hidden["0"]
    compensate_((network, target), group.consumers, values[:, 6:], values[:, :6], torch.arange(6, 20), go)
    assert loss(before, without(target, "0", go), inputs) < loss(before, without(before, "0", go), inputs) / 20


def test_dead_units_take_nothing_over() -> None:
    network, inputs = mlp(3, 8, 2), states()
    group = find_groups(network)[0]
    with torch.no_grad():
        network[2].weight[:, 3] = 0.0
    values, stay, go = forward_pass(network, (group,), inputs, first_tensor).hidden["0"], [0, 1, 2, 4, 5, 6], [7]
    compensate_((network,), group.consumers, values[:, stay], values[:, go], torch.tensor(stay), torch.tensor(go))
    assert not network[2].weight[:, 3].any()


@pytest.mark.parametrize("live_shrink", [False, True])
def test_pruning_with_compensation_hardly_moves_the_output(live_shrink: bool) -> None:
    worst = {}
    for compensate in (False, True):
        network, source = mlp(3, 60, 60, 2), batches(3, size=32)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
        plan = PruningPlan(threshold=Sparsity(0.5), strength=0.0, compensate=compensate)
        pruner = Pruner(network, optimizer, 100, plan, live_shrink=live_shrink)
        whole = copy.deepcopy(network)
        for _ in range(100):
            fit_step(network, optimizer, source())
        assert pruner.sparsity == 0.5
        worst[compensate] = loss(whole, network, states(seed=8))
    assert worst[True] < worst[False] / 50


def test_irreplaceability_is_the_change_that_compensation_leaves() -> None:
    network, inputs = mlp(3, 8, 2), states(4000)
    deviation = torch.ones(2, dtype=torch.float64)
    group = find_groups(network)[0]
    seen = forward_pass(network, (group,), inputs, first_tensor)
    scores = irreplaceability(
        Evidence(network=network, groups=(group,), seen=seen, output_deviation=deviation, keep=full_masks((group,)))
    )["0"]
    for unit in range(8):
        small = without(compensated(network, 0, torch.tensor([unit]), inputs), "0", torch.tensor([unit]))
        with torch.no_grad():
            change = (network(inputs) - small(inputs)).square().sum(dim=1).mean().sqrt()
        assert float(scores[unit]) == pytest.approx(float(change), rel=0.05)


def test_a_unit_that_others_predict_is_replaceable_however_important() -> None:
    network = mlp(3, 8, 2)
    with torch.no_grad():
        network[0].weight[5], network[0].bias[5] = network[0].weight[2], network[0].bias[2]
        network[2].weight[:, [2, 5]] *= 10.0
    groups = find_groups(network)
    seen = forward_pass(network, groups, states(), first_tensor)
    evidence = Evidence(
        network=network,
        groups=groups,
        seen=seen,
        output_deviation=torch.ones(2, dtype=torch.float64),
        keep=full_masks(groups),
    )
    important, left = output_sensitivity(evidence)["0"], irreplaceability(evidence)["0"]
    assert important.argsort()[-2:].sort().values.tolist() == [2, 5]
    assert float((left / important)[[2, 5]].max()) < 0.05
    assert float((left / important)[[0, 1, 3, 4, 6, 7]].min()) > 0.05


def test_only_units_that_vary_have_a_share_that_others_do_not_predict() -> None:
    network, inputs = mlp(3, 8, 2), states()
    with torch.no_grad():
        network[0].weight[[1, 4]] = 0.0
    groups = find_groups(network)
    left = irreplaceability(
        Evidence(
            network=network,
            groups=groups,
            seen=forward_pass(network, groups, inputs, first_tensor),
            output_deviation=torch.ones(2, dtype=torch.float64),
            keep=full_masks(groups),
        )
    )["0"]
    assert left[[1, 4]].tolist() == [0.0, 0.0]
    apart = shrink(network, {"0": torch.tensor([True, False, True, True, False, True, True, True])})
    groups = find_groups(apart)
    fewer = irreplaceability(
        Evidence(
            network=apart,
            groups=groups,
            seen=forward_pass(apart, groups, inputs, first_tensor),
            output_deviation=torch.ones(2, dtype=torch.float64),
            keep=full_masks(groups),
        )
    )["0"]
    torch.testing.assert_close(left[[0, 2, 3, 5, 6, 7]], fewer)


def test_units_none_of_which_varies_are_replaceable() -> None:
    network = mlp(3, 8, 2)
    with torch.no_grad():
        network[0].weight.zero_()
    groups = find_groups(network)
    seen = forward_pass(network, groups, states(), first_tensor)
    scores = irreplaceability(
        Evidence(
            network=network,
            groups=groups,
            seen=seen,
            output_deviation=torch.ones(2, dtype=torch.float64),
            keep=full_masks(groups),
        )
    )["0"]
    assert float(scores.max()) < 1e-12
