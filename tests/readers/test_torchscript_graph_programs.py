"""What scripts are made of, as graphs: writes in place, branches, histories, heads, several inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch
from test_torchscript_graphs import assert_same
from torch import Tensor, nn
from torch.nn import functional as F
from torchscript_files import saved, with_body

from prunekit.errors import ArtifactError, InputError
from prunekit.graph.reference import run_step
from prunekit.ops.argmax import Argmax
from prunekit.readers.torchscript.graph import read_torchscript_graph

INPUTS = 6


def of_lines(body: str) -> str:
    return dedent(body).strip() + "\nreturn h"


WRITES = {
    "a view sees what is written": """
        y = torch.clone(x)
        v = torch.slice(y, 1, 1, 3)
        z = torch.mul_(v, 2.)
        h = (self.layer).forward(y, )
    """,
    "the whole is written after a view was taken": """
        y = torch.clone(x)
        v = torch.slice(y, 1, 1, 3)
        _0 = torch.add_(y, 1.)
        h = torch.add(v, torch.select(y, 1, 0))
    """,
    "a value read before it is written": """
        y = torch.clone(x)
        before = torch.mul(y, 2.)
        _0 = torch.relu_(y)
        h = torch.sub(before, y)
    """,
    "the observation itself": """
        _0 = torch.mul_(x, 2.)
        h = (self.layer).forward(x, )
    """,
    "two names of one tensor": """
        y = torch.clone(x)
        z = y
        _0 = torch.tanh_(z)
        h = (self.layer).forward(y, )
    """,
    "a transposed view": """
        y = torch.clone(x)
        v = torch.t(y)
        _0 = torch.copy_(torch.select(v, 0, 1), torch.select(v, 0, 0))
        h = (self.layer).forward(y, )
    """,
    "a reshape that copies": """
        y = torch.transpose(torch.view(torch.clone(x), [2, 2]), 0, 1)
        v = torch.reshape(y, [1, 4])
        _0 = torch.zero_(v)
        h = torch.add(torch.reshape(y, [1, 4]), v)
    """,
    "a reshape that does not": """
        y = torch.clone(x)
        v = torch.reshape(y, [2, 2])
        _0 = torch.fill_(torch.select(v, 0, 1), 3.)
        h = torch.add(y, 1.)
    """,
    "zeros that are filled": """
        y = torch.zeros([1, 4])
        _0 = torch.copy_(torch.slice(y, 1, 1, 3), torch.slice(x, 1, 0, 2))
        h = torch.mul(y, x)
    """,
    "zeros that are filled at places": """
        y = torch.zeros([1, 5])
        at = annotate(List[Optional[Tensor]], [None, torch.tensor([4, 0, 2, 1])])
        _0 = torch.index_put_(torch.slice(y), at, torch.view(x, [4]))
        h = torch.add(y, 0.)
    """,
    "zeros that are filled, seen by a view taken before": """
        y = torch.zeros([1, 4])
        v = torch.slice(y, 1, 2, 4)
        _0 = torch.copy_(y, x)
        h = torch.mul(v, 2.)
    """,
    "clamped below": """
        n = torch.clamp_min_(torch.norm(x, 2, [1], True), 0.5)
        h = torch.div(x, torch.expand_as(n, x))
    """,
    "masked": """
        y = torch.clone(x)
        _0 = torch.masked_fill_(y, torch.gt(torch.tensor([[1., -1., 1., -1.]]), 0.), 2.)
        h = torch.mul(y, 2.)
    """,
    "a list of tensors": """
        ys = annotate(List[Tensor], [])
        for i in range(2):
          _0 = torch.append(ys, torch.mul(x, float(torch.add(i, 1))))
        h = torch.cat(ys, 1)
    """,
    "a condition on shapes": """
        if torch.gt(torch.size(x, 1), 3):
          h = torch.slice(x, 1, 0, 3)
        else:
          h = torch.conv1d(x, x)
    """,
    "an exception that is not raised": """
        if torch.ne(torch.dim(x), 2):
          ops.prim.RaiseException("wrong")
        else:
          pass
        print(x)
        h = torch.neg(x)
    """,
    "shape arithmetic": """
        n = ops.prim.NumToTensor(torch.size(x, 1))
        m = torch.floordiv(int(n), 2)
        h = torch.reshape(torch.mul(torch.view(x, [m, -1]), 2.), [1, -1])
    """,
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.filterwarnings("ignore")
def test_programs_are_what_they_were(name: str, tmp_path: Path) -> None:
    """Where torch's own runtime runs them: on four values."""
    path = with_body(tmp_path, of_lines(WRITES[name]))
    assert_same(path, torch.jit.load(str(path)), inputs=4, width=4)


