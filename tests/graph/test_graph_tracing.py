"""Torch networks as graphs: they compute the same, know their parameters' paths, and refuse what is not known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import prunekit.ops  # noqa: F401
from prunekit.errors import CouplingError, InputError
from prunekit.graph.counted_norms import CountedLayerNorm, CountedRMSNorm
from prunekit.graph.graph import Graph, Port
from prunekit.graph.groups import find_groups
from prunekit.graph.lifting import functions, modules, resizes
from prunekit.graph.op import parameters
from prunekit.graph.reference import initial_states, run_step
from prunekit.graph.surgery import shrink
from prunekit.graph.tracing import trace
from prunekit.ops.activation_kinds import KINDS

OBS = (Port(name="obs", shape=(4,)),)
CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.3),
    "leaky_relu, default": functional.leaky_relu,
    "elu": lambda x: functional.elu(x, alpha=0.5),
    "celu": lambda x: torch.celu(x, 0.7),
    "softplus": lambda x: functional.softplus(x, 2.0),
    "gelu": functional.gelu,
    "gelu, tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu6": functional.relu6,
    "hardtanh": lambda x: functional.hardtanh(x, -0.2, 0.5),
    "clamp": lambda x: x.clamp(min=-0.1),
    "clip": lambda x: torch.clip(x, -0.1, 0.3),
    "add": lambda x: x + torch.tanh(x),
    "mul": lambda x: torch.mul(x, x.sigmoid()),
    "cat": lambda x: torch.cat([x, torch.tanh(x)], dim=-1),
    "cat, dim 1": lambda x: torch.cat((x, x), 1),
    "slices": lambda x: x[:, :3] * x[..., 1:],
    "every other": lambda x: x[:, ::2],
    "view": lambda x: torch.tanh(x.view(-1, 2, 2)).flatten(1),
    "reshape": lambda x: torch.reshape(x, (-1, 2, 2))[:, :, 1:].flatten(start_dim=1),
    "normalize": functional.normalize,
    "softmax": lambda x: functional.softmax(x, dim=-1),
    "inplace": lambda x: functional.relu(x * x, inplace=True),
    "numbers": lambda x: 1 - (2.0 * x + 1) / 4 - x * 0.5,
    "differences": lambda x: (x - torch.tanh(x)) / torch.exp(x) + 1 / (2.0 + x**2) - (-x),
    "chunk": lambda x: x.chunk(2, dim=-1)[1] * torch.chunk(x, 2, 1)[0],
    "split": lambda x: torch.cat(x.split([1, 3], dim=1)[::-1], -1) + torch.cat(torch.split(x, 3, -1), -1),
}


class Calls(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.function = nn.Linear(4, 4), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.first(x))


class Block(nn.Module):
    """A residual block of a SimBa-style network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.cell, self.last = nn.Linear(4, 6), nn.GRUCell(6, 5), nn.Linear(5, 2)

    def forward(self, obs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.cell(torch.tanh(self.first(obs)), state)
        return self.last(state), state


def check(network: nn.Module, shape: tuple[int, ...] = (4,)) -> Graph:
    network = network.double().eval()
    graph = trace(network, (Port(name="obs", shape=shape),)).graph
    inputs = np.random.default_rng(0).standard_normal((7, *shape))
    with torch.no_grad():
        expected = network(torch.from_numpy(inputs)).numpy()
    found = run_step(graph, {"obs": inputs}, {})[0]["outputs"]
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-8)
    return graph


@pytest.mark.parametrize("name", CALLS)
def test_a_function_is_read(name: str) -> None:
    check(Calls(CALLS[name]))


SPELLINGS = {f"{name}-{number}": target for name, kind in KINDS.items() for number, target in enumerate(kind.functions)}


@pytest.mark.parametrize("target", SPELLINGS.values(), ids=SPELLINGS)
def test_every_spelling_of_an_activation_is_read(target: Any) -> None:
    assert target in functions()
    check(Calls(target if callable(target) else lambda x: getattr(x, target)()))


