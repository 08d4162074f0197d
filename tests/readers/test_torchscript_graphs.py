"""Law 10 for TorchScript: the graph that is read computes what the module does, scripted, traced and frozen."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from torch import Tensor, nn
from torch.nn import functional as F
from torchscript_files import FORMS, saved

import prunekit.ops  # noqa: F401  (registers them)
from prunekit.graph.onnx import to_onnx
from prunekit.graph.reference import run_step
from prunekit.readers.foreign import ForeignGraph
from prunekit.readers.torchscript.graph import read_torchscript_graph

INPUTS, WIDTH = 6, 8


def assert_same(path: Path, module: Any, inputs: int = INPUTS, width: int | None = None) -> ForeignGraph:
    """Compare the graph in float32 with the module itself, one observation after the other."""
    read = read_torchscript_graph(path, width=width)
    (port,) = read.graph.inputs
    assert port.shape == (inputs,)
    assert read.graph.outputs == ("action", "outputs")
    seen = 2.0 * torch.randn(8, inputs, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        answers = [module(row[None].clone()) for row in seen]
    answers = [answer[0] if isinstance(answer, tuple) else answer for answer in answers]
    wanted = np.stack([answer.double().numpy().reshape(-1) for answer in answers])
    made, _ = run_step(read.graph, {port.name: seen.numpy()}, {}, np.float32)
    key = "outputs" if answers[0].is_floating_point() else "action"
    np.testing.assert_allclose(made[key].reshape(8, -1), wanted, rtol=1e-5, atol=1e-5)
    to_onnx(read.graph)
    return read


LAYERS: dict[str, Callable[[], nn.Module]] = {
    **{
        kind.__name__: kind
        for kind in (
            *(nn.ReLU, nn.ReLU6, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid),
            *(nn.Softplus, nn.Softsign, nn.LeakyReLU, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.PReLU, nn.RReLU),
            *(nn.LogSigmoid, nn.Softshrink, nn.Hardshrink, nn.Tanhshrink, nn.Dropout, nn.AlphaDropout, nn.Identity),
            *(nn.Flatten, nn.Softmin),
        )
    },
    "GELU of tanh": lambda: nn.GELU("tanh"),
    "ELU with a number": lambda: nn.ELU(0.3),
    "CELU with a number": lambda: nn.CELU(0.7),
    "LeakyReLU with a slope": lambda: nn.LeakyReLU(0.2),
    "Softplus with a number": lambda: nn.Softplus(2.0),
    "PReLU per unit": lambda: nn.PReLU(WIDTH),
    "Hardtanh with bounds": lambda: nn.Hardtanh(-0.5, 2.0),
    "Threshold": lambda: nn.Threshold(0.1, 0.4),
    "GLU": lambda: nn.Sequential(nn.GLU(), nn.Linear(WIDTH // 2, WIDTH)),
    "Softmax": lambda: nn.Softmax(-1),
    "LogSoftmax": lambda: nn.LogSoftmax(1),
    "LayerNorm": lambda: nn.LayerNorm(WIDTH),
    "LayerNorm without weights": lambda: nn.LayerNorm(WIDTH, elementwise_affine=False),
    "RMSNorm": lambda: nn.RMSNorm(WIDTH),
    "BatchNorm": lambda: nn.BatchNorm1d(WIDTH),
    "GroupNorm": lambda: nn.GroupNorm(2, WIDTH),
    "Linear without bias": lambda: nn.Linear(WIDTH, WIDTH, bias=False),
    **{
        f"{kind.__name__} in place": lambda kind=kind: kind(inplace=True)  # type: ignore[misc]
        for kind in (nn.ReLU, nn.ReLU6, nn.ELU, nn.SELU, nn.CELU, nn.SiLU, nn.Mish, nn.LeakyReLU, nn.Hardtanh)
    },
    "Hardswish in place": lambda: nn.Hardswish(inplace=True),
    "Dropout in place": lambda: nn.Dropout(inplace=True),
}


def sequence(name: str, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layer = LAYERS[name]()
    for parameter in [*layer.parameters(), *layer.buffers()]:
        if parameter.is_floating_point():
            with torch.no_grad():
                parameter.uniform_(0.2, 1.5)  # neither the ones nor the zeros that torch begins with
    return nn.Sequential(nn.Linear(INPUTS, WIDTH), layer, nn.Linear(WIDTH, 3))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.filterwarnings("ignore")
def test_every_layer(name: str, form: str, tmp_path: Path) -> None:
    assert_same(*saved(form, sequence(name), tmp_path / "policy.ts", INPUTS))


@st.composite
def networks(draw: DrawFn) -> nn.Module:
    """Draw layers in a row, some of them with a residual connection, after a normalizer in buffers."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    blocks: list[nn.Module] = [Normalizer(), nn.Linear(INPUTS, WIDTH)]
    for name in draw(st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=4)):
        inner = nn.Sequential(LAYERS[name](), nn.Linear(WIDTH, WIDTH))
        blocks.append(Residual(inner) if draw(st.booleans()) else inner)
    return nn.Sequential(*blocks, nn.Linear(WIDTH, 3)).eval()


