"""Groups: what the tracer takes for a hidden layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pruning_helpers import Between, TwoHeads, mlp
from torch import Tensor, nn
from torch.nn import functional

from prunekit.activations import KINDS, Activation
from prunekit.pruning.groups import find_groups
from prunekit.pruning.slices import consumers_of, unit_slices


def told(network: nn.Module) -> list[tuple[str, int, tuple[str, ...]]]:
    """Return name, width and consumers of every group, and check that they are all that there is of it."""
    groups = find_groups(network)
    for group in groups:
        for entry in group.slices:
            assert entry.whole
            assert network.get_parameter(entry.path).shape[entry.axis] == entry.size == group.width
        assert not group.buffers
    return [(group.name, group.width, group.consumers) for group in groups]


def test_a_sequential_has_one_group_per_hidden_layer() -> None:
    assert told(mlp(3, 5, 4, 2)) == [("0", 5, ("2",)), ("2", 4, ("4",))]


def test_groups_of_nested_modules_are_named_by_their_paths() -> None:
    network = nn.Sequential(nn.Sequential(nn.Linear(3, 5), nn.ReLU()), nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2)))
    assert told(network) == [("0.0", 5, ("1.0",)), ("1.0", 4, ("1.1",))]


def test_every_consumer_of_two_heads_is_listed() -> None:
    network = TwoHeads()
    assert told(network) == [("body.0", 6, ("mean", "log_std"))]
    (group,) = find_groups(network)
    assert consumers_of(network, group) == (network.mean, network.log_std)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_units_pass_every_known_module(name: str) -> None:
    module = Activation(name=name, parameter=KINDS[name].default).to_module()
    assert told(nn.Sequential(nn.Linear(3, 4), module, nn.Linear(4, 2))) == [("0", 4, ("2",))]


@pytest.mark.parametrize(
    "function",
    [
        torch.relu, functional.relu, lambda h: h.relu(), torch.tanh, functional.tanh, lambda h: h.tanh(),
        torch.sigmoid, functional.sigmoid, lambda h: h.sigmoid(), functional.leaky_relu, functional.elu,
        functional.silu, functional.gelu, functional.softplus, nn.LeakyReLU(0.2),
        lambda h: functional.leaky_relu(h, 0.2), lambda h: functional.leaky_relu(h, negative_slope=0.2, inplace=True),
        functional.hardtanh, lambda h: functional.softplus(h, beta=2.0),
        lambda h: functional.gelu(h, approximate="tanh"),
        lambda h: h.clamp(min=0.0), lambda h: torch.sigmoid(torch.tanh(h)), lambda h: h * torch.sigmoid(h),
    ],
)  # fmt: skip
def test_units_pass_functions_and_tensor_methods(function: Callable[[Tensor], Tensor]) -> None:
    assert told(Between(function)) == [("first", 4, ("second",))]


def test_dropout_flatten_and_identity_pass_units_through() -> None:
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(3, 4), nn.Dropout(0.1), nn.Tanh(), nn.Flatten(), nn.Identity(), nn.Linear(4, 2)
    )
    assert told(network) == [("1", 4, ("6",))]


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
    found = unit_slices(network, group)
    expected = [network.body[0].weight, network.body[0].bias, network.mean.weight, network.log_std.weight]
    assert all(tensor is parameter for (tensor, _), parameter in zip(found, expected, strict=True))
    assert [entry.axis for _, entry in found] == [0, 0, 1, 1]


def test_a_layer_without_bias_has_one_slice_of_rows() -> None:
    network = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2))
    (group,) = find_groups(network)
    assert [(entry.path, entry.axis) for entry in group.slices] == [("0.weight", 0), ("1.weight", 1)]


class Residual(nn.Module):
    """A residual block of a SimBa-style network, and a branch that is put beside the observation."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.norm, self.up, self.down = nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 6), nn.Linear(6, 4)
        self.branch, self.batch, self.leave = nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.enter(x)
        stream = stream + self.down(torch.relu(self.up(self.norm(stream))))
        return self.leave(torch.cat([x, stream, self.batch(self.branch(x))], dim=-1))  # type: ignore[no-any-return]


def test_sums_norms_and_concatenations_join_what_shares_a_fate() -> None:
    network = Residual()
    stream, inner, branch = find_groups(network)
    assert (stream.name, inner.name, branch.name) == ("enter", "up", "branch")
    assert {(entry.path, entry.axis) for entry in stream.slices} == {
        ("enter.weight", 0), ("enter.bias", 0), ("norm.weight", 0), ("norm.bias", 0), ("up.weight", 1),
        ("down.weight", 0), ("down.bias", 0), ("leave.weight", 1),
    }  # fmt: skip
    assert stream.consumers == ("up", "leave")
    assert [read.path for read in stream.reads] == ["norm", "up", "leave"]
    columns = {group.name: [e.blocks for e in group.slices if e.path == "leave.weight"] for group in (stream, branch)}
    assert columns == {"enter": [(range(3, 7),)], "branch": [(range(7, 12),)]}
    assert {entry.path for entry in branch.buffers} == {"batch.running_mean", "batch.running_var"}
    assert network.batch.training, "it was traced as in evaluation, and left as it was"


def test_a_shared_slope_is_no_unit_s() -> None:
    slope = nn.PReLU()
    network = nn.Sequential(nn.Linear(3, 4), slope, nn.Linear(4, 4), slope, nn.Linear(4, 2))
    assert told(network) == [("0", 4, ("2",)), ("2", 4, ("4",))]


def test_what_no_op_knows_before_and_after_the_layers_is_no_obstacle() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(3))
            self.layers = mlp(3, 4, 5, 2)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            logits = self.layers(torch.nan_to_num(x - self.mean))
            return {"probabilities": torch.exp(logits - torch.logsumexp(logits, dim=-1, keepdim=True))}

    assert told(Wrapped()) == [("layers.0", 4, ("layers.2",)), ("layers.2", 5, ("layers.4",))]
