"""Laws 1, 6 and 8 on torch networks with residual sums, norms, gates and branches."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from law_branches import Case, branched_cases
from law_strategies import tensors_of
from test_law_6_inputs_untouched import USES, lived_in_, snapshot
from torch import Tensor, nn

from prunekit.errors import EmptyGroupError
from prunekit.graph.graph import Port
from prunekit.graph.reference import run_step
from prunekit.graph.tracing import trace
from prunekit.pruning.groups import find_groups
from prunekit.pruning.masks import masked
from prunekit.pruning.surgery import shrink

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


@torch.no_grad()
def run(network: nn.Module, inputs: Tensor) -> tuple[Tensor, ...]:
    return tensors_of(network(inputs))


def assert_same(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        allowed = TOLERANCE[one.dtype] * max(1.0, float(other.abs().max()))
        assert float((one - other).abs().max()) <= allowed


@torch.no_grad()
def gated(case: Case) -> tuple[Tensor, ...]:
    """The definition, without prunekit's own masking."""
    gates = {name: keep.to(case.inputs) for name, keep in case.masks.items()}
    return case.built.gated(case.built.network, case.inputs, gates)


@settings(deadline=None, max_examples=80)
@given(branched_cases(torch.float64))
def test_shrunk_equals_masked_equals_gated_in_float64(case: Case) -> None:
    expected = gated(case)
    assert_same(run(masked(case.built.network, case.masks), case.inputs), expected)
    assert_same(run(shrink(case.built.network, case.masks), case.inputs), expected)


@settings(deadline=None, max_examples=30)
@given(branched_cases(torch.float32))
def test_shrunk_equals_masked_equals_gated_in_float32(case: Case) -> None:
    expected = gated(case)
    assert_same(run(masked(case.built.network, case.masks), case.inputs), expected)
    assert_same(run(shrink(case.built.network, case.masks), case.inputs), expected)


@settings(deadline=None, max_examples=60)
@given(branched_cases())
def test_groups_are_what_the_network_was_built_of_and_lose_exactly_their_units(case: Case) -> None:
    built = case.built
    groups = find_groups(built.network)
    assert {group.name: group.width for group in groups} == built.widths
    for group in groups:
        found = {(entry.path, entry.axis, block[0]) for entry in group.slices for block in entry.blocks}
        assert found == set(built.where[group.name])
    small = shrink(built.network, case.masks)
    assert type(small) is type(built.network)
    assert [name for name, _ in small.named_parameters()] == [name for name, _ in built.network.named_parameters()]
    assert {group.name: group.width for group in find_groups(small)} == {
        name: int(keep.sum()) for name, keep in case.masks.items()
    }


@settings(deadline=None, max_examples=30)
@given(branched_cases())
def test_a_shrunk_network_is_traced_shrunk_and_trained_again(case: Case) -> None:
    small = shrink(case.built.network, case.masks)
    again = {group.name: torch.arange(group.width) < 1 for group in find_groups(small)}
    assert_same(run(shrink(small, again), case.inputs), run(masked(small, again), case.inputs))
    graph = trace(small, (Port(name="obs", shape=(case.built.inputs,)),), outputs=("mean", "log_std")).graph
    answers = run_step(graph, {"obs": case.inputs.numpy()}, {})[0]
    for one, other in zip(answers.values(), run(small, case.inputs), strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-6, atol=1e-7)
    before = [parameter.detach().clone() for parameter in small.parameters()]
    torch.optim.SGD(small.parameters(), lr=1.0)
    torch.cat([output.square().sum(dim=1) for output in small(case.inputs)]).sum().backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None and parameter.is_leaf for parameter in small.parameters())
    assert all(was.shape == now.shape for was, now in zip(before, small.parameters(), strict=True))


@pytest.mark.parametrize("use", USES)
@settings(deadline=None, max_examples=15)
@given(branched_cases())
def test_law_6_nothing_is_touched(use: str, case: Case) -> None:
    network = case.built.network
    lived_in_(network, case.inputs)
    before, keeps = snapshot(network), {name: keep.clone() for name, keep in case.masks.items()}
    USES[use](_Used(network, case.masks))  # type: ignore[arg-type]
    assert snapshot(network) == before
    assert all(torch.equal(case.masks[name], keep) for name, keep in keeps.items())


class _Used:
    def __init__(self, network: nn.Module, masks: dict[str, Tensor]) -> None:
        self.network, self.masks = network, masks


@settings(deadline=None, max_examples=30)
@given(branched_cases())
def test_law_8_an_empty_group_is_an_error(case: Case) -> None:
    whole = copy.deepcopy(case.masks)
    for name in whole:
        masks = {**whole, name: torch.zeros_like(whole[name])}
        with pytest.raises(EmptyGroupError, match=f"mask '{name}' keeps 0 units"):
            shrink(case.built.network, masks)
        with pytest.raises(EmptyGroupError):
            masked(case.built.network, masks)