MADE: dict[type[nn.Module], Callable[[], nn.Module]] = {
    nn.Linear: lambda: nn.Linear(4, 3, bias=False),
    nn.LayerNorm: lambda: nn.LayerNorm(4, elementwise_affine=False),
    nn.BatchNorm1d: lambda: nn.BatchNorm1d(4),
    nn.PReLU: lambda: nn.PReLU(4),
    nn.LogSoftmax: lambda: nn.LogSoftmax(dim=1),
    nn.Softmax: lambda: nn.Softmax(dim=1),
    nn.RMSNorm: lambda: nn.RMSNorm(4),
    nn.GELU: lambda: nn.GELU("tanh"),
    nn.LeakyReLU: lambda: nn.LeakyReLU(0.3),
    nn.Softplus: lambda: nn.Softplus(beta=2.0),
    CountedLayerNorm: lambda: CountedLayerNorm(nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4)), 1e-5, 6),
    CountedRMSNorm: lambda: CountedRMSNorm(nn.Parameter(torch.ones(4)), 1e-5, 6),
}


@pytest.mark.parametrize("kind", sorted(modules(), key=lambda kind: kind.__name__))
def test_every_registered_module_is_read(kind: type[nn.Module]) -> None:
    if kind is nn.GRUCell:
        return  # below
    torch.manual_seed(0)
    module = MADE.get(kind, kind)()
    for value in [*module.parameters(), *module.buffers()]:
        if value.is_floating_point():
            nn.init.uniform_(value, 0.1, 2.0)
    check(nn.Sequential(nn.Linear(4, 4), module))
    if kind not in (nn.Identity, nn.Dropout, nn.Flatten):
        check(module)


@pytest.mark.parametrize("kind", sorted(modules(), key=lambda kind: kind.__name__))
def test_every_module_with_parameters_can_lose_units(kind: type[nn.Module]) -> None:
    module = nn.GRUCell(4, 4) if kind is nn.GRUCell else MADE.get(kind, kind)()
    assert kind in resizes() or not list(module.parameters())


def test_modules_over_several_axes() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.PReLU(), nn.Flatten(), nn.Linear(6, 2), nn.Softmax(-1))
    graph = check(network, (2, 4))
    assert [group.width for group in find_groups(graph)] == [3]


def test_paths_and_names_are_the_network_s() -> None:
    network = nn.Sequential(nn.Linear(4, 6), Block(6), nn.BatchNorm1d(6), nn.Linear(6, 2)).eval()
    traced = trace(network, OBS)
    assert [group.name for group in find_groups(traced.graph)] == ["0", "1.up"]
    assert {"0.weight", "0.bias", "1.norm.weight", "1.up.weight", "2.weight", "3.bias"} <= set(traced.paths.values())
    for (index, field), path in traced.paths.items():
        value = parameters(traced.graph.nodes[index].op)[field]
        np.testing.assert_array_equal(value, network.get_parameter(path).detach().numpy())
    alone = trace(nn.Linear(4, 2), OBS)
    assert set(alone.paths.values()) == {"weight", "bias"}


def test_a_residual_network_shrinks_losslessly() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), Block(8), Block(8), nn.LayerNorm(8), nn.Linear(8, 2))
    graph = check(network)
    groups = find_groups(graph)
    assert [group.width for group in groups] == [8, 16, 16]
    with torch.no_grad():  # units that are dead already
        for group in groups:
            for node, field, axis, positions in group.slices:
                np.moveaxis(parameters(graph.nodes[node].op)[field], axis, 0)[positions[:, ::2]] = 0.0
    masks = {group.name: np.arange(group.width) % 2 == 1 for group in groups}
    inputs = {"obs": np.random.default_rng(1).standard_normal((5, 4))}
    small = shrink(graph, masks)
    found, expected = run_step(small, inputs, {})[0]["outputs"], run_step(graph, inputs, {})[0]["outputs"]
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-13)
    assert small.parameter_count < graph.parameter_count / 2


def test_a_recurrent_network_keeps_its_state() -> None:
    torch.manual_seed(0)
    network = Recurrent().double()
    traced = trace(network, OBS, states={"state": np.full(5, 0.5)})
    states = initial_states(traced.graph, 3)
    state = torch.full((3, 5), 0.5, dtype=torch.float64)
    for step in range(20):
        inputs = np.random.default_rng(step).standard_normal((3, 4))
        outputs, states = run_step(traced.graph, {"obs": inputs}, states)
        with torch.no_grad():
            expected, state = network(torch.from_numpy(inputs), state)
        np.testing.assert_allclose(outputs["outputs"], expected.numpy(), rtol=0.0, atol=1e-12)
    assert {"cell.weight_ih", "cell.bias_hh"} <= set(traced.paths.values())


