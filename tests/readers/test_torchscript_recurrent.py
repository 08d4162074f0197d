"""TorchScript of recurrent policies: what it keeps in its own tensors is a state of the graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchscript_files import saved, with_body

from prunekit.errors import ArtifactError
from prunekit.graph.reference import initial_states, run_step
from prunekit.readers.torchscript.graph import read_torchscript_graph

INPUTS, UNITS, STEPS = 5, 4, 6


class OfLSTM(nn.Module):
    """As rsl_rl and legged_gym export a recurrent policy: two buffers that forward writes to."""

    def __init__(self, layers: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.memory = nn.LSTM(INPUTS, UNITS, layers, bias=bias)
        self.actor = nn.Sequential(nn.Linear(UNITS, 3), nn.ELU(), nn.Linear(3, 2))
        self.register_buffer("hidden_state", torch.zeros(layers, 1, UNITS))
        self.register_buffer("cell_state", torch.zeros(layers, 1, UNITS))

    def forward(self, x: Tensor) -> Tensor:
        out, (h, c) = self.memory(x.unsqueeze(0), (self.hidden_state, self.cell_state))
        self.hidden_state[:] = h
        self.cell_state[:] = c
        result: Tensor = self.actor(out.squeeze(0))
        return result


class OfGRU(nn.Module):
    def __init__(self, layers: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.memory = nn.GRU(INPUTS, UNITS, layers, bias=bias, batch_first=True)
        self.actor = nn.Linear(UNITS, 2)
        self.register_buffer("hidden_state", torch.zeros(layers, 1, UNITS))

    def forward(self, x: Tensor) -> Tensor:
        out, h = self.memory(x.unsqueeze(0), self.hidden_state)
        self.hidden_state[:] = h
        result: Tensor = self.actor(out.squeeze(0))
        return result


class OfRNN(nn.Module):
    def __init__(self, kind: str, layers: int = 1) -> None:
        super().__init__()
        self.memory = nn.RNN(INPUTS, UNITS, layers, nonlinearity=kind)
        self.register_buffer("hidden_state", torch.zeros(layers, 1, UNITS))

    def forward(self, x: Tensor) -> Tensor:
        out, h = self.memory(x.unsqueeze(0), self.hidden_state)
        self.hidden_state.copy_(h)
        result: Tensor = 2.0 * out.squeeze(0)
        return result


class OfCells(nn.Module):
    """Cells, one of which begins with what the file holds, and a state that two views share."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.LSTMCell(INPUTS, 3), nn.GRUCell(3, 3), nn.RNNCell(3, 3)
        self.register_buffer("both", torch.zeros(2, 1, 3))
        self.register_buffer("begun", torch.tensor([[0.5, -1.0, 2.0]]))
        self.register_buffer("last", torch.zeros(1, 3))

    def forward(self, x: Tensor) -> Tensor:
        h, c = self.first(x, (self.both[0], self.both[1]))
        before = self.begun.clone()
        self.both[0] = h
        self.both[1] = c
        self.begun[:] = self.second(h, self.begun)
        self.last[:] = self.third(self.begun, self.last)
        result: Tensor = torch.cat([before, self.begun, self.last], 1).tanh() * 2.0
        return result


