"""TorchScript that asks for endless or enormous work, keeps state or samples: refused in one line, soon, unspoilt."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchscript_files import Own, replaced, saved, spaces_for, with_body

from prunekit.compression.torchscript_teacher import read_torchscript
from prunekit.errors import ArtifactError, InputError
from prunekit.readers.torchscript.archive import read_script

SPACES = spaces_for(4, 2)
BACK = "return torch.slice(x, 1, 0, 2)"
NESTED = "".join(
    f"def f{n}(x: Tensor) -> Tensor:\n  y = HERE.f{n + 1}(x, )\n  return HERE.f{n + 1}(y, )\n" for n in range(30)
)
ENDLESS = f"ok = True\nwhile ok:\n  pass\n{BACK}"
LARGE = "makes tensors that are far larger"
STATE = "keeps state between calls"

HOSTILE: dict[str, tuple[str, str]] = {
    "endless while": (ENDLESS, "takes more than 100,000 steps"),
    "endless while with work": (f"y = x\nwhile True:\n  y = torch.tanh(y)\n{BACK}", "takes more than 100,000 steps"),
    "long range": (f"for i in range(1000000000000):\n  pass\n{BACK}", "takes more than 100,000 steps"),
    "ranges within ranges": (
        f"for i in range(1000):\n  for j in range(1000):\n    for k in range(1000):\n      pass\n{BACK}",
        "takes more than 100,000 steps",
    ),
    "comprehension": (f"y = [i for i in range(1000000000)]\n{BACK}", "takes more than 100,000 steps"),
    "recursion": ("return (self).forward(x, )", "calls itself, or calls functions more than"),
    "ones": (f"y = torch.ones([1000000000000])\n{BACK}", LARGE),
    "ones of many axes": (f"y = torch.ones([1000, 1000, 1000, 1000])\n{BACK}", LARGE),
    "zeros beyond 64 bits": (f"y = torch.zeros([4611686018427387904, 4])\n{BACK}", LARGE),
    "full": (f"y = torch.full([100000, 100000], 1.)\n{BACK}", LARGE),
    "new zeros": (f"y = torch.new_zeros(x, [1000000, 1000000])\n{BACK}", LARGE),
    "arange": (f"y = torch.arange(1000000000000)\n{BACK}", LARGE),
    "arange of small steps": (f"y = torch.arange(0, 1, 1e-12)\n{BACK}", LARGE),
    "linspace": (f"y = torch.linspace(0, 1, 1000000000000)\n{BACK}", LARGE),
    "eye": (f"y = torch.eye(1000000)\n{BACK}", LARGE),
    "repeat": (f"y = torch.repeat(x, [1000000, 1000000])\n{BACK}", LARGE),
    "expand": (f"y = torch.expand(torch.slice(x, 1, 0, 1), [1000000, -1, 1000000])\n{BACK}", LARGE),
    "broadcast": (
        f"y = torch.arange(10000)\nz = torch.add(torch.unsqueeze(y, 0), torch.unsqueeze(y, 1))\n"
        f"w = torch.mul(torch.unsqueeze(z, 0), torch.reshape(y, [10000, 1, 1]))\n{BACK}",
        LARGE,
    ),
    "expand and matmul": (
        f"y = torch.expand(torch.slice(torch.slice(x, 1, 0, 1), 0, 0, 1), [100000, 1])\n"
        f"z = torch.matmul(y, torch.t(y))\n{BACK}",
        LARGE,
    ),
    "linear": (f"y = torch.ones([100000, 1])\nz = torch.linear(y, y)\n{BACK}", LARGE),
    "doubling by cat": (f"y = x\nfor i in range(60):\n  y = torch.cat([y, y], 1)\n{BACK}", LARGE),
    "doubling by stack": (f"y = x\nfor i in range(60):\n  y = torch.stack([y, y])\n{BACK}", LARGE),
    "padding": (f"y = torch.constant_pad_nd(x, [0, 1000000000000])\n{BACK}", LARGE),
    "one hot": (f"y = torch.one_hot(torch.argmax(x, 1), 1000000000000)\n{BACK}", LARGE),
    "one hot by content": (f"y = torch.one_hot(torch.mul(torch.argmax(x, 1), 1000000000000))\n{BACK}", "one_hot"),
    "index": (
        f"i = torch.zeros([1000000], dtype=4)\ny = torch.index(torch.ones([4, 1000]), [i])\n{BACK}",
        LARGE,
    ),
    "many large ones kept": (
        f"y = annotate(List[Tensor], [])\nfor i in range(10000):\n  z = torch.append(y, torch.ones([1000000]))\n{BACK}",
        LARGE,
    ),
    "doubling a text": (f'y = "aa"\nfor i in range(60):\n  y = torch.add(y, y)\n{BACK}', "list or text of more than"),
    "doubling a list": (f"y = [1]\nfor i in range(60):\n  y = torch.add(y, y)\n{BACK}", "list or text of more than"),
    **{
        f"a long list {call}": (
            f"y = torch.mul([1], 60000)\nfor i in range(40000):\n  z = {call}\n{BACK}",
            "takes more than",
        )
        for call in ("torch.sum(y)", "torch.eq(y, y)", "torch.slice(y, 0, 60000, 1)", "ops.prim.max(y)")
    },
    "long texts kept": (
        'y = "{}{}"\nz = [y]\nfor i in range(90000):\n  y = torch.format(y, "{}{}")\n  w = torch.append(z, y)\n'
        f"{BACK}",
        "takes more than",
    ),
    **{
        f"a long {kind} again and again": (f"for i in range(40000):\n  y = {text}\n{BACK}", "takes more than")
        for kind, text in {
            "list": f"[{'1,' * 30000}]",
            "tuple": f"({'1,' * 30000})",
            "dictionary": f"{{{'1: 1,' * 30000}}}",
            "condition": " or ".join(["False"] * 20000),
            "call": f"torch.max({'1,' * 30000})",
        }.items()
    },
    **{
        call: (f"y = torch.ones([40000, 1])\nz = torch.ones([1, 40000])\nw = torch.{call}\n{BACK}", LARGE)
        for call in (
            "cosine_similarity(y, z, 0, 1e-8)",
            "quantile(y, torch.reshape(z, [40000]), 1)",
            "expand_copy(y, [40000, 40000])",
        )
    },
    "singular values": (f"y = torch.linalg_norm(torch.ones([1400, 1400]), 2)\n{BACK}", LARGE),
    **{
        call: (
            f"y = torch.ones([40000, 1])\nz = torch.ones([1, 40000])\nw = torch.{call}\n{BACK}",
            "as a keyword, which is not supported",
        )
        for call in (
            *("mul(y, other=z)", "arange(0, end=10000000000)", "arange(0, 1, step=1e-12)", "eye(1000, m=100000000)"),
            *("add_(y, other=z)", "topk(y, 1, 0, values=self.layer.weight, indices=y)"),
        )
    },
    "multiplied list": (f"y = torch.mul([0], 1000000000000)\n{BACK}", "list or text of more than"),
    "growing format": (
        f'y = "{{}}{{}}"\nfor i in range(60):\n  y = torch.format(y, y, y)\n{BACK}',
        "list or text of more than|takes more",
    ),
    "in place on a parameter": (f"w = self.layer.weight\ny = torch.add_(w, 1)\n{BACK}", STATE),
    "in place on a buffer": (f"h = self.hidden\ny = torch.copy_(torch.slice(h), x)\n{BACK}", STATE),
    "in place on a view of a view": (
        f"h = torch.select(torch.transpose(self.hidden, 0, 1), 0, 2)\ny = torch.zero_(h)\n{BACK}",
        STATE,
    ),
    "in place through the result's place": (
        f"h = self.hidden\ny = torch.add(x, 1, out=h)\n{BACK}",
        "an output argument",
    ),
    "an attribute set": (f"self.hidden = x\n{BACK}", STATE),
    "a list that grows": (f"y = self.items\nz = torch.append(y, 1)\n{BACK}", STATE),
    "a list that changes": (f"y = torch._set_item(self.items, 0, 5)\n{BACK}", STATE),
    "statistics of a batch": (
        f"y = torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-05, True)\n{BACK}",
        "in training mode",
    ),
    "lstm": (f"y = torch.lstm(x, [x, x], [x], True, 1, 0., False, False, False)\n{BACK}", "'lstm' of 2 axes"),
    "gru cell": (f"y = torch.gru_cell(x, x, x, x)\n{BACK}", "'gru' of 4 values by weights"),
    "dropout": (f"y = torch.dropout(x, 0.5, True)\n{BACK}", "samples"),
    **{
        name: (f"y = torch.{name}(x)\n{BACK}", f"calls 'torch.{name}', so it samples")
        for name in ("rand_like", "randn_like", "normal", "multinomial", "bernoulli", "uniform_", "normal_")
    },
    "file": (f'y = torch.from_file("/etc/hostname", False, 2)\n{BACK}', r"calls 'torch\.from_file'"),
    "save": (f'torch.save(x, "sprung")\n{BACK}', r"calls 'torch\.save'"),
    "operators by path": (f'ops.aten.save(x, "sprung")\n{BACK}', r"calls 'ops\.aten\.save'"),
    "Python's own attributes": (f"y = x.__class__\n{BACK}", "reads '__class__' of something that is not a module"),
    "attributes of a module": (f"y = self.__class__\n{BACK}", "reads '__class__' of a module that has none"),
    "import": (f"import os\n{BACK}", "has 'import os'"),
    "lambda": (f"y = (lambda: 1)()\n{BACK}", "calls 'lambda: 1'|has|calls"),
    "another meaning": (f"torch = x\n{BACK}", "redefines 'torch'"),
    "nested keys": ("y = (1, 2)\nz = {y: x}\nreturn z[y]", "does not run on 3 observations"),
    "no such entry": ("return [x][5]", "does not run on 3 observations"),
    # torch itself ends the process at these
    **{
        call: (f"y = torch.{call}\n{BACK}", "does not run on 3 observations")
        for call in (
            *("to(x, 99)", "to(x, -2)", "softmax(x, 1, -1)", "copy(None, x)", "view(x, -2)", "zeros([2], dtype=99)"),
            *("log_softmax(x, 1, 12)", "sum(x, [1], False, dtype=-1)", 'zeros([2], "cuda")'),
        )
    },
    "endless pieces": (f"y = torch.chunk(torch.zeros([0]), 2147483648)\n{BACK}", "takes more than"),
    "beyond 64 bits": (f"y = 2\nfor i in range(100):\n  y = torch.mul(y, y)\n{BACK}", "does not run on"),
    "no tensor": ("return 1", "returns a int"),
}


def refusal(path: Path) -> str:
    started = time.monotonic()
    with pytest.raises(InputError) as refused:
        read_torchscript(path, SPACES)
    assert time.monotonic() - started < 10.0
    message = str(refused.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "ONNX" not in message, "torch.onnx freezes state, and would make another policy"
    return message


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_programs_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body, reason = HOSTILE[name]
    path = with_body(tmp_path, body)
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("given to torch"))
    monkeypatch.chdir(tmp_path)
    message = refusal(path)
    assert re.search(reason, message), message
    assert not (tmp_path / "sprung").exists()


def test_functions_that_call_two_each_are_refused(tmp_path: Path) -> None:
    last = "def f30(x: Tensor) -> Tensor:\n  return torch.tanh(x)\n"
    path = with_body(tmp_path, f"y = HERE.f0(x, )\n{BACK}", NESTED + last)
    assert "takes more than 100,000 steps" in refusal(path)


def test_a_buffer_is_not_written_to_before_the_refusal(tmp_path: Path) -> None:
    """Each evaluation begins from the file's own tensors."""
    body = "h = self.hidden\nif torch.eq(torch.size(x, 0), 6):\n  y = torch.add_(h, 1)\nelse:\n  pass\n"
    path = with_body(tmp_path, f"{body}return torch.add(torch.slice(x, 1, 0, 2), torch.slice(h, 1, 0, 2))")
    teacher = read_torchscript(path, SPACES)
    seen = np.ones((6, 4), np.float32)
    with pytest.raises(InputError, match=STATE):
        teacher.responses(seen)
    assert teacher.responses(seen[:1]).tolist() == [[1.0, 1.0]]


