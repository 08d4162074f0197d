"""Law 1: a shrunk network computes what the masked one does."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from law_strategies import Case, cases, fill_, seeded, tensors_of
from torch import Tensor, nn
from torch.nn import functional

from prunekit.activations import KINDS, Activation
from prunekit.errors import CouplingError
from prunekit.pruning.groups import find_groups
from prunekit.pruning.masks import masked
from prunekit.pruning.surgery import shrink

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
FUNCTIONS = [
    pytest.param(function, id=f"{getattr(function, '__module__', 'torch')}.{kind.name}")
    for kind in KINDS.values()
    for function in kind.functions
    if callable(function)
]
WITH_OPTIONS = [
    pytest.param(lambda x: functional.leaky_relu(x, 0.3), id="leaky_relu, positional"),
    pytest.param(lambda x: functional.leaky_relu(x, negative_slope=0.3), id="leaky_relu, named"),
    pytest.param(lambda x: functional.elu(x, alpha=0.5), id="elu, named"),
]


class Between(nn.Module):
    """Two layers with a function between them."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.function = nn.Linear(3, 5), nn.Linear(5, 2), function

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x)))  # type: ignore[no-any-return]


class Forked(nn.Module):
    """One hidden layer that two heads read through different activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left, self.right = nn.Linear(3, 5), nn.Linear(5, 2), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.first(x)
        return self.left(torch.sigmoid(hidden)), self.right(torch.tanh(hidden))


class ReadTwice(nn.Module):
    """A layer whose weight the output also reads directly."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x))) + functional.linear(x, self.first.weight)  # type: ignore[no-any-return]


@torch.no_grad()
def gated(case: Case) -> tuple[Tensor, ...]:
    """Run the network with gates on what its layers read: the definition, without prunekit's own masking."""
    network = copy.deepcopy(case.network)
    varying: dict[str, Tensor] = {}
    for name, consumers in case.coupling.items():
        weight = network.get_submodule(name).get_parameter("weight")
        varies = (weight[:, varying[name]] if name in varying else weight).any(dim=1)
        gate = (case.masks[name] | ~varies).to(case.inputs)
        for path in consumers:
            varying[path] = varies
            network.get_submodule(path).register_forward_pre_hook(lambda _, x, gate=gate: (x[0] * gate,))
    return run(network, case.inputs)


@torch.no_grad()
def run(network: nn.Module, inputs: Tensor) -> tuple[Tensor, ...]:
    return tensors_of(network(inputs))


def assert_same(network: nn.Module, inputs: Tensor, expected: tuple[Tensor, ...]) -> None:
    found = run(network, inputs)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype == inputs.dtype
        allowed = TOLERANCE[inputs.dtype] * max(1.0, float(other.abs().max()))
        assert float((one - other).abs().max()) <= allowed


@settings(deadline=None, max_examples=80)
@given(cases(torch.float64))
def test_shrunk_equals_masked_equals_gated_in_float64(case: Case) -> None:
    expected = gated(case)
    assert_same(masked(case.network, case.masks), case.inputs, expected)
    assert_same(shrink(case.network, case.masks), case.inputs, expected)


@settings(deadline=None, max_examples=40)
@given(cases(torch.float32))
def test_shrunk_equals_masked_equals_gated_in_float32(case: Case) -> None:
    expected = gated(case)
    assert_same(masked(case.network, case.masks), case.inputs, expected)
    assert_same(shrink(case.network, case.masks), case.inputs, expected)


@settings(deadline=None, max_examples=50)
@given(cases())
def test_shrunk_layers_hold_exactly_the_kept_units(case: Case) -> None:
    assert {group.name: group.consumers for group in find_groups(case.network)} == case.coupling
    small = shrink(case.network, case.masks)
    for name, consumers in case.coupling.items():
        kept = int(case.masks[name].sum())
        producer = small.get_submodule(name)
        assert producer.get_parameter("weight").shape[0] == producer.out_features == kept
        for path in consumers:
            consumer = small.get_submodule(path)
            assert consumer.get_parameter("weight").shape[1] == consumer.in_features == kept


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_removed_constant_goes_into_the_bias_of_every_consumer(name: str, bias: bool) -> None:
    activation = Activation(name=name, parameter=KINDS[name].default).to_module()
    first, last = nn.Linear(3, 4, bias=bias), nn.Linear(4, 2, bias=bias)
    network = nn.Sequential(first, activation, last).double()
    fill_(network, seed=1)
    with torch.no_grad():
        first.weight[1] = 0.0
        unit = first.bias[1:2] if bias else torch.zeros(1).double()
        before = last.bias if bias else torch.zeros(2).double()
        expected = before + last.weight[:, 1] * activation(unit)
    small = shrink(network, {"0": torch.tensor([True, False, True, True])})
    found = torch.zeros(2).double() if small.get_submodule("2").bias is None else small.get_parameter("2.bias")
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-14)


@pytest.mark.parametrize("function", [*FUNCTIONS, *WITH_OPTIONS])
def test_every_functional_spelling_is_known(function: Callable[[Tensor], Tensor]) -> None:
    network = Between(function).double()
    fill_(network, seed=2)
    with torch.no_grad():
        network.first.weight[1] = 0.0
    masks = {"first": torch.tensor([True, False, True, False, True])}
    inputs = torch.randn(6, 3, generator=seeded(3)).double()
    assert_same(shrink(network, masks), inputs, run(masked(network, masks), inputs))


def test_each_consumer_gets_the_constant_of_its_own_activation() -> None:
    network = Forked().double()
    fill_(network, seed=4)
    with torch.no_grad():
        network.first.weight[0] = 0.0
    masks = {"first": torch.tensor([False, True, True, True, True])}
    inputs = torch.randn(6, 3, generator=seeded(5)).double()
    assert_same(shrink(network, masks), inputs, run(masked(network, masks), inputs))
    assert_same(shrink(network, masks), inputs, run(network, inputs))


@pytest.mark.parametrize(
    ("network", "culprit"),
    [
        (nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(2, 4), nn.Tanh(), nn.Linear(4, 2)), r"'1' \(GroupNorm\)"),
        (nn.Sequential(nn.Linear(3, 4), nn.Threshold(0.1, 0.0), nn.Linear(4, 2)), r"'1' \(Threshold\)"),
        (Between(lambda x: torch.cumsum(x, dim=-1)), "'cumsum'"),
        (Between(lambda x: x.roll(1, -1)), "'roll'"),
    ],
)
def test_an_unknown_coupling_is_refused_by_name(network: nn.Module, culprit: str) -> None:
    with pytest.raises(CouplingError, match=culprit):
        find_groups(network)


def test_a_layer_used_twice_is_refused_by_name() -> None:
    shared = nn.Linear(4, 4)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(4, 2))
    with pytest.raises(CouplingError, match=r"'2' \(Linear\) is called 2 times"):
        find_groups(network)


def test_layers_that_share_a_weight_are_refused_by_name() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    network[2].weight = network[0].weight
    with pytest.raises(CouplingError, match="'2'"):
        find_groups(network)


def test_a_weight_read_apart_from_its_layer_is_refused_by_name() -> None:
    with pytest.raises(CouplingError, match=r"first\.weight"):
        find_groups(ReadTwice())


def test_a_reshape_between_layers_is_refused_by_name() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(CouplingError, match="'3'"):
        find_groups(network)
