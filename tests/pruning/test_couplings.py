"""Couplings that the tracer does not know: refused by the name of the module or node, never guessed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pruning_helpers import Between, mlp
from torch import Tensor, nn
from torch.nn import functional

from prunekit.errors import CouplingError
from prunekit.pruning.groups import find_groups
from prunekit.pruning.masks import masked
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.slices import linear_at
from prunekit.pruning.surgery import shrink


@pytest.mark.parametrize(
    ("module", "label"),
    [
        (nn.GroupNorm(2, 4), r"module '1' \(GroupNorm\)"),
        (nn.Threshold(0.1, 0.0), r"module '1' \(Threshold\)"),
        (nn.Bilinear(4, 4, 4), r"module '1' \(Bilinear\)"),
    ],
)
def test_unknown_modules_between_linear_layers_are_refused_by_name(module: nn.Module, label: str) -> None:
    with pytest.raises(CouplingError, match=label):
        find_groups(nn.Sequential(nn.Linear(3, 4), module, nn.ReLU(), nn.Linear(4, 2)))


@pytest.mark.parametrize(
    ("function", "into", "label"),
    [
        (lambda h: torch.cumsum(h, dim=-1), 4, r"'cumsum' \(node cumsum\)"),
        (lambda h: torch.stack([h, h]).sum(dim=0), 4, r"'stack' \(node stack\)"),
        (lambda h: h.roll(1, -1), 4, r"method 'roll' \(node roll\)"),
    ],
    ids=["cumsum", "stack", "roll"],
)
def test_unknown_functions_between_linear_layers_are_refused_by_node(
    function: Callable[[Tensor], Tensor], into: int, label: str
) -> None:
    with pytest.raises(CouplingError, match=label):
        find_groups(Between(function, into))


def test_a_linear_layer_called_twice_is_refused_under_any_name() -> None:
    shared = nn.Linear(4, 4)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), shared, nn.Tanh(), shared, nn.Linear(4, 1))
    with pytest.raises(CouplingError, match=r"module '2' \(Linear\) is called 2 times"):
        find_groups(network)


def test_layers_that_share_their_weights_are_refused() -> None:
    network = mlp(4, 4, 4, 2)
    network[2].weight = network[0].weight
    with pytest.raises(CouplingError, match="'2'"):
        find_groups(network)


def test_a_weight_that_is_read_apart_from_its_layer_is_refused() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.tanh(self.a(x))) + functional.linear(x, self.a.weight).sum(dim=1, keepdim=True)

    with pytest.raises(CouplingError, match=r"'a\.weight'"):
        find_groups(Tied())


def test_hidden_units_picked_by_their_places_are_refused() -> None:
    with pytest.raises(CouplingError, match=r"'getitem' \(Slice\) selects hidden units by position"):
        find_groups(Between(lambda h: torch.tanh(h[:, :3]), 3))


class OwnScale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.scale, self.second = nn.Linear(3, 4), nn.Parameter(torch.ones(4)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x) * self.scale))  # type: ignore[no-any-return]


def test_a_parameter_per_unit_outside_of_a_module_is_refused() -> None:
    with pytest.raises(CouplingError, match=r"'mul' reads a parameter or buffer with an entry per hidden unit"):
        find_groups(OwnScale())


def test_a_norm_without_a_weight_of_its_own_is_refused() -> None:
    plain = nn.LayerNorm(4, elementwise_affine=False)
    with pytest.raises(CouplingError, match=r"group '0' cannot be held at zero: '1' has no weight and bias"):
        find_groups(nn.Sequential(nn.Linear(3, 4), plain, nn.Linear(4, 2)))


def test_an_rms_norm_without_a_weight_is_shrunk_and_refused_in_training() -> None:
    layers = [nn.Linear(3, 4), nn.RMSNorm(4, elementwise_affine=False), nn.Tanh(), nn.Linear(4, 2)]
    network = nn.Sequential(*layers)
    masks = {"0": torch.tensor([True, False, True, True])}
    rows = torch.randn(9, 3)
    small = shrink(network, masks)
    torch.testing.assert_close(small(rows), masked(network, masks)(rows))
    assert not small[1].weight.requires_grad
    for live_shrink in (False, True):
        with pytest.raises(CouplingError, match=r"'1' \(RMSNorm\) has no weight, so it cannot lose units while it"):
            Pruner(network, torch.optim.Adam(network.parameters()), 100, live_shrink=live_shrink)


def test_an_activation_that_is_not_zero_at_zero_before_a_norm_is_refused_by_the_pruner() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.LayerNorm(4), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(network.parameters())
    with pytest.raises(CouplingError, match=r"group '0' cannot be removed: .* node '2' \(LayerNorm\).*is 0.5"):
        Pruner(network, optimizer, 100)
    assert optimizer._optimizer_step_pre_hooks == {}
    masks = {"0": torch.tensor([True, False, True, True])}
    for remove in (masked, shrink):
        with pytest.raises(CouplingError, match="use an activation that is zero at zero before it"):
            remove(network, masks)


def test_a_flatten_that_mixes_units_with_positions_is_refused() -> None:
    with pytest.raises(CouplingError, match="'2'"):
        find_groups(nn.Sequential(nn.Linear(4, 8), nn.Flatten(), nn.Linear(24, 2)))


def test_control_flow_on_data_is_refused() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = mlp(3, 4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x) if bool(x.sum() > 0) else self.layers(-x)

    with pytest.raises(CouplingError, match="Branching cannot be traced"):
        find_groups(Branching())


def test_two_inputs_are_refused_with_their_names() -> None:
    class Critic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = mlp(5, 4, 1)

        def forward(self, observation: Tensor, action: Tensor) -> Tensor:
            return self.layers(torch.cat([observation, action], dim=1))

    with pytest.raises(CouplingError, match=r"Critic takes 2 inputs \(observation, action\)"):
        find_groups(Critic())


def test_a_path_to_something_else_is_refused_by_name() -> None:
    with pytest.raises(CouplingError, match="module '1' is a Tanh"):
        linear_at(mlp(3, 4, 2), "1")


class OverwritesInPlace(nn.Module):
    """The activation's result is dropped, as the hidden values are overwritten."""

    def __init__(self, overwrite: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)
        self.overwrite = overwrite

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.a(x)
        self.overwrite(hidden)
        return self.b(hidden)


@pytest.mark.parametrize(
    "overwrite",
    [lambda h: functional.relu(h, inplace=True), torch.relu_, lambda h: h.relu_(), nn.ReLU(inplace=True)],
    ids=["functional", "function", "method", "module"],
)
def test_values_overwritten_in_place_behind_the_graph_s_back_are_refused(
    overwrite: Callable[[Tensor], object],
) -> None:
    with pytest.raises(CouplingError, match="overwrites a value in place"):
        find_groups(OverwritesInPlace(overwrite))


def test_an_in_place_activation_in_a_chain_is_accepted() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    assert [group.name for group in find_groups(network)] == ["0"]
