"""TorchScript is evaluated as its own runtime does: generated networks, and what torch's modules and scripts write."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchscript_files import FORMS, saved, spaces_for, with_body

from prunekit.compression.torchscript_teacher import ROWS, read_torchscript
from prunekit.errors import ArtifactError

INPUTS, HIDDEN = 4, 8
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
    "Threshold": lambda: nn.Threshold(0.1, 0.0),
    "GLU": lambda: nn.Sequential(nn.GLU(), nn.Linear(HIDDEN // 2, HIDDEN)),
    "Softmax": lambda: nn.Softmax(-1),
    "LogSoftmax": lambda: nn.LogSoftmax(1),
    "LayerNorm": lambda: nn.LayerNorm(HIDDEN),
    "RMSNorm": lambda: nn.RMSNorm(HIDDEN),
    "BatchNorm": lambda: nn.BatchNorm1d(HIDDEN),
    "GroupNorm": lambda: nn.GroupNorm(2, HIDDEN),
    "ReLU in place": lambda: nn.ReLU(inplace=True),
    "ELU in place": lambda: nn.ELU(inplace=True),
    "Hardtanh in place": lambda: nn.Hardtanh(inplace=True),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 4)), nn.Conv1d(2, 3, 2, padding=1), nn.Flatten(), nn.Linear(15, HIDDEN)
    ),
}


def assert_runs_as_torch_does(path: Path, module: Any, inputs: int = INPUTS) -> None:
    seen = torch.randn(7, inputs, generator=torch.Generator().manual_seed(1)) * 2.0
    with torch.no_grad():
        answer = module(seen.clone())
    expected = (answer[0] if isinstance(answer, tuple) else answer).double().numpy()
    teacher = read_torchscript(path, spaces_for(inputs, expected.shape[1]))
    np.testing.assert_allclose(teacher.responses(seen.numpy()), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(teacher.act(seen[3].numpy()), expected[3], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(14))
@pytest.mark.filterwarnings("ignore")
def test_generated_networks(seed: int, form: str, tmp_path: Path) -> None:
    """Every kind of layer occurs in one of the networks, three in each."""
    torch.manual_seed(seed)
    names = [list(LAYERS)[(3 * seed + offset) % len(LAYERS)] for offset in range(3)]
    modules: list[nn.Module] = [nn.Linear(INPUTS, HIDDEN)]
    for name in names:
        modules += [LAYERS[name](), nn.Linear(HIDDEN, HIDDEN)]
    path, module = saved(form, nn.Sequential(*modules, nn.Linear(HIDDEN, 2)), tmp_path / "policy.ts")
    assert_runs_as_torch_does(path, module)


class Language(nn.Module):
    """Loops, branches, lists, dictionaries, texts, assertions, optional values and writes into results of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3, 0.4]))
        self.names, self.pair, self.table, self.power = ["a", "b"], (1, 2.5), {"a": 2, "b": 3}, 3

    def forward(self, x: Tensor, extra: float | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        assert x.dim() == 2, f"bad {x.shape}"
        if x.size(1) != 4:
            raise ValueError(f"{x.size(1)} values")
        x = (x - self.mean) / (self.mean + 1e-5) ** 0.5
        for layer in self.layers:
            x = torch.tanh(layer(x))
        if extra is not None:
            x = x + extra
        columns = [x[:, i] * float(i + 1) for i in range(x.size(1))]
        columns.append(columns[0] - columns[-1])
        y = torch.stack(columns, 1)[:, 1:]
        count = 0
        while count < self.power:
            y = y + count
            count += 1
            if count == 2:
                break
        y = functional.normalize(y, dim=-1) if self.power > 2 else -y
        y = y.clamp(-0.9, 0.9)
        y[:, 0] = 0.5
        y[:, 1:3] *= 2
        y += 1
        for name in self.names:
            if name == "b" and name in self.table:
                y = y * self.table[name]
        print("left in", x.shape)  # noqa: T201
        y = self.norm(y)
        y = y.masked_fill(y > 1.5, float("inf")).clamp(max=5.0)
        left, right = y.chunk(2, -1)
        first, rest = y.split([1, 3], -1)
        best = functional.one_hot(functional.softmax(y, -1).argmax(-1), 4)
        nothing = x.new_zeros(x.shape[0], 2)
        most, _ = y.max(dim=1, keepdim=True)
        z = torch.cat([right, left + nothing], -1) + torch.where(y > 0, y, 0.1 * y) + best * self.pair[1]
        w = z.view(-1, 2, 2).transpose(1, 2).reshape(x.shape[0], -1) + most + first + rest.mean(1, keepdim=True)
        return w + int(2.7) * (7 // 2) - 7 % 4, {"y": y}


class Shapes(nn.Module):
    """Histories of observations, as walking robots' policies take them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.actor = nn.Linear(8, 3), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        history = x.reshape(-1, 3, 4)
        batch, steps, width = history.shape
        newest = history[:, -1, :]
        parts = self.encoder(history[:, : steps - 1].reshape(batch, -1)[:, : 2 * width].detach())
        result: Tensor = self.actor(torch.cat((newest, functional.normalize(parts, p=2.0, dim=-1)), dim=1))
        return result


class OneAtATime(nn.Module):
    """Written for one observation."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        history = x.view(1, 2, 2)
        result: Tensor = torch.tanh(self.layer(history.flatten(1)))
        return result


class OfTheBatch(nn.Module):
    """Answers one observation otherwise than several: it takes their mean away."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0, keepdim=True) + x)[:, :2]


class WholeAgent(nn.Module):
    """Actor and critic, of which only the actor is called, and a normalizer."""

    def __init__(self) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
        self.critic = nn.Sequential(nn.Linear(4, 50), nn.Tanh(), nn.Linear(50, 1))
        self.register_buffer("mean", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.actor(x - self.mean)
        return result


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["scripted", "frozen"])
def test_what_the_language_can_say(form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, module = saved(form, Language(), tmp_path / "policy.ts")
    with torch.no_grad():
        module(torch.zeros(1, 4))
    capfd.readouterr()
    read_torchscript(path, spaces_for(4, 4))
    assert capfd.readouterr().out == "", "what a file prints is not printed"
    assert_runs_as_torch_does(path, module)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", FORMS)
def test_histories(form: str, tmp_path: Path) -> None:
    path, module = saved(form, Shapes(), tmp_path / "policy.ts", 12)
    if form == "traced":
        module = torch.jit.script(Shapes().eval())
        module.load_state_dict(torch.jit.load(str(path)).state_dict())
    assert_runs_as_torch_does(path, module, 12)


@pytest.mark.parametrize("kind", [OneAtATime, OfTheBatch])
def test_policies_for_one_observation_are_asked_about_one_at_a_time(kind: type[nn.Module], tmp_path: Path) -> None:
    path, module = saved("scripted", kind(), tmp_path / "policy.ts")
    seen = torch.randn(5, 4)
    with torch.no_grad():
        expected = np.concatenate([module(row[None]).numpy() for row in seen])
    np.testing.assert_allclose(read_torchscript(path, spaces_for(4, 2)).responses(seen.numpy()), expected, atol=1e-6)


@pytest.mark.parametrize("form", ["scripted", "traced"])
def test_only_what_an_answer_takes_is_counted(form: str, tmp_path: Path) -> None:
    path, _ = saved(form, WholeAgent(), tmp_path / "policy.ts")
    size = read_torchscript(path, spaces_for(4, 2)).size
    assert size is not None
    assert size.parameters == 4 * 5 + 5 + 5 * 2 + 2


def test_many_observations_are_answered_in_parts(tmp_path: Path) -> None:
    path, module = saved("scripted", WholeAgent(), tmp_path / "policy.ts")
    seen = torch.randn(3 * ROWS + 1, 4)
    with torch.no_grad():
        expected = module(seen).numpy()
    np.testing.assert_allclose(read_torchscript(path, spaces_for(4, 2)).responses(seen.numpy()), expected, atol=1e-6)


def test_branches_that_are_not_taken_may_hold_anything(tmp_path: Path) -> None:
    body = (
        "if torch.gt(torch.size(x, 0), 1000000):\n  torch.save(x, 'y')\n  ops.prim.RaiseException('no')\n  import os\n"
        "else:\n  pass\nreturn torch.slice(x, 1, 0, 2)"
    )
    seen = np.ones((3, 4), np.float32)
    answers = read_torchscript(with_body(tmp_path, body), spaces_for(4, 2)).responses(seen)
    assert answers.tolist() == seen[:, :2].tolist()


SCALARS = {
    "7 // -2 and -7 % 3": ("torch.add(torch.floordiv(7, -2), torch.remainder(-7, 3))", -2),
    "5 / 2": ("torch.div(5, 2)", 2.5),
    "a power": ("torch.pow(2, 10)", 1024),
    "floor and ceil": ("torch.add(torch.floor(2.7), torch.ceil(2.1))", 5),
    "round to even": ("torch.round(2.5)", 2.0),
    "a list's length": ("torch.len(torch.add([1, 2], [3]))", 3),
    "equal lists": ("int(torch.eq([1, 2], [1, 2]))", 1),
    "an item from the end": ("[1, 2, 3][-1]", 3),
    "part of a list": ("torch.len(torch.slice([1, 2, 3], 1))", 2),
    "a conversion": ("annotate(int, torch.sum(torch.ones([3], dtype=4)))", 3),
    "a choice": ("1 if torch.__isnot__(x, None) else 2", 1),
    "text": ('torch.len(torch.format("{} of {}", 3, [1, 2]))', 11),
}


@pytest.mark.parametrize("call", ["torch.div(torch.argmax(x, 1), 2)", "torch.full([2], 1)"])
def test_what_an_old_torch_did_otherwise_is_refused(call: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"calls 'torch\.(div|full)' with integers for an old torch"):
        read_torchscript(with_body(tmp_path, f"y = {call}\nreturn torch.slice(x, 1, 0, 2)"), spaces_for(4, 2))


@pytest.mark.parametrize("name", SCALARS)
def test_numbers_are_those_of_torchscript(name: str, tmp_path: Path) -> None:
    text, expected = SCALARS[name]
    path = with_body(tmp_path, f"n = {text}\nreturn torch.add(torch.mul(torch.slice(x, 1, 0, 2), 0.), n)")
    seen = np.ones((2, 4), np.float32)
    found = read_torchscript(path, spaces_for(4, 2)).responses(seen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = torch.jit.load(str(path))(torch.from_numpy(seen))
    assert found.tolist() == own.tolist() == [[expected] * 2] * 2