def test_tracing_leaves_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(4, 6), Block(6), nn.Dropout(), nn.Linear(6, 2)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    graph = trace(network, OBS).graph
    for node in graph.nodes:
        for value in parameters(node.op).values():
            value += 1.0
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_outputs_that_are_no_values_of_their_own_are_refused() -> None:
    with pytest.raises(CouplingError, match="output 'same' of Sequential is 'obs' itself"):
        trace(nn.Sequential(nn.Identity()), OBS, outputs=("same",))
    with pytest.raises(CouplingError, match="returns 1 values, but 2 tensors are needed"):
        trace(nn.Sequential(nn.Linear(4, 2)), OBS, outputs=("a", "b"))


class Unneeded(Calls):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        hidden = self.first(x)
        return torch.tanh(hidden), torch.cumsum(hidden, 1)


def test_what_no_output_needs_is_left_out() -> None:
    graph = trace(Unneeded(torch.tanh), OBS).graph
    assert len(graph.nodes) == 2
    with pytest.raises(CouplingError, match="'cumsum'"):
        trace(Unneeded(torch.tanh), OBS, outputs=("action", "other"))


class Parameters(nn.Module):
    """Parameters and buffers that the forward pass reads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(5, 4)), nn.Parameter(torch.randn(5))
        self.mean, self.deviation = nn.Buffer(torch.randn(1, 4)), nn.Buffer(torch.rand(4) + 0.5)
        self.gain = nn.Parameter(torch.tensor(3.0))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.linear((x - self.mean) / self.deviation, self.weight, self.bias)
        return functional.layer_norm(x, [5], self.bias, None, 1e-3) * self.gain + functional.layer_norm(x, (5,))


def test_parameters_that_are_read_by_themselves_are_constants() -> None:
    torch.manual_seed(0)
    network = Parameters()
    check(network)
    assert not trace(network, OBS).paths


class MyLinear(nn.Linear):
    """A layer that may do anything."""


class Raw(nn.Module):
    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = nn.Buffer(scale)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def hooked() -> nn.Module:
    layer = nn.Linear(4, 4)
    layer.register_forward_hook(lambda module, inputs, output: 2 * output)
    return nn.Sequential(layer)


def branching(x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


def overwriting(x: Tensor) -> Tensor:
    return torch.tanh(x) + functional.relu(x, inplace=True)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.Threshold(0.1, 20.0)), r"module '1' \(Threshold\) is not supported"),
        (nn.Sequential(MyLinear(4, 4)), r"module '0' \(MyLinear\) is not supported"),
        (nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4))), r"'0' \(ParametrizedLinear\) is not supported"),
        (hooked(), r"module '0' \(Linear\) has hooks"),
        (nn.Sequential(nn.Linear(3, 3)), r"module '0' \(Linear\) \(Affine\): it reads 4 values"),
        (nn.Sequential(nn.BatchNorm1d(4)), r"module '0' \(BatchNorm1d\): it takes .* batch; call network.eval"),
        (nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)), "batch; build it with track_running_stats=True"),
        (nn.Sequential(nn.Softmax(dim=0)), r"module '0' \(Softmax\) is not supported, or not with these arguments"),
        (nn.Sequential(nn.Linear(4, 4, dtype=torch.complex64)), r"module '0' \(Linear\): its weights are complex64"),
        (nn.Sequential(nn.Linear(4, 4, device="meta")), r"module '0' \(Linear\): its weights are on the device 'meta'"),
        (nn.Sequential(nn.Softplus(threshold=5.0)), "Softplus"),
        (Raw(torch.ones(4, 4)), "function 'mul'"),
        (Raw(torch.ones(4, dtype=torch.int64)), "function 'mul'"),
        (Calls(torch.special.erfinv), "function 'special_erfinv'"),
        (Calls(lambda x: x.cumsum(1)), r"method 'cumsum' \(node cumsum\) is not supported"),
        (Calls(lambda x: x + 1j), "'add'"),
        (Calls(lambda x: x / 0), "'truediv'"),
        (Calls(lambda x: functional.softmax(x, dim=0)), "'softmax'"),
        (Calls(lambda x: x[:, 1]), "'getitem'"),
        (Calls(branching), "Calls cannot be traced"),
        (Calls(overwriting), "overwrites a value in place"),
        (Recurrent(), r"Recurrent takes 2 inputs \(obs, state\), not 1"),
        (Calls(lambda x: [x, {"a": x}]), "Calls"),
    ],
)
def test_what_is_not_known_is_refused_by_name(network: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        trace(network, OBS, outputs=("a", "b") if message == "Calls" else ("a",))
    assert "\n" not in str(error.value)
