"""Lowering: what is counted, which path is taken, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunekit import Actor, ArgmaxHead, ClipHead, CouplingError, InputError, Normalizer, TanhHead, lower
from prunekit.activations import KINDS, Activation
from prunekit.policy.oracle import run_oracle
from prunekit.policy.program import Activate, Affine, Normalize


def mlp(*widths: int, bias: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias=bias), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def test_counts_against_a_count_by_hand() -> None:
    program = lower(Actor(mlp(4, 8, 6, 2), ArgmaxHead(), Normalizer([0.0] * 4, [1.0] * 4, 10.0)))
    assert (program.inputs, program.hidden, program.outputs) == (4, (8, 6), 2)
    assert program.units == 14
    assert program.macs == 4 * 8 + 8 * 6 + 6 * 2
    assert program.parameters == 4 * 8 + 8 + 8 * 6 + 6 + 6 * 2 + 2
    assert program.weight_bytes == 4 * 108


def test_a_linear_policy_has_no_units() -> None:
    program = lower(Actor(mlp(11, 3), ClipHead(low=(-1.0,) * 3, high=(1.0,) * 3)))
    assert (program.hidden, program.units, program.macs, program.parameters) == ((), 0, 33, 36)


def test_a_layer_without_bias_stores_zeros() -> None:
    program = lower(Actor(mlp(3, 5, 2, bias=False), ArgmaxHead()))
    assert program.parameters == 3 * 5 + 5 + 5 * 2 + 2
    assert [layer.bias.tolist() for layer in program.layers] == [[0.0] * 5, [0.0] * 2]


def test_ops_come_in_order_as_float32_and_identities_are_left_out() -> None:
    network = nn.Sequential(nn.Identity(), nn.Linear(2, 3), nn.Dropout(), nn.ELU(0.5), nn.Linear(3, 1)).double()
    head = ArgmaxHead(4)
    program = lower(Actor(network, head, Normalizer([1.0, 2.0], [3.0, 4.0], 5.0)))
    assert [type(op) for op in program.ops] == [Normalize, Affine, Activate, Affine]
    normalize, first, activate, last = program.ops
    assert isinstance(normalize, Normalize)
    assert isinstance(first, Affine)
    assert isinstance(last, Affine)
    assert (normalize.mean.tolist(), normalize.scale.tolist(), normalize.clip) == ([1.0, 2.0], [3.0, 4.0], 5.0)
    assert activate == Activate(Activation(name="elu", parameter=0.5))
    assert {values.dtype for op in (first, last) for values in (op.weight, op.bias)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(first.weight, network[1].weight.detach().numpy(), rtol=1e-7)
    assert program.head is head


def test_lowered_weights_are_a_snapshot() -> None:
    network = mlp(2, 3, 1)
    program = lower(Actor(network, ArgmaxHead()))
    before = program.layers[0].weight.copy()
    with torch.no_grad():
        network[0].weight.add_(1.0)
    np.testing.assert_array_equal(program.layers[0].weight, before)


class TwoHeads(nn.Module):
    def __init__(self, swap: bool) -> None:
        super().__init__()
        self.trunk, self.mean, self.log_deviation, self.swap = nn.Linear(3, 7), nn.Linear(7, 2), nn.Linear(7, 4), swap

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.trunk(x))
        mean, deviation = self.mean(hidden), self.log_deviation(hidden)
        return (deviation, mean) if self.swap else (mean, deviation)


@pytest.mark.parametrize(("swap", "outputs"), [(False, 2), (True, 4)])
def test_the_first_of_two_outputs_is_lowered(swap: bool, outputs: int) -> None:
    network = TwoHeads(swap)
    program = lower(Actor(network, ArgmaxHead()))
    assert (program.hidden, program.outputs) == ((7,), outputs)
    chosen = network.log_deviation if swap else network.mean
    np.testing.assert_array_equal(program.layers[-1].weight, chosen.weight.detach().numpy())


def broken_parameter(actor: Actor, name: str, value: float) -> None:
    tensor = dict(actor.named_parameters()) | dict(actor.named_buffers())
    tensor[name].data.view(-1)[-1] = value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("parameter", "named"),
    [
        ("network.0.weight", "'0.weight'"),
        ("network.2.bias", "'2.bias'"),
        ("normalizer.mean", "'mean'"),
        ("normalizer.scale", "'scale'"),
    ],
)
def test_values_that_are_not_finite_are_refused_by_name(parameter: str, named: str, value: float) -> None:
    actor = Actor(mlp(3, 4, 2), ArgmaxHead(), Normalizer([0.0] * 3, [1.0] * 3, 10.0))
    lower(actor)
    broken_parameter(actor, parameter, value)
    with pytest.raises(InputError, match=named):
        lower(actor)


@pytest.mark.parametrize(
    ("actor", "words"),
    [
        (Actor(nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2)), ArgmaxHead()), "cannot read 4 values"),
        (Actor(mlp(3, 2), ArgmaxHead(), Normalizer([0.0] * 4, [1.0] * 4, 9.0)), "normalizer .*but observations have 3"),
        (Actor(mlp(3, 2), ClipHead(low=(0.0,), high=(1.0,))), "network's 2 outputs: .*constants are for 1"),
    ],
)
def test_widths_that_do_not_fit_together_are_refused(actor: Actor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        lower(actor)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(x + self.first(x))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)), "LayerNorm"),
        (lambda: nn.Sequential(nn.Linear(3, 2), nn.Softmax(dim=1)), "Softmax"),
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.GELU(approximate="tanh"), nn.Linear(4, 2)), "GELU"),
        (Residual, "add"),
        (nn.Sequential, "no Linear layer"),
    ],
)
def test_what_is_no_chain_is_refused_by_name(make: Callable[[], nn.Module], named: str) -> None:
    with pytest.raises(CouplingError, match=named):
        lower(Actor(make(), ArgmaxHead()))


def test_oracle_of_a_program_worked_by_hand() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 2.0], [-1.0, 0.0]]))
        network[0].bias.copy_(torch.tensor([0.5, 0.0]))
        network[2].weight.copy_(torch.tensor([[2.0, 10.0]]))
        network[2].bias.copy_(torch.tensor([-1.0]))
    actor = Actor(network, TanhHead(low=(0.0,), high=(4.0,)), Normalizer([1.0, 0.0], [2.0, 1.0], 3.0))
    observations = np.asarray([[2.0, -0.5], [-9.0, 1.0]])  # normalized: (2, -0.5) and, clipped, (-3, 1)
    action, scores = run_oracle(lower(actor), observations)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, [[2.0], [29.0]], rtol=1e-15)
    np.testing.assert_allclose(action, [[2.0 + 2.0 * np.tanh(2.0)], [4.0]], rtol=1e-15)
    clipped, _ = run_oracle(replace(lower(actor), head=ClipHead(low=(2.5,), high=(7.0,))), observations)
    assert clipped.tolist() == [[2.5], [7.0]]
    chosen, _ = run_oracle(replace(lower(actor), head=ArgmaxHead(3)), observations)
    assert chosen.dtype == np.int64
    assert chosen.tolist() == [3, 3]


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_activation_is_its_torch_module_in_float64(name: str) -> None:
    kind = KINDS[name]
    activation = Activation(name=name, parameter=0.3 if kind.attribute else kind.default)
    x = torch.linspace(-15.0, 15.0, 301, dtype=torch.float64)
    np.testing.assert_allclose(
        activation.reference(x.numpy()), activation.to_module()(x).numpy(), rtol=1e-12, atol=1e-14
    )