class Averages(nn.Module):
    """No recurrent layer at all: a moving average of what it sees, of which half is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(INPUTS, 2)
        self.register_buffer("average", torch.zeros(1, INPUTS))

    def forward(self, x: Tensor) -> Tensor:
        self.average.mul_(0.9)
        self.average.add_(0.1 * x)
        result: Tensor = self.layer(self.average)
        return result


class WithoutMemory(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(INPUTS, UNITS)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.memory(x.unsqueeze(0))
        result: Tensor = 2.0 * out.squeeze(0)
        return result


MODULES: dict[str, Callable[[], nn.Module]] = {
    "LSTM": OfLSTM,
    "LSTM of two layers": lambda: OfLSTM(2),
    "LSTM without biases": lambda: OfLSTM(bias=False),
    "GRU": OfGRU,
    "GRU of two layers without biases": lambda: OfGRU(2, bias=False),
    "RNN": lambda: OfRNN("tanh"),
    "RNN of two layers": lambda: OfRNN("relu", 2),
    "cells": OfCells,
    "average": Averages,
    "LSTM without memory": WithoutMemory,
}


@pytest.mark.parametrize("form", ["scripted", "traced"])
@pytest.mark.parametrize("name", MODULES)
def test_the_graph_remembers_what_the_program_does(name: str, form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = MODULES[name]()
    kept = {key: value.clone() for key, value in module.named_buffers()}
    path, _ = saved(form, module, tmp_path / "policy.ts", INPUTS)
    for key, value in module.named_buffers():  # the trace ran it
        value.detach().copy_(kept[key])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded: Any = torch.jit.load(str(path))
    begun = {key: value.detach().clone() for key, value in loaded.named_buffers()}
    found = read_torchscript_graph(path)
    assert {state.before: state.initial.size for state in found.graph.states} == {
        key: value.numel() for key, value in kept.items()
    }
    for state in found.graph.states:
        np.testing.assert_array_equal(state.initial, begun[state.before].numpy().reshape(-1))
    assert ("recurrent" in found.recognised) == bool(kept)
    seen = torch.randn(STEPS, 1, INPUTS, generator=torch.Generator().manual_seed(1))
    states = initial_states(found.graph, 1, np.float64)
    answers = []
    for row in seen:
        made, states = run_step(found.graph, {found.graph.inputs[0].name: row.numpy()}, states)
        with torch.no_grad():
            wanted = loaded(row).detach().double().numpy()
        np.testing.assert_allclose(made["outputs"], wanted, atol=1e-6)
        answers.append(made["outputs"])
    assert np.abs(np.diff(np.stack(answers), axis=0)).max() > 1e-3


def test_reading_leaves_the_states_as_they_were(tmp_path: Path) -> None:
    path, _ = saved("scripted", OfCells(), tmp_path / "policy.ts", INPUTS)
    (first, again) = (read_torchscript_graph(path) for _ in range(2))
    for one, other in zip(first.graph.states, again.graph.states, strict=True):
        np.testing.assert_array_equal(one.initial, other.initial)
    assert "keeps 'begun' of 3 values from step to step, at first values other than zero, which the file holds" in [
        *first.notes
    ]
    assert "keeps 'both' of 6 values from step to step, at first zeros" in first.notes


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(INPUTS, 2)
        self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.steps.add_(1)
        result: Tensor = self.layer(x)
        return result


class Large(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(INPUTS, 2)
        self.register_buffer("history", torch.zeros(70_000))

    def forward(self, x: Tensor) -> Tensor:
        self.history[0] = x[0, 0]
        result: Tensor = self.layer(x)
        return result


class OfSequence(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.memory = nn.LSTM(INPUTS, UNITS, **options)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.memory(x.unsqueeze(0))
        result: Tensor = out.squeeze(0)
        return result


class OfSteps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.GRU(INPUTS, UNITS)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.memory(x.view(2, 1, 5))
        result: Tensor = out[-1]
        return result


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Counts, "keeps 'steps' of int64 from step to step; only states of floats are read"),
        (Large, "keeps a state of 70,000 values between calls, more than any policy needs"),
        (lambda: OfSequence(bidirectional=True), "calls 'torch.lstm' in both directions, which need steps to come"),
        (lambda: OfSequence(proj_size=2), "calls 'torch.lstm' of 1 layers with 5 tensors of weights, where 4 are read"),
        (OfSteps, r"torch.gru' in module 'memory' over \[2, 1\] steps and rows; only one step of one observation"),
    ],
)
def test_what_is_refused_is_named(make: Callable[[], nn.Module], reason: str, tmp_path: Path) -> None:
    path, _ = saved("scripted", make(), tmp_path / "policy.ts", 10 if make is OfSteps else INPUTS)
    with pytest.raises(ArtifactError, match=reason):
        read_torchscript_graph(path, width=10 if make is OfSteps else None)


@pytest.mark.parametrize(
    "body",
    [
        "y = torch.lstm(x, [x, x], [x], True, 1, 0., False, False, False)",
        "y = torch.lstm(x, x, [x, x], [x], True, 1, 0., False, False)",
        "y = torch.lstm(x, [x, 1], [self.layer.weight], False, 1, 0., False, False, False)",
        "y = torch.gru(x, x, [self.items], False, 1, 0., False, False, False)",
        "y = torch.gru_cell(x, x, x, x)",
        "y = torch.lstm_cell(x, [x], x, x)",
        "y = torch.lstm_cell(x, x, x, x)",
        "w = self.layer.weight\ny = torch.gru(x, torch.unsqueeze(x, 0), [w, w], False, 1, 0., False, False, False)",
    ],
)
def test_calls_that_no_layer_makes_are_one_error(body: str, tmp_path: Path) -> None:
    path = with_body(tmp_path, f"{body}\nreturn torch.add(x, y)")
    with pytest.raises(ArtifactError, match="its TorchScript"):
        read_torchscript_graph(path, width=4)


def test_writes_to_weights_make_them_states_and_not_weights(tmp_path: Path) -> None:
    """A program that learns while it acts has no form in a graph, and is refused where it uses what it wrote."""
    path = with_body(
        tmp_path, "w = self.layer.weight\nv = torch.add_(w, torch.sum(x))\nreturn torch.linear(x, w, self.layer.bias)"
    )
    with pytest.raises(ArtifactError, match=r"'torch\.linear' in a way that a graph cannot express"):
        read_torchscript_graph(path, width=4)
