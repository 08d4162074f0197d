"""Layers whose weight is not a plain parameter are refused by name, wherever a network is taken apart."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from prunekit.errors import CouplingError, InputError
from prunekit.policy.actor import Actor
from prunekit.policy.artifact import make_artifact
from prunekit.policy.heads import ClipHead
from prunekit.policy.program import lower
from prunekit.pruning.groups import find_groups
from prunekit.pruning.masks import masked
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Sparsity
from prunekit.pruning.surgery import shrink

Wrap = Callable[[nn.Linear], object]


class Doubled(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return 2.0 * weight


class Scaled(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2.0 * super().forward(input)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))


def complex_network() -> nn.Sequential:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return network().to(torch.complex64)


def old_weight_norm(layer: nn.Linear) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(layer)


def attribute_weight(layer: nn.Linear) -> None:
    weight = layer.weight.detach().clone()
    del layer.weight
    layer.weight = weight  # type: ignore[assignment]


def own_forward(layer: nn.Linear) -> None:
    layer.forward = lambda x: x @ layer.weight.T  # type: ignore[method-assign]


def extra_parameter(layer: nn.Linear) -> None:
    layer.gain = nn.Parameter(torch.ones(1))


PARAMETRIZED = "torch.nn.utils.parametrize.remove_parametrizations"
WRAPS: list[tuple[Wrap, str]] = [
    (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), "torch.nn.utils.prune.remove(layer, 'weight')"),
    (lambda layer: prune.ln_structured(layer, "weight", 0.5, n=2, dim=0), "torch.nn.utils.prune.remove"),
    (lambda layer: prune.identity(layer, "weight"), "torch.nn.utils.prune.remove"),
    (lambda layer: prune.random_unstructured(layer, "bias", 0.5), "torch.nn.utils.prune.remove(layer, 'bias')"),
    (old_weight_norm, "torch.nn.utils.remove_weight_norm(layer)"),
    (nn.utils.spectral_norm, "torch.nn.utils.remove_spectral_norm(layer)"),
    (parametrizations.weight_norm, PARAMETRIZED),
    (parametrizations.spectral_norm, PARAMETRIZED),
    (parametrizations.orthogonal, PARAMETRIZED),
    (lambda layer: parametrize.register_parametrization(layer, "weight", Doubled()), PARAMETRIZED),
    (lambda layer: parametrize.register_parametrization(layer, "bias", Doubled()), f"{PARAMETRIZED}(layer, 'bias')"),
    (attribute_weight, "parameters of its own"),
    (own_forward, "an overridden forward"),
    (extra_parameter, "the parameter 'gain'"),
]


@pytest.mark.parametrize(("wrap", "cure"), WRAPS)
@pytest.mark.parametrize("index", [0, 2, 4], ids=["first", "hidden", "last"])
def test_a_computed_weight_is_refused_by_name_with_the_cure(wrap: Wrap, cure: str, index: int) -> None:
    plain, wrapped = network(), network()
    wrap(wrapped[index])  # type: ignore[arg-type]
    masks = {group.name: torch.arange(8) < 5 for group in find_groups(plain)}
    optimizer = torch.optim.Adam(wrapped.parameters())
    actor = Actor(wrapped, ClipHead(low=(-1.0, -1.0), high=(1.0, 1.0)))
    for take in (
        lambda: find_groups(wrapped),
        lambda: Pruner(wrapped, optimizer, 100),
        lambda: Pruner(wrapped, optimizer, 100, live_shrink=True),
        lambda: Pruner(plain, torch.optim.Adam(plain.parameters()), 100, twins=[wrapped]),
        lambda: shrink(wrapped, masks),
        lambda: masked(wrapped, masks),
        lambda: lower(actor),
        lambda: make_artifact(actor, None, {}),
    ):
        with pytest.raises(CouplingError, match=f"module '{index}' ") as refusal:
            take()  # type: ignore[no-untyped-call]
        assert cure in str(refusal.value)
    assert optimizer._optimizer_step_pre_hooks == {}, "a refused pruner leaves no hook"


@pytest.mark.parametrize("index", [0, 2, 4])
def test_made_plain_again_it_is_taken(index: int) -> None:
    wrapped = network()
    parametrizations.weight_norm(wrapped[index])
    parametrize.remove_parametrizations(wrapped[index], "weight")
    other = network()
    prune.l1_unstructured(other[index], "weight", 0.5)
    prune.remove(other[index], "weight")
    for plain in (wrapped, other):
        assert [group.name for group in find_groups(plain)] == ["0", "2"]


def test_subclasses_and_layers_without_weights_are_refused_by_name() -> None:
    for index in (0, 2, 4):
        wrapped = network()
        wrapped[index] = Scaled(wrapped[index].in_features, wrapped[index].out_features)
        with pytest.raises(CouplingError, match=rf"module '{index}' \(Scaled\) is a subclass of Linear"):
            find_groups(wrapped)
    lazy = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(CouplingError, match=r"module '0' \(LazyLinear\) has no weight yet; run the network once"):
        find_groups(lazy)
    lazy(torch.zeros(1, 4))
    assert find_groups(lazy)[0].width == 8
    with pytest.raises(CouplingError, match="'0' is on the device 'meta'"):
        find_groups(network().to("meta"))
    with pytest.raises(CouplingError, match="the weight of module '0' is complex64"):
        find_groups(complex_network())


def test_layers_that_share_memory_without_sharing_a_parameter() -> None:
    memory = torch.randn(2, 8, 8)
    apart = network()
    apart[2].weight.data = memory[0]
    assert len(find_groups(apart)) == 2
    apart[0] = nn.Linear(8, 8)
    apart[0].weight.data = memory[0]
    with pytest.raises(CouplingError, match=r"'0.weight' and '2.weight' share their memory"):
        find_groups(apart)
    apart[0].weight.data = memory[1]
    assert len(find_groups(apart)) == 2, "neighbours in one buffer share nothing"


class ReadTwice(nn.Module):
    """Registers the weight of its layer a second time, under a name of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)
        self.tied = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x @ self.tied)))


def test_a_weight_that_is_read_under_another_name() -> None:
    with pytest.raises(CouplingError, match=r"share their memory"):
        find_groups(ReadTwice())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_refused_where_it_is_attached(dtype: torch.dtype) -> None:
    half = network().to(dtype)
    optimizer = torch.optim.SGD(half.parameters(), 0.1)
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(InputError, match=rf"parameter '4.bias' is {name}, but only float32 and float64.*autocast"):
        Pruner(half, optimizer, 100)
    assert optimizer._optimizer_step_pre_hooks == {}
    plain = network()
    with pytest.raises(InputError, match=name):
        Pruner(plain, torch.optim.SGD(plain.parameters(), 0.1), 100, twins=[half])
    masks = {group.name: torch.arange(8) < 5 for group in find_groups(half)}
    states = torch.randn(6, 4, dtype=dtype)
    torch.testing.assert_close(shrink(half, masks)(states), masked(half, masks)(states))


def test_mixed_types_are_refused_where_they_are_attached() -> None:
    mixed = network()
    mixed[2].double()
    with pytest.raises(InputError, match=r"mixes types: '4.bias' is float32, '2.bias' float64; call network.float"):
        Pruner(mixed, torch.optim.SGD(mixed.parameters(), 0.1), 100)
    double = network().double()
    Pruner(double, torch.optim.SGD(double.parameters(), 0.1), 100, PruningPlan(threshold=Sparsity(0.5))).detach()
