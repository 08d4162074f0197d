"""Law 10 on ONNX files that torch exports: the graph gives ONNX Runtime's actions, in the ops that were meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from onnx_files import agreeing, exported, ops_of
from torch import Tensor, nn
from torch.nn import functional

from prunekit.formats.onnx_file import parse_onnx

MEAN, STD = torch.tensor([3.0, -2.0, 0.5, 100.0, 0.0]), torch.tensor([2.0, 0.3, 0.1, 7.0, 1.0])


class Network(nn.Module):
    """A function of layers and one input."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)


class TwoInputs(Network):
    """The same of two inputs."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return self.function(x, y, *self.layers)


def linear(inputs: int, outputs: int, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs)


ACTIVATIONS: list[tuple[nn.Module, list[str]]] = [
    (nn.ReLU(), ["relu"]),
    (nn.Tanh(), ["tanh"]),
    (nn.Sigmoid(), ["sigmoid"]),
    (nn.ELU(0.7), ["elu"]),
    (nn.SELU(), ["selu"]),
    (nn.CELU(0.7), ["celu"]),
    (nn.GELU(), ["gelu"]),
    (nn.GELU("tanh"), ["gelu_tanh"]),
    (nn.SiLU(), ["silu"]),
    (nn.Mish(), ["mish"]),
    (nn.Softplus(), ["softplus"]),
    (nn.Softplus(2.0), ["softplus"]),
    (nn.Softsign(), ["softsign"]),
    (nn.Hardtanh(-0.5, 0.7), ["Clip"]),
    (nn.ReLU6(), ["Clip"]),
    (nn.LeakyReLU(0.2), ["leaky_relu"]),
    (nn.PReLU(), ["PReLU"]),
    (nn.PReLU(8), ["PReLU"]),
    (nn.Hardsigmoid(), ["hardsigmoid"]),
    (nn.Hardswish(), ["hardswish"]),
    (nn.LogSigmoid(), ["softplus", "ScaleShift"]),
    (nn.Softmax(-1), ["Softmax"]),
    (nn.LogSoftmax(-1), ["LogSoftmax"]),
    (nn.LayerNorm(8), ["LayerNorm"]),
    (nn.LayerNorm(8, elementwise_affine=False), ["LayerNorm"]),
    (nn.BatchNorm1d(8), []),
    (nn.Dropout(0.5), []),
    (nn.Identity(), []),
]
NETWORKS: dict[str, tuple[nn.Module, tuple[int, ...], list[str]]] = {
    "normalizer": (
        Network(lambda x, a: a(((x - MEAN) / torch.sqrt(STD + 1e-8)).clamp(-5, 5)), linear(5, 3)),
        (1, 5),
        ["Normalize", "Affine"],
    ),
    "residual": (
        Network(lambda x, a, b: a(x) + torch.tanh(b(a(x))), linear(5, 6), linear(6, 6)),
        (1, 5),
        ["Affine", "Affine", "tanh", "Add"],
    ),
    "direction": (
        Network(lambda x, a: functional.normalize(a(x), dim=-1), linear(5, 6)),
        (1, 5),
        ["Affine", "L2Norm"],
    ),
    "scaled action": (
        Network(lambda x, a: torch.tanh(a(x)) * torch.tensor([2.0, 3.0]) + torch.tensor([0.5, -1.0]), linear(5, 2)),
        (1, 5),
        ["Affine", "tanh", "ScaleShift"],
    ),
    "history": (Network(lambda x, a: a(x.reshape(x.shape[0], -1)), linear(70, 2)), (1, 10, 7), ["Flatten", "Affine"]),
    "history turned": (
        Network(lambda x, a: a(x.transpose(1, 2).flatten(1)), linear(70, 2)),
        (1, 10, 7),
        ["Flatten", "Take", "Affine"],
    ),
    "norm per step": (
        Network(lambda x, a, n, b: b(n(a(x)).flatten(1)), linear(7, 4), nn.LayerNorm(4), linear(40, 2)),
        (1, 10, 7),
        ["Affine", "LayerNorm", "Flatten", "Affine"],
    ),
    "mean of two": (Network(lambda x, a: torch.tanh(a(x).chunk(2, -1)[0]), linear(5, 8)), (1, 5), ["Affine", "tanh"]),
    "parts": (
        Network(lambda x, a: a(torch.cat([x[:, 3:], x[:, :2]], 1)), linear(4, 2)),
        (1, 5),
        ["Slice", "Slice", "Concat", "Affine"],
    ),
    "reordered": (Network(lambda x, a: a(x[:, [4, 0, 0, 2]]), linear(4, 2)), (1, 5), ["Take", "Affine"]),
    "discrete": (Network(lambda x, a: a(x).argmax(-1), linear(5, 4)), (1, 5), ["Affine", "Argmax"]),
    "discrete by max": (Network(lambda x, a: a(x).max(-1)[1], linear(5, 4)), (1, 5), ["Affine", "Argmax"]),
    "blocks of softmax": (
        Network(lambda x, a: functional.softmax(a(x).view(-1, 2, 4), -1).view(-1, 8), linear(5, 8)),
        (1, 5),
        ["Affine", "Reshape", "Softmax", "Flatten"],
    ),
    "unsqueezed": (Network(lambda x, a: a(x.unsqueeze(1)).squeeze(1), linear(5, 4)), (1, 5), ["Affine"]),
    "two layers": (Network(lambda x, a: a(x) @ torch.ones(4, 3), linear(5, 4)), (1, 5), ["Affine"] * 2),
}  # fmt: skip
GENERIC: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "dueling": (
        Network(lambda x, v, a: v(x) + a(x) - a(x).mean(-1, keepdim=True), linear(5, 1), linear(5, 4)), (1, 5),
    ),
    "functions": (
        Network(
            lambda x, a: torch.exp(-(a(x) ** 2)) + torch.sin(a(x)) * torch.cos(x[:, :4])
            + torch.sqrt(torch.abs(x[:, 1:]) + 0.1) + torch.log(1 + a(x).abs()) / (1 + x[:, :4] ** 2),
            linear(5, 4),
        ),
        (1, 5),
    ),
    "standardised": (
        Network(
            lambda x, a: (a(x) - a(x).mean(-1, keepdim=True)) / (a(x).std(-1, keepdim=True) + 1e-3), linear(5, 4),
        ),
        (1, 5),
    ),
    "where": (Network(lambda x, a, b: torch.where(a(x) > 0.2, a(x), -b(x)), linear(5, 4), linear(5, 4, 1)), (1, 5)),
    "extremes": (
        Network(lambda x, a, b: torch.maximum(a(x), torch.minimum(b(x), x[:, :4])), linear(5, 4), linear(5, 4, 1)),
        (1, 5),
    ),
    "hard edges": (
        Network(lambda x, a: nn.Hardshrink(0.3)(a(x)) + nn.Softshrink(0.2)(a(x)) + nn.Tanhshrink()(a(x)), linear(5, 4)),
        (1, 5),
    ),
    "signs": (Network(lambda x, a: a((x > 0).float()), linear(5, 3)), (1, 5)),
    "mixture": (
        Network(
            lambda x, a, b: (torch.softmax(a(x), -1).unsqueeze(-1) * b(x).view(-1, 3, 2)).sum(1),
            linear(5, 3), linear(5, 6, 1),
        ),
        (1, 5),
    ),
    "mean over steps": (Network(lambda x, a: a(x).mean(1), linear(7, 4)), (1, 10, 7)),
    "padded": (Network(lambda x, a: a(functional.pad(x, (1, 2), value=0.5)), linear(8, 3)), (1, 5)),
    "repeated": (Network(lambda x, a: a(x.repeat(1, 2)), linear(10, 3)), (1, 5)),
    "zeros": (Network(lambda x, a: a(torch.cat([x, torch.zeros_like(x)], -1)), linear(10, 3)), (1, 5)),
    "range": (Network(lambda x, a: a(x * torch.arange(x.shape[1]).float()), linear(5, 3)), (1, 5)),
    "log of sum": (Network(lambda x, a: torch.logsumexp(a(x), -1, keepdim=True), linear(5, 3)), (1, 5)),
    "gated": (Network(lambda x, a: functional.glu(a(x)), linear(5, 6)), (1, 5)),
}  # fmt: skip


def behind_layers(activation: nn.Module) -> nn.Module:
    if isinstance(activation, nn.BatchNorm1d):
        with torch.no_grad():
            for value in (activation.running_mean, activation.weight, activation.bias):
                assert value is not None
                value.copy_(torch.linspace(-1.0, 1.5, 8))
            assert activation.running_var is not None
            activation.running_var.copy_(torch.linspace(0.5, 2.0, 8))
    return nn.Sequential(linear(5, 8), activation, linear(8, 3))


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize(("activation", "ops"), ACTIVATIONS, ids=lambda value: type(value).__name__)
def test_activations_and_norms(activation: nn.Module, ops: list[str], opset: int) -> None:
    content = exported(behind_layers(activation), (1, 5), opset=opset, batch=opset == 13)
    assert ops_of(agreeing(content)) == ["Affine", *ops, "Affine"]


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, opset: int) -> None:
    network, shape, ops = NETWORKS[name]
    assert ops_of(agreeing(exported(network, shape, opset=opset, batch=opset == 11))) == ops


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("name", GENERIC)
def test_what_has_no_op_runs_in_pieces(name: str, opset: int) -> None:
    network, shape = GENERIC[name]
    agreeing(exported(network, shape, opset=opset))


@pytest.mark.parametrize("opset", [9, 20])
def test_the_oldest_and_a_new_opset(opset: int) -> None:
    network = Network(
        lambda x, a, b, c: b(torch.tanh(c(functional.elu(a(x.view(x.size(0), -1)))))), linear(6, 8), linear(4, 2),
        linear(8, 4),
    )  # fmt: skip
    content = exported(network, (1, 2, 3), opset=opset)
    assert parse_onnx(content, "policy.onnx").opset_import[0].version == opset
    assert ops_of(agreeing(content)) == ["Flatten", "Affine", "elu", "Affine", "tanh", "Affine"]


def torch_s_own(*activations: nn.Module) -> nn.Module:
    layers = [part for at, one in enumerate(activations) for part in (one, linear(8, 8, at))]
    return nn.Sequential(linear(5, 8), *layers, linear(8, 3))


def test_torch_s_newer_exporter() -> None:
    network = torch_s_own(nn.GELU(), nn.SiLU(), nn.Softplus(2.0), nn.RMSNorm(8), nn.LayerNorm(8), nn.Hardsigmoid())
    found = agreeing(exported(network, (1, 5), dynamo=True, opset=18))
    assert [name for name in ops_of(found) if name != "Affine"] == [
        "gelu", "silu", "softplus", "RMSNorm", "LayerNorm", "hardsigmoid",
    ]  # fmt: skip
    other: dict[str, Any] = {"dynamo": True, "opset": 18, "batch": False}
    assert ops_of(agreeing(exported(NETWORKS["normalizer"][0], (1, 5), **other))) == ["Normalize", "Affine"]
    agreeing(exported(GENERIC["mixture"][0], (1, 5), **other))


def test_two_observations() -> None:
    network = TwoInputs(
        lambda x, y, a, b: b(torch.cat([x, torch.relu(a(y).flatten(1))], -1)), linear(4, 3), linear(11, 2)
    )
    found = agreeing(exported(network, (1, 5), (1, 2, 4)))
    assert [(port.name, port.shape) for port in found.graph.inputs] == [("obs", (5,)), ("in_1", (2, 4))]
    assert "-2" not in found.recognised
    assert found.recognised.startswith("ONNX, opset 17, ")
