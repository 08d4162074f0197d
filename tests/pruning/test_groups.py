"""Groups: what the tracer takes for a hidden layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pruning_helpers import Between, TwoHeads, mlp
from torch import Tensor, nn
from torch.nn import functional

from prunekit.activations import KINDS, Activation
from prunekit.pruning.groups import Group, consumers_of, find_groups, producer_of, unit_slices


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