class Normalizer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.variance = nn.Buffer(torch.randn(INPUTS)), nn.Buffer(torch.rand(INPUTS) + 0.2)

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / torch.sqrt(self.variance + 1e-5)).clamp(-5.0, 5.0)


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.inner(x.clone())
        return result


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=40, deadline=None)
@given(network=networks(), form=st.sampled_from(sorted(FORMS)))
def test_generated_networks(network: nn.Module, form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert_same(*saved(form, network, Path(folder) / "policy.ts", INPUTS))


Body = Callable[["Policy", Tensor], Tensor]
CALLS: dict[str, Body] = {
    "F.linear": lambda p, h: F.linear(h, p.weight, p.bias),
    "addmm": lambda p, h: torch.addmm(p.bias, h, p.weight.t()),
    "matmul": lambda p, h: torch.matmul(h, p.weight.t()) + p.bias,
    "@": lambda p, h: h @ p.weight,
    "a vector times a matrix": lambda p, h: (h[0] @ p.weight).unsqueeze(0),
    "a matrix times a vector": lambda p, h: torch.mv(p.weight, h[0]).view(1, -1),
    "a matrix times a column": lambda p, h: (p.weight @ h.t()).t(),
    "F.normalize": lambda p, h: F.normalize(h, dim=-1),
    "F.normalize with epsilon": lambda p, h: F.normalize(h, p=2.0, dim=1, eps=3.0),
    "normalized by hand": lambda p, h: h / (h.norm(dim=-1, keepdim=True) + 0.1),
    "layer norm by hand": lambda p, h: (h - h.mean(-1, keepdim=True))
    / torch.sqrt(h.var(-1, keepdim=True, unbiased=False) + 1e-5),
    "standardised": lambda p, h: (h - h.mean(dim=1, keepdim=True)) / (h.std(dim=1, keepdim=True) + 1e-3),
    "rms norm by hand": lambda p, h: h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6) * p.bias,
    "layer norm": lambda p, h: F.layer_norm(h, [8], p.bias, p.bias),
    "softmax": lambda p, h: torch.softmax(h, dim=-1),
    "scaled": lambda p, h: 2.0 * h + 1,
    "scaled by an integer": lambda p, h: h * 3 - 2,
    "one minus": lambda p, h: 1 - h,
    "rsub": lambda p, h: torch.rsub(h, 2.0),
    "divided": lambda p, h: h / 4.0,
    "divided by buffers": lambda p, h: (h - p.bias) / torch.sqrt(p.variance + 1e-5),
    "a number divided": lambda p, h: 1.0 / (2.0 + torch.exp(h)),
    "powers": lambda p, h: h**2 + h**3 * 0.1,
    "elementary": lambda p, h: torch.sin(h) + torch.cos(h) * torch.exp(-torch.abs(h)) + torch.square(h).sqrt(),
    "clamped": lambda p, h: torch.clamp(h, -0.5, 0.7),
    "clamped below": lambda p, h: h.clamp(min=-0.2),
    "clamped by buffers": lambda p, h: torch.max(torch.min(h, p.variance), -p.variance),
    "maximum of two": lambda p, h: torch.maximum(h, 0.5 * torch.flip(h, [1])),
    "minimum of two": lambda p, h: torch.min(h, h * p.bias),
    "tanh to bounds": lambda p, h: torch.tanh(h) * (p.variance + 1.0) / 2.0 + p.bias,
    "where": lambda p, h: torch.where(h > 0.1, h, 0.2 * h),
    "where at most": lambda p, h: torch.where(h <= 0.1, h, p.bias),
    "a mask": lambda p, h: h * (h > 0).float(),
    "cat and slice": lambda p, h: torch.cat([h[:, 3:], h[:, :3]], dim=1),
    "cat with the observation": lambda p, h: torch.cat((h, h[..., 2:4]), -1)[:, 2:],
    "split": lambda p, h: torch.cat(h.split([3, 5], dim=1)[::-1], dim=-1),
    "chunk": lambda p, h: torch.cat([h.chunk(2, -1)[1].sigmoid(), h.chunk(2, -1)[0]], -1),
    "unbind": lambda p, h: torch.stack(h.unbind(1)[::-1], 1),
    "view and transpose": lambda p, h: h.view(-1, 2, 4).transpose(1, 2).reshape(h.shape[0], -1),
    "permute": lambda p, h: h.reshape(1, 2, 4).permute(0, 2, 1).flatten(1),
    "squeeze": lambda p, h: torch.relu(h.squeeze(0)).unsqueeze(0),
    "a history": lambda p, h: F.linear(h.view(1, 2, 4), p.weight[:4, :4], p.bias[:4]).flatten(1),
    "a history's last": lambda p, h: torch.cat([h.view([1, 2, 4])[:, -1], h.view([1, 2, 4]).mean(1)], -1),
    "mean over axes": lambda p, h: h + h.view(1, 2, 4).mean(dim=(1, 2)).unsqueeze(1),
    "sum": lambda p, h: h - h.sum(-1, keepdim=True) * 0.1,
    "expand": lambda p, h: h.view(1, 2, 4).mean(2, keepdim=True).expand(1, 2, 4).reshape(1, 8),
    "repeat": lambda p, h: h[:, :2].repeat(1, 4),
    "gathered": lambda p, h: h[:, [7, 0, 0, 3, 2, 1, 6, 5]],
    "gathered by a buffer": lambda p, h: h.index_select(1, p.order),
    "padded": lambda p, h: F.pad(h[:, :5], [1, 2], value=0.5),
    "detached": lambda p, h: h.detach().contiguous().clone().to(torch.float32),
    "dropped out": lambda p, h: F.dropout(h, 0.5, training=False),
    "residual": lambda p, h: h + torch.relu(F.linear(h, p.weight, p.bias)),
    "gate": lambda p, h: h * torch.sigmoid(F.linear(h, p.weight)),
    "swish by hand": lambda p, h: torch.sigmoid(h) * h,
    "gelu by hand": lambda p, h: 0.5 * h * (1.0 + torch.erf(h / 1.4142135623730951)),
    "lerp": lambda p, h: torch.lerp(h, torch.tanh(h), 0.3),
    "addcmul": lambda p, h: torch.addcmul(p.bias, h, p.variance, value=0.5),
    "log softmax": lambda p, h: F.log_softmax(h, dim=1),
    "logsumexp": lambda p, h: h - torch.logsumexp(h, 1, keepdim=True),
}  # fmt: skip


class Policy(nn.Module):
    """One of ``CALLS`` between two layers, with raw parameters and buffers."""

    weight: Tensor
    bias: Tensor
    variance: Tensor
    order: Tensor

    def __init__(self, call: str) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.last = nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, 3)
        self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH))
        self.bias = nn.Parameter(torch.rand(WIDTH) + 0.1)
        self.register_buffer("variance", torch.rand(WIDTH) + 0.5)
        self.register_buffer("order", torch.tensor([3, 1, 2, 0, 7, 6, 5, 4]))
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(CALLS[self.call](self, self.first(x)))
        return result


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.filterwarnings("ignore")
def test_every_call_as_it_is_traced(call: str, tmp_path: Path) -> None:
    assert_same(*saved("traced", Policy(call), tmp_path / "policy.ts", INPUTS))
