"""Couplings that the tracer does not know: refused by the name of the module or node, never guessed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pruning_helpers import Between, mlp
from torch import Tensor, nn
from torch.nn import functional

from prunekit.errors import CouplingError
from prunekit.pruning.groups import find_groups, linear_at


@pytest.mark.parametrize(
    ("module", "label"),
    [
        (nn.LayerNorm(4), r"module '1' \(LayerNorm\)"),
        (nn.BatchNorm1d(4), r"module '1' \(BatchNorm1d\)"),
        (nn.Softmax(dim=-1), r"module '1' \(Softmax\)"),
        (nn.GELU(approximate="tanh"), r"module '1' \(GELU\)"),
        (nn.Softplus(beta=2.0), r"module '1' \(Softplus\)"),
    ],
)
def test_unknown_modules_between_linear_layers_are_refused_by_name(module: nn.Module, label: str) -> None:
    with pytest.raises(CouplingError, match=label):
        find_groups(nn.Sequential(nn.Linear(3, 4), module, nn.ReLU(), nn.Linear(4, 2)))


@pytest.mark.parametrize(
    ("function", "into", "label"),
    [
        (lambda h: h + torch.tanh(h), 4, r"'add' \(node add\)"),
        (lambda h: torch.cat([h, h], dim=-1), 8, r"'cat' \(node cat\)"),
        (lambda h: torch.softmax(h, dim=-1), 4, r"'softmax' \(node softmax\)"),
        (functional.hardtanh, 4, r"'hardtanh' \(node hardtanh\)"),
        (lambda h: functional.softplus(h, beta=2.0), 4, r"'softplus' \(node softplus\)"),
        (lambda h: functional.gelu(h, approximate="tanh"), 4, r"'gelu' \(node gelu\)"),
        (lambda h: h.clamp(min=0.0), 4, r"method 'clamp' \(node clamp\)"),
    ],
    ids=["residual", "cat", "softmax", "hardtanh", "softplus", "gelu", "clamp"],
)
def test_unknown_functions_between_linear_layers_are_refused_by_node(
    function: Callable[[Tensor], Tensor], into: int, label: str
) -> None:
    with pytest.raises(CouplingError, match=label):
        find_groups(Between(function, into))


def test_a_residual_sum_around_a_layer_is_refused() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.tanh(self.a(x))
            return self.c(hidden + torch.tanh(self.b(hidden)))

    with pytest.raises(CouplingError, match=r"'add' \(node add\)"):
        find_groups(Residual())


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


def test_consumers_behind_different_activations_are_refused() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            hidden = self.body(x)
            return self.a(torch.tanh(hidden)), self.b(torch.relu(hidden))

    with pytest.raises(CouplingError, match="'b'"):
        find_groups(Branches())


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
