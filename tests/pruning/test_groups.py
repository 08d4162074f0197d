"""Groups: what the tracer takes for a hidden layer, and what it refuses by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import pytest
import torch
from pruning_helpers import TwoHeads, mlp
from torch import Tensor, nn
from torch.nn import functional

from prunekit.activations import KINDS, Activation
from prunekit.errors import CouplingError
from prunekit.pruning.groups import Group, consumers_of, find_groups, linear_at, producer_of, unit_slices


@final
class Between(nn.Module):
    """Two linear layers with an arbitrary function of the hidden values between them."""

    def __init__(self, function: Callable[[Tensor], Tensor], into: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(into, 2)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.function(self.first(x)))


def activations_of(network: nn.Module) -> list[Activation]:
    (group,) = find_groups(network)
    return list(group.activations)


def test_a_sequential_has_one_group_per_hidden_layer() -> None:
    tanh = (Activation("tanh"),)
    assert find_groups(mlp(3, 5, 4, 2)) == (Group("0", 5, tanh, ("2",)), Group("2", 4, tanh, ("4",)))


def test_groups_of_nested_modules_are_named_by_their_paths() -> None:
    network = nn.Sequential(nn.Sequential(nn.Linear(3, 5), nn.ReLU()), nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2)))
    relu = (Activation("relu"),)
    assert find_groups(network) == (Group("0.0", 5, relu, ("1.0",)), Group("1.0", 4, (), ("1.1",)))


def test_every_consumer_of_two_heads_is_listed() -> None:
    network = TwoHeads()
    (group,) = find_groups(network)
    assert group == Group("body.0", 6, (Activation("tanh"),), ("mean", "log_std"))
    assert producer_of(network, group) is network.body[0]
    assert consumers_of(network, group) == (network.mean, network.log_std)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_known_module_is_an_activation(name: str) -> None:
    module = Activation(name, KINDS[name].default).to_module()
    expected = [] if name == "identity" else [Activation(name, KINDS[name].default)]
    assert activations_of(nn.Sequential(nn.Linear(3, 4), module, nn.Linear(4, 2))) == expected


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.relu, "relu"), (functional.relu, "relu"), (lambda h: h.relu(), "relu"),
        (torch.tanh, "tanh"), (functional.tanh, "tanh"), (lambda h: h.tanh(), "tanh"),
        (torch.sigmoid, "sigmoid"), (functional.sigmoid, "sigmoid"), (lambda h: h.sigmoid(), "sigmoid"),
        (functional.leaky_relu, "leaky_relu"), (functional.elu, "elu"), (functional.silu, "silu"),
        (functional.gelu, "gelu"), (functional.softplus, "softplus"),
    ],
)  # fmt: skip
def test_activations_are_known_as_functions_and_as_tensor_methods(
    function: Callable[[Tensor], Tensor], name: str
) -> None:
    assert activations_of(Between(function)) == [Activation(name, KINDS[name].default)]


@pytest.mark.parametrize(
    "function",
    [
        nn.LeakyReLU(0.2),
        lambda h: functional.leaky_relu(h, 0.2),
        lambda h: functional.leaky_relu(h, negative_slope=0.2, inplace=True),
    ],
)
def test_a_slope_of_one_s_own_is_kept(function: Callable[[Tensor], Tensor]) -> None:
    assert activations_of(Between(function)) == [Activation("leaky_relu", 0.2)]


def test_several_activations_are_kept_in_order() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Sigmoid(), nn.Linear(4, 2))
    assert activations_of(network) == [Activation("tanh"), Activation("sigmoid")]


def test_dropout_flatten_and_identity_pass_units_through() -> None:
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(3, 4), nn.Dropout(0.1), nn.Tanh(), nn.Flatten(), nn.Identity(), nn.Linear(4, 2)
    )
    assert find_groups(network) == (Group("1", 4, (Activation("tanh"),), ("6",)),)


def test_an_output_layer_is_never_a_group() -> None:
    assert find_groups(nn.Linear(3, 2)) == ()
    assert find_groups(nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Identity())) == ()


def test_a_layer_whose_units_are_also_returned_is_not_a_group() -> None:
    class Shown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            features = torch.tanh(self.a(x))
            return self.c(torch.tanh(self.b(features))), features

    assert [group.name for group in find_groups(Shown())] == ["b"]


def test_what_is_unknown_outside_of_the_hidden_layers_is_no_obstacle() -> None:
    network = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Softmax(dim=-1))
    assert [group.name for group in find_groups(network)] == ["1"]


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


def test_an_input_with_a_default_is_left_at_it() -> None:
    class Policy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = mlp(3, 4, 2)

        def forward(self, x: Tensor, squash: bool = False) -> Tensor:
            return torch.tanh(self.layers(x)) if squash else self.layers(x)

    assert [group.name for group in find_groups(Policy())] == ["layers.0"]


def test_unit_slices_are_the_live_parameters() -> None:
    network = TwoHeads()
    (group,) = find_groups(network)
    rows, columns = unit_slices(network, group)
    assert rows[0] is network.body[0].weight
    assert rows[1] is network.body[0].bias
    assert columns[0] is network.mean.weight
    assert columns[1] is network.log_std.weight


def test_a_producer_without_bias_has_one_row_tensor() -> None:
    network = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2))
    (group,) = find_groups(network)
    assert unit_slices(network, group)[0] == (network[0].weight,)


def test_a_path_to_something_else_is_refused_by_name() -> None:
    with pytest.raises(CouplingError, match="module '1' is a Tanh"):
        linear_at(mlp(3, 4, 2), "1")