class Estimator(nn.Module):
    """A history [1, 60] as [1, 10, 6]: estimator on its newest part, its answer beside the newest observation."""

    def __init__(self) -> None:
        super().__init__()
        self.estimator = nn.Sequential(nn.Linear(30, 16), nn.ELU(), nn.Linear(16, 7))
        self.actor = nn.Sequential(nn.Linear(6 + 7, 16), nn.ELU(), nn.Linear(16, 4))
        self.mean = nn.Buffer(torch.randn(60))
        self.deviation = nn.Buffer(torch.rand(60) + 0.5)

    def forward(self, history: Tensor) -> Tensor:
        history = ((history - self.mean) / self.deviation).clamp(-5.0, 5.0)
        steps = history.view(1, 10, 6)
        newest = steps[:, -1]
        batch, _, _ = steps.shape
        parts = self.estimator(steps[:, 5:, :].reshape(batch, -1).detach())
        velocity, latent = parts[..., :3], parts[..., 3:]
        print(latent)  # noqa: T201  (left in by who exported it)
        if newest.dim() != 2:
            raise ValueError("no batch")
        latent = F.normalize(latent, p=2.0, dim=-1)
        result: Tensor = self.actor(torch.cat((newest, velocity, latent), dim=1))
        return result


class Wrapped(nn.Module):
    """Frames of a history put together by kind, and actions scattered over more joints than are driven."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(12, 8), nn.SiLU(), nn.Linear(8, 3))
        self.order = nn.Buffer(torch.tensor([2, 0, 1]))
        self.limit = nn.Buffer(torch.tensor(0.5))

    def forward(self, frames: Tensor) -> Tensor:
        batch = frames.shape[0]
        parts: list[Tensor] = []
        for at in range(3):
            frame = frames[:, 4 * at : 4 * (at + 1)]
            parts.append(frame[:, :3][:, self.order])
        phase = torch.min(frames[:, 3:4], self.limit)
        raw = self.model(torch.cat(parts + [frames[:, 7:8], phase, frames[:, 11:12]], dim=-1))  # noqa: RUF005
        result = torch.zeros((batch, 5))
        result[:, self.order] = raw.view(3)
        return result


class Blocks(nn.Module):
    """Residual blocks with norms in a loop, and a tanh head between bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(INPUTS, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.ReLU(inplace=True), nn.Linear(16, 8)) for _ in range(2)
        )
        self.norm = nn.BatchNorm1d(8)
        self.last = nn.Linear(8, 2)
        self.low = nn.Buffer(torch.tensor([-1.0, -2.0]))
        self.high = nn.Buffer(torch.tensor([1.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        x = torch.tanh(self.last(F.dropout(self.norm(x), 0.5, self.training)))
        return self.low + 0.5 * (x + 1.0) * (self.high - self.low)


@pytest.mark.parametrize("form", ["scripted", "traced"])
@pytest.mark.parametrize(("module", "inputs"), [(Estimator, 60), (Wrapped, 12), (Blocks, INPUTS)])
@pytest.mark.filterwarnings("ignore")
def test_policies_as_they_are_published(
    module: Callable[[], nn.Module], inputs: int, form: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    assert_same(*saved(form, module(), tmp_path / "policy.ts", inputs), inputs=inputs)


class Choosing(nn.Module):
    def __init__(self, softmax: bool, start: int) -> None:
        super().__init__()
        self.layers, self.softmax, self.start = nn.Linear(INPUTS, 5), softmax, start

    def forward(self, x: Tensor) -> Tensor:
        logits = self.layers(x)
        if self.softmax:
            logits = torch.softmax(logits, dim=-1)
        return logits.argmax(dim=-1) + self.start


@pytest.mark.parametrize(("softmax", "start"), [(False, 0), (True, 0), (False, 3)])
def test_an_argmax_is_the_head(softmax: bool, start: int, tmp_path: Path) -> None:
    read = assert_same(*saved("scripted", Choosing(softmax, start), tmp_path / "policy.ts"))
    head = read.graph.nodes[-1].op
    assert isinstance(head, Argmax)
    assert head.start == start


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critic = nn.Linear(INPUTS, 3), nn.Linear(INPUTS + 2, 1)

    def forward(self, obs: Tensor, command: Tensor, unused: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tanh(self.actor(obs)), self.critic(torch.cat([obs, command], 1))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Linear(INPUTS + 2, 3)
        self.mean = nn.Buffer(torch.ones(INPUTS))
        self.scale = nn.Buffer(torch.ones(2))

    def forward(self, obs: Tensor, command: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tanh(self.layers(torch.cat([obs - self.mean, command * self.scale], 1))), obs


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    path, module = saved("scripted", Two(), tmp_path / "policy.ts")
    read = read_torchscript_graph(path)
    assert [(port.name, port.shape) for port in read.graph.inputs] == [("obs", (INPUTS,)), ("command", (2,))]
    assert (read.output, read.others) == ("0", ("1",))
    obs, command = torch.randn(3, INPUTS), torch.randn(3, 2)
    made, _ = run_step(read.graph, {"obs": obs.numpy(), "command": command.numpy()}, {}, np.float32)
    np.testing.assert_allclose(made["outputs"], module(obs, command)[0].detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(made["action"], made["outputs"])


def test_an_input_that_is_not_read_is_left_out(tmp_path: Path) -> None:
    path, module = saved("scripted", Several(), tmp_path / "policy.ts")
    read = read_torchscript_graph(path)
    assert [(port.name, port.shape) for port in read.graph.inputs] == [("obs", (INPUTS,))]
    assert any("'unused'" in note for note in read.notes)
    obs = torch.randn(3, INPUTS)
    made, _ = run_step(read.graph, {"obs": obs.numpy()}, {}, np.float32)
    wanted = module(obs, torch.zeros(3, 2), torch.zeros(3, 2))[0].detach().numpy()
    np.testing.assert_allclose(made["outputs"], wanted, rtol=1e-5, atol=1e-6)


class Sliced(nn.Module):
    """Slices that would run on any wider observation too."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(3, 40), nn.Linear(4, 40)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x[:, :3]) * self.other(x[:, 3:7])


class Flat(nn.Module):
    """No batch axis."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(INPUTS, 2)

    def forward(self, x: Tensor) -> Tensor:
        (n,) = x.shape
        result: Tensor = self.layer(x.reshape(1, n))[0]
        return result


def test_slices_show_the_width(tmp_path: Path) -> None:
    assert_same(*saved("scripted", Sliced(), tmp_path / "policy.ts"), inputs=7)


@pytest.mark.filterwarnings("ignore")
def test_no_batch_axis(tmp_path: Path) -> None:
    path, module = saved("scripted", Flat(), tmp_path / "policy.ts")
    assert_same(path, lambda row: module(row[0]))


def test_float64(tmp_path: Path) -> None:
    path, module = saved("scripted", Blocks().double(), tmp_path / "policy.ts")
    assert_same(path, lambda row: module(row.double()))


def test_half_precision_is_refused(tmp_path: Path) -> None:
    path, _ = saved("scripted", nn.Linear(4, 2).half(), tmp_path / "policy.ts")
    with pytest.raises(ArtifactError, match="float16"):
        read_torchscript_graph(path)


def test_what_would_take_too_much_is_refused(tmp_path: Path) -> None:
    grown = """
        h = torch.reshape(x, [4, 1])
        for i in range(4):
          h = torch.add(torch.reshape(h, [1, -1]), torch.reshape(h, [-1, 1]))
    """
    with pytest.raises(ArtifactError, match="far larger than its weights"):
        read_torchscript_graph(with_body(tmp_path, of_lines(grown)), width=4)


def test_only_what_the_answer_needs_is_counted(tmp_path: Path) -> None:
    class ActorCritic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.actor, self.critic = nn.Linear(INPUTS, 3), nn.Linear(INPUTS, 100)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.actor(x), self.critic(x)

    path, _ = saved("scripted", ActorCritic(), tmp_path / "policy.ts")
    assert read_torchscript_graph(path).graph.parameter_count == INPUTS * 3 + 3


class Drawing(nn.Module):
    def __init__(self, first: bool) -> None:
        super().__init__()
        self.layer, self.first = nn.Linear(INPUTS, 3), first

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.layer(x)
        drawn = mean + torch.randn_like(mean) * 0.1
        return (drawn, mean) if self.first else (mean, drawn)


def test_a_draw_matters_only_in_the_answer(tmp_path: Path) -> None:
    assert_same(*saved("scripted", Drawing(first=False), tmp_path / "policy.ts"))
    path, _ = saved("scripted", Drawing(first=True), tmp_path / "other.ts")
    with pytest.raises(ArtifactError, match="samples"):
        read_torchscript_graph(path)


class Raising(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        if bool(torch.isnan(x).any()):
            raise ValueError("no")
        return self.layer(x) * float(int(x.sum().item()) + 1)


def test_what_a_program_raises_of_odd_values_is_no_error_of_ours(tmp_path: Path) -> None:
    path, _ = saved("scripted", Raising(), tmp_path / "policy.ts")
    with pytest.raises(InputError, match=r"'torch\.isnan', which a graph cannot express"):
        read_torchscript_graph(path)


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) * 2.0


def test_a_width_that_nothing_shows_is_asked_for(tmp_path: Path) -> None:
    path, module = saved("scripted", Plain(), tmp_path / "policy.ts")
    with pytest.raises(ArtifactError, match="`inputs` N"):
        read_torchscript_graph(path)
    assert_same(path, module, inputs=5, width=5)


def test_a_width_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path, _ = saved("scripted", nn.Linear(4, 2), tmp_path / "policy.ts")
    with pytest.raises(ArtifactError, match="does not run on observations of 5 values"):
        read_torchscript_graph(path, width=5)


REFUSED = {
    "torch.conv1d": (
        """
        h = torch.conv1d(torch.view(x, [1, 1, 4]), torch.ones([1, 1, 2]), None, [1], [0], [1], 1)
        """,
        "conv1d",
    ),
    "a branch on data": (
        """
        if bool(torch.gt(torch.select(torch.select(x, 0, 0), 0, 0), 0.)):
          h = x
        else:
          h = torch.neg(x)
        """,
        "branches on a value that depends on the observation",
    ),
    "a number of data": (
        """
        h = torch.mul(x, float(torch.select(torch.select(x, 0, 0), 0, 0)))
        """,
        "depends on the observation",
    ),
    "item": ("h = torch.mul(x, annotate(number, torch.item(torch.sum(x))))", "torch.item"),
    "an attribute with a new value": (
        """
        self.hidden = x
        h = x
        """,
        r"assigns to its attribute 'hidden', which is not followed; write to it in place \(self.hidden\[:\] = ...\)",
    ),
    "a written attribute": (
        """
        self.hidden = x
        h = x
        """,
        "keeps state between calls",
    ),
    "a draw": ("h = torch.add(x, torch.randn([1, 4]))", "samples"),
    "a draw like": ("h = torch.add(x, torch.randn_like(x))", "samples"),
    "a dropout in training": ("h = torch.dropout(x, 0.5, True)", "dropout in training mode"),
    "attention": ("h = torch.matmul(torch.matmul(torch.t(x), x), torch.t(x))", "as attention does"),
    "sorting": ("h, _0 = torch.sort(x, 1, True)", "torch.sort"),
    "half precision": ("h = torch.to(x, 5)", "float16"),
    "whole numbers": ("h = torch.to(torch.to(x, 4), 6)", "int64"),
    "an unknown operator": ("h = torch.fft_fft(x)", "torch.fft_fft"),
    "a place that depends on data": (
        """
        h = torch.index_select(x, 1, torch.argmax(x, 1))
        """,
        "places that depend on the observation",
    ),
    "overlapping memory": (
        """
        y = torch.expand(torch.slice(torch.clone(x), 1, 0, 1), [1, 4])
        _0 = torch.add_(y, x)
        h = y
        """,
        "share memory|memory location",
    ),
    "a constant answer": ("h = torch.ones([1, 2])", "the same answer for every observation"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(name: str, tmp_path: Path) -> None:
    body, told = REFUSED[name]
    with pytest.raises(ArtifactError, match=told) as raised:
        read_torchscript_graph(with_body(tmp_path, of_lines(body)), width=4)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_module_is_named(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Conv1d(2, 3, 2), nn.Flatten()))
    path, _ = saved("scripted", network, tmp_path / "policy.ts")
    with pytest.raises(ArtifactError, match=r"'torch.conv1d' in module '1\.1'"):
        read_torchscript_graph(path)
