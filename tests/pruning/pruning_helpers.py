"""Small networks and training loops that the tests of pruning share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor, nn

from prunekit.pruning.importance import Evidence, Importance, UnitImportance
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Phases


def mlp(*widths: int, activation: type[nn.Module] = nn.Tanh, seed: int = 0) -> nn.Sequential:
    """Return Linear layers of these widths with ``activation`` between them, in float64."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers[:-1]).double()


@final
class Between(nn.Module):
    """Two linear layers with an arbitrary function of the hidden values between them."""

    def __init__(self, function: Callable[[Tensor], Tensor], into: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(into, 2)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.function(self.first(x)))


@final
class TwoHeads(nn.Module):
    """One hidden layer that two output layers read, as in SAC's actor."""

    def __init__(self, inputs: int = 3, hidden: int = 6, outputs: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh())
        self.mean = nn.Linear(hidden, outputs)
        self.log_std = nn.Linear(hidden, outputs)
        self.double()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(x)
        return self.mean(hidden), self.log_std(hidden)


def batches(features: int, seed: int = 1, size: int = 16) -> Callable[[], Tensor]:
    """Return a source of reproducible inputs [size, features]."""
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(size, features, generator=generator, dtype=torch.float64)


def fit_step(network: nn.Module, optimizer: torch.optim.Optimizer, states: Tensor) -> None:
    """Take one step towards a fixed smooth function of the states."""
    output = network(states)
    target = torch.sin(states.sum(dim=1, keepdim=True) + torch.arange(output.shape[1]))
    optimizer.zero_grad()
    (output - target).square().mean().backward()
    optimizer.step()


def idle_step(network: nn.Module, optimizer: torch.optim.Optimizer, states: Tensor) -> None:
    """Take one step with a gradient of zero, so that whatever moves was moved by the pruner."""
    network(states)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


def fit(network: nn.Sequential, optimizer: torch.optim.Optimizer, steps: int, seed: int = 1) -> None:
    """Take ``steps`` steps of ``fit_step`` on reproducible inputs."""
    first = network[0]
    assert isinstance(first, nn.Linear)
    states = batches(first.in_features, seed)
    for _ in range(steps):
        fit_step(network, optimizer, states())


def fixed_importance(**scores: list[float]) -> Importance:
    """Return an importance that gives these scores to the original units; ``g0`` stands for group '0'."""
    fixed = {name.removeprefix("g"): torch.tensor(values, dtype=torch.float64) for name, values in scores.items()}

    def importance(evidence: Evidence) -> UnitImportance:
        return {name: values[evidence.keep[name]] for name, values in fixed.items()}

    return importance


def bits(network: nn.Module) -> dict[str, bytes]:
    """Return the bytes of every parameter, to compare runs exactly."""
    return {name: parameter.detach().numpy().tobytes() for name, parameter in network.named_parameters()}


def early_plan(*values: Any, **changes: Any) -> PruningPlan:
    """Return a plan whose window is from a fifth to seven tenths of training, with a penalty that is easy to see."""
    return PruningPlan(
        **{
            **dict(zip(("threshold", "importance"), values, strict=False)),
            "phases": Phases(start=0.2, end=0.7),
            "strength": 1.0,
            **changes,
        }
    )