def test_a_long_constant_that_is_read_again_and_again_is_refused(tmp_path: Path) -> None:
    body = f"for i in range(40000):\n  y = self.own\n{BACK}"
    path = with_body(tmp_path, body, f"  own : List[int] = [{'1,' * 30000}]\n")
    assert "takes more than" in refusal(path)


class Remembers(nn.Module):
    """A recurrent policy that keeps its state in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(4, 3)
        self.last = nn.Linear(3, 2)
        self.register_buffer("hidden", torch.zeros(1, 1, 3))
        self.register_buffer("cell", torch.zeros(1, 1, 3))

    def forward(self, x: Tensor) -> Tensor:
        out, (h, c) = self.memory(x.unsqueeze(0), (self.hidden, self.cell))
        self.hidden[:] = h
        self.cell[:] = c
        result: Tensor = self.last(out.squeeze(0))
        return result


class Averages(nn.Module):
    """Keeps a moving average of what it sees in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        self.average = 0.9 * self.average + 0.1 * x
        return self.average[:, :2]


class Carries(nn.Module):
    """Takes its state and gives the next."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 2)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        before = torch.zeros(x.shape[0], 2) if state is None else state
        after = torch.tanh(self.layer(torch.cat([x, before], 1)))
        return after, after


class Samples(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] + torch.randn(2)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (
            Remembers,
            "keeps state between calls (it writes to its own tensors), so it is recurrent; these are not imitated",
        ),
        (Averages, "keeps state between calls"),
        (Carries, "takes 'state' too"),
        (Samples, "samples"),
    ],
)
def test_policies_with_state_or_chance_are_refused(kind: type[nn.Module], reason: str, tmp_path: Path) -> None:
    path, _ = saved("scripted", kind(), tmp_path / "policy.ts")
    assert reason in refusal(path)


def test_storages_that_claim_more_than_their_record_are_refused(tmp_path: Path) -> None:
    path, _ = saved("scripted", Own(), tmp_path / "own.ts")
    content: dict[str, Any] = {"/data/0": bytes(8)}
    with pytest.raises(ArtifactError, match=r"other\.ts: its entry '.*data/0' has 8 bytes, not the"):
        read_torchscript(replaced(path, content), SPACES)


def test_errors_do_not_format_the_weights(tmp_path: Path) -> None:
    path = with_body(tmp_path, f"y = torch.add(x, self)\n{BACK}")
    module = read_script(path).module
    assert "tensor" not in repr(module)
    assert "does not run on" in refusal(path)
