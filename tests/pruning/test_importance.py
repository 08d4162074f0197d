"""Importances against brute force and hand-computed values."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from pruning_helpers import TwoHeads, mlp
from torch import Tensor, nn

from prunekit.pruning.forward_pass import forward_pass
from prunekit.pruning.groups import find_groups
from prunekit.pruning.importance import (
    Evidence,
    Importance,
    activity_times_outgoing,
    group_norm,
    irreplaceability,
    normalized,
    output_sensitivity,
    taylor,
    weight_propagation,
)
from prunekit.pruning.masks import full_masks
from prunekit.pruning.slices import Group, consumers_of

Decision = Callable[[object], Tensor]
STEP = 1e-6


def whole(output: object) -> Tensor:
    assert isinstance(output, Tensor)
    return output


def first_head(output: object) -> Tensor:
    assert isinstance(output, tuple)
    return whole(output[0])


def both_heads(output: object) -> Tensor:
    assert isinstance(output, tuple)
    return torch.cat(output, dim=1)


def evidence_of(network: nn.Module, states: Tensor, deviation: Tensor, decision: Decision = whole) -> Evidence:
    groups = find_groups(network)
    return Evidence(
        network=network,
        groups=groups,
        seen=forward_pass(network, groups, states, decision),
        output_deviation=deviation,
        keep=full_masks(groups),
    )


def random_states(n: int, features: int) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@torch.no_grad()
def gate_slopes(evidence: Evidence, group: Group, unit: int, decision: Decision = whole) -> Tensor:
    """Return d f_k / d gate_j [n, k] by central differences: a gate on a unit is a factor on its columns."""
    outputs = []
    for gate in (1.0 + STEP, 1.0 - STEP):
        gated = copy.deepcopy(evidence.network)
        for consumer in consumers_of(gated, group):
            consumer.weight[:, unit] *= gate
        outputs.append(decision(gated(evidence.seen.states)) / evidence.output_deviation)
    return (outputs[0] - outputs[1]) / (2.0 * STEP)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.Sigmoid])
def test_output_sensitivity_is_the_rms_slope_of_the_output_by_the_gate(activation: type[nn.Module]) -> None:
    deviation = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    evidence = evidence_of(mlp(4, 7, 6, 3, activation=activation), random_states(40, 4), deviation)
    scores = output_sensitivity(evidence)
    assert set(scores) == {"0", "2"}
    for group in evidence.groups:
        slopes = [gate_slopes(evidence, group, unit) for unit in range(group.width)]
        expected = torch.stack([slope.square().sum(dim=1).mean().sqrt() for slope in slopes])
        torch.testing.assert_close(scores[group.name], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("decision", [first_head, both_heads])
def test_output_sensitivity_of_two_heads_follows_the_decision(decision: Decision) -> None:
    states = random_states(30, 3)
    deviation = torch.linspace(0.5, 2.0, decision(TwoHeads()(states)).shape[1], dtype=torch.float64)
    evidence = evidence_of(TwoHeads(), states, deviation, decision)
    (group,) = evidence.groups
    slopes = torch.stack([gate_slopes(evidence, group, unit, decision) for unit in range(group.width)])
    expected = slopes.square().sum(dim=2).mean(dim=1).sqrt()
    torch.testing.assert_close(output_sensitivity(evidence)["body.0"], expected, rtol=1e-6, atol=1e-8)


def test_a_unit_that_only_the_other_head_reads_does_not_matter_to_the_decision() -> None:
    network = TwoHeads()
    with torch.no_grad():
        network.mean.weight[:, 2] = 0.0
    states, deviation = random_states(10, 3), torch.ones(2, dtype=torch.float64)
    scores = output_sensitivity(evidence_of(network, states, deviation, first_head))["body.0"]
    assert scores[2] == 0.0
    assert bool((scores[[0, 1, 3, 4, 5]] > 0.0).all())
    with_both = output_sensitivity(evidence_of(network, states, deviation.repeat(2), both_heads))["body.0"]
    assert with_both[2] > 0.0


@pytest.mark.parametrize("importance", [output_sensitivity, taylor])
def test_an_output_counts_by_its_own_deviation(importance: Importance) -> None:
    network, states = mlp(3, 5, 2), random_states(20, 3)
    scaled = copy.deepcopy(network)
    deviation = torch.tensor([1.0, 8.0], dtype=torch.float64)
    with torch.no_grad():
        scaled[2].weight.mul_(deviation[:, None])
        scaled[2].bias.mul_(deviation)
    plain = importance(evidence_of(network, states, torch.ones(2, dtype=torch.float64)))["0"]
    torch.testing.assert_close(importance(evidence_of(scaled, states, deviation))["0"], plain)


@pytest.mark.parametrize("importance", [output_sensitivity, taylor, activity_times_outgoing, weight_propagation])
def test_scales_traded_across_a_relu_change_no_importance(importance: Importance) -> None:
    network, states = mlp(3, 5, 2, activation=nn.ReLU), random_states(50, 3)
    rescaled = copy.deepcopy(network)
    factor = torch.tensor([0.01, 0.5, 1.0, 7.0, 100.0], dtype=torch.float64)
    with torch.no_grad():
        rescaled[0].weight.mul_(factor[:, None])
        rescaled[0].bias.mul_(factor)
        rescaled[2].weight.div_(factor)
    deviation = torch.ones(2, dtype=torch.float64)
    before, after = (importance(evidence_of(net, states, deviation))["0"] for net in (network, rescaled))
    torch.testing.assert_close(before, after)
    assert bool((before > 0.0).any())


def line(incoming: list[float], outgoing: list[list[float]], bias: float = 0.0) -> nn.Sequential:
    """One input, one ReLU unit per incoming weight, one output per row of ``outgoing``."""
    network = mlp(1, len(incoming), len(outgoing), activation=nn.ReLU)
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor(incoming)[:, None])
        network[0].bias.fill_(bias)
        network[2].weight.copy_(torch.tensor(outgoing))
    return network


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_rms_counts_every_state_and_output_and_taylor_lets_them_cancel() -> None:
    network = line([1.0, 2.0, 1.0], [[3.0, 1.0, 2.0], [4.0, -1.0, -2.5]])
    evidence = evidence_of(network, column(1.0, 3.0, -2.0), vector(1.0, 0.5))
    # h = (1, 2, 1), (3, 6, 3), 0; outgoing / sigma = (3, 8), (1, -2), (2, -5)
    mean_square = (1.0 + 9.0) / 3.0
    rms = vector((73.0 * mean_square) ** 0.5, (5.0 * 4.0 * mean_square) ** 0.5, (29.0 * mean_square) ** 0.5)
    torch.testing.assert_close(output_sensitivity(evidence)["0"], rms)
    mean = (1.0 + 3.0) / 3.0
    torch.testing.assert_close(taylor(evidence)["0"], vector(11.0 * mean, 2.0 * mean, 3.0 * mean))


def test_taylor_cancels_over_states() -> None:
    network = mlp(1, 2, 1, activation=nn.Identity)
    with torch.no_grad():
        network[0].bias.zero_()
    evidence = evidence_of(network, column(-1.0, 1.0), vector(1.0))
    torch.testing.assert_close(taylor(evidence)["0"], vector(0.0, 0.0))
    assert bool((output_sensitivity(evidence)["0"] > 0.0).all())


def test_activity_times_outgoing_is_mean_size_times_column_norm() -> None:
    network = line([1.0, 2.0], [[3.0, 0.0], [4.0, -5.0]])
    evidence = evidence_of(network, column(1.0, 3.0, -2.0, 0.0), vector(1.0, 1.0))
    torch.testing.assert_close(activity_times_outgoing(evidence)["0"], vector(1.0 * 5.0, 2.0 * 5.0))


def test_activity_counts_negative_values_by_size() -> None:
    network = mlp(1, 1, 1, activation=nn.Identity)
    with torch.no_grad():
        network[0].weight.fill_(1.0)
        network[0].bias.zero_()
        network[2].weight.fill_(-2.0)
    evidence = evidence_of(network, column(-3.0, 1.0), vector(1.0))
    torch.testing.assert_close(activity_times_outgoing(evidence)["0"], vector(4.0))


def test_group_norm_takes_row_bias_and_all_columns() -> None:
    network = line([1.0, 2.0], [[3.0, 0.0], [4.0, -5.0]], bias=2.0)
    evidence = evidence_of(network, column(1.0), vector(1.0, 1.0))
    torch.testing.assert_close(group_norm(evidence)["0"], vector(30.0**0.5, 33.0**0.5))
    two = TwoHeads()
    squares = two.body[0].weight.square().sum(1) + two.body[0].bias.square()
    squares = squares + two.mean.weight.square().sum(0) + two.log_std.weight.square().sum(0)
    scores = group_norm(evidence_of(two, random_states(2, 3), torch.ones(2), first_head))
    torch.testing.assert_close(scores["body.0"], squares.detach().sqrt())


def test_weight_propagation_multiplies_sizes_from_the_output_back() -> None:
    network = mlp(2, 2, 2, 1)
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        network[2].weight.copy_(torch.tensor([[1.0, -2.0], [0.0, 5.0]]))
        network[4].weight.copy_(torch.tensor([[-1.0, 2.0]]))
    scores = weight_propagation(evidence_of(network, random_states(2, 2), vector(1.0)))
    later = vector(1.0 * 5.0**0.5, 2.0 * 5.0)
    torch.testing.assert_close(scores["2"], later)
    earlier = vector(5.0 * 1.0 * later[0].item(), 1.0 * (2.0 * later[0].item() + 5.0 * later[1].item()))
    torch.testing.assert_close(scores["0"], earlier)


def test_weight_propagation_adds_up_over_heads() -> None:
    network = TwoHeads()
    columns = network.mean.weight.abs().sum(0) + network.log_std.weight.abs().sum(0)
    expected = (columns * network.body[0].weight.norm(dim=1)).detach()
    scores = weight_propagation(evidence_of(network, random_states(2, 3), torch.ones(2), first_head))
    torch.testing.assert_close(scores["body.0"], expected)


def test_normalized_scores_have_mean_one_over_the_living_and_are_zero_for_the_dead() -> None:
    scores = {"a": torch.tensor([4.0, 100.0, 2.0]), "b": torch.tensor([0.5, 0.5])}
    masks = {"a": torch.tensor([True, False, True]), "b": torch.tensor([True, True])}
    result = normalized(scores, masks)
    assert result["a"].tolist() == pytest.approx([4.0 / 3.0, 0.0, 2.0 / 3.0])
    assert result["b"].tolist() == [1.0, 1.0]


def test_on_a_common_scale_scores_are_divided_by_one_mean() -> None:
    scores = {"a": torch.tensor([4.0, 100.0, 2.0]), "b": torch.tensor([0.5, 1.5])}
    masks = {"a": torch.tensor([True, False, True]), "b": torch.tensor([True, True])}
    result = normalized(scores, masks, common_scale=True)
    assert result["a"].tolist() == [2.0, 0.0, 1.0]
    assert result["b"].tolist() == [0.25, 0.75]


def test_normalized_scores_of_a_group_without_any_importance_are_zero() -> None:
    result = normalized({"a": torch.zeros(3)}, {"a": torch.ones(3, dtype=torch.bool)})
    assert result["a"].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("importance", [output_sensitivity, taylor, activity_times_outgoing])
def test_measuring_leaves_no_hook_and_no_gradient_behind(importance: Importance) -> None:
    network = mlp(3, 5, 4, 2)
    network[0].weight.grad = torch.full_like(network[0].weight, 7.0)
    with torch.no_grad():
        importance(evidence_of(network, random_states(8, 3), torch.ones(2)))
    assert all(not module._forward_pre_hooks for module in network)
    assert bool((network[0].weight.grad == 7.0).all())
    assert network[2].weight.grad is None


def test_units_behind_a_frozen_layer_have_an_importance() -> None:
    network, states, deviation = mlp(3, 5, 2), random_states(8, 3), torch.ones(2)
    expected = output_sensitivity(evidence_of(network, states, deviation))["0"]
    network[0].requires_grad_(False)
    torch.testing.assert_close(output_sensitivity(evidence_of(network, states, deviation))["0"], expected)


def ranks(values: Tensor) -> Tensor:
    return values.argsort().argsort().double()


@pytest.mark.parametrize("outputs", [17, 60, 400])
@pytest.mark.parametrize("alike", [False, True], ids=["random weights", "weights of one sign"])
@pytest.mark.parametrize("importance", [output_sensitivity, irreplaceability])
def test_projecting_many_outputs_keeps_the_order_of_units(importance: Importance, outputs: int, alike: bool) -> None:
    network = mlp(4, 32, 24, outputs, seed=outputs)
    with torch.no_grad():
        network[4].weight.copy_(network[4].weight.abs() if alike else network[4].weight)
    evidence = evidence_of(network, random_states(1024, 4), torch.linspace(0.5, 2.0, outputs, dtype=torch.float64))
    estimated = importance(evidence)
    for name, exact in importance(replace(evidence, max_exact_outputs=outputs)).items():
        assert torch.corrcoef(torch.stack([ranks(estimated[name]), ranks(exact)]))[0, 1] >= 0.95
        assert not torch.equal(estimated[name], exact)
        ratios = estimated[name] / exact
        assert float((ratios - 1.0).abs().max()) < 0.2
        assert float((ratios.mean() - 1.0).abs()) < 0.03


def test_projections_are_unbiased_with_few_states() -> None:
    evidence = evidence_of(mlp(3, 5, 40), random_states(4, 3), torch.ones(40, dtype=torch.float64))
    slopes = torch.stack([gate_slopes(evidence, evidence.groups[0], unit) for unit in range(5)])
    exact = slopes.square().sum(dim=2).mean(dim=1)
    squares = [output_sensitivity(replace(evidence, seed=seed))["0"].square() for seed in range(300)]
    torch.testing.assert_close(torch.stack(squares).mean(dim=0), exact, rtol=0.05, atol=0.0)


@pytest.mark.parametrize(("importance", "most"), [(output_sensitivity, 16), (irreplaceability, 16), (taylor, 1)])
@pytest.mark.parametrize("states", [8, 1024])
def test_many_outputs_take_few_passes(
    importance: Importance, most: int, states: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[object] = []
    gradient = torch.autograd.grad

    def counted(*arguments: Any, **words: Any) -> Any:
        passes.append(None)
        return gradient(*arguments, **words)

    evidence = evidence_of(mlp(3, 6, 500), random_states(states, 3), torch.ones(500, dtype=torch.float64))
    monkeypatch.setattr(torch.autograd, "grad", counted)
    importance(evidence)
    assert len(passes) <= (1 if states == 1024 else most)


def test_taylor_of_many_outputs_is_exact() -> None:
    deviation = torch.linspace(0.5, 2.0, 40, dtype=torch.float64)
    evidence = evidence_of(mlp(3, 7, 6, 40), random_states(30, 3), deviation)
    at_once = taylor(evidence)
    torch.testing.assert_close(taylor(replace(evidence, max_exact_outputs=40)), at_once)


def test_projections_depend_on_the_seed_alone() -> None:
    evidence = evidence_of(mlp(3, 5, 40), random_states(50, 3), torch.ones(40, dtype=torch.float64))
    state = torch.random.get_rng_state()
    first, again = output_sensitivity(evidence)["0"], output_sensitivity(evidence)["0"]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, output_sensitivity(replace(evidence, seed=1))["0"])
