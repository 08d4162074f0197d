"""What a pruner refuses to attach to or to work with, and that its message names the culprit."""

from __future__ import annotations

import math

import pytest
import torch
from pruning_helpers import batches, early_plan, idle_step, mlp
from torch import Tensor, nn

from prunekit.errors import EmptyGroupError, InputError
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Budget, Sparsity

HALF = early_plan(Sparsity(0.5))


def attach(network: nn.Sequential, total_steps: int, plan: PruningPlan) -> Pruner:
    return Pruner(network, torch.optim.SGD(network.parameters(), lr=0.1), total_steps, plan)


def test_steps_with_a_closure_are_refused() -> None:
    network = mlp(3, 6, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    Pruner(network, optimizer, 10, HALF)
    with pytest.raises(InputError, match="closure"):
        optimizer.step(lambda: 0.0)
    with pytest.raises(InputError, match="closure"):
        optimizer.step(closure=lambda: 0.0)


def test_lbfgs_is_refused() -> None:
    network = mlp(3, 6, 2)
    with pytest.raises(InputError, match="LBFGS"):
        Pruner(network, torch.optim.LBFGS(network.parameters()), 10, HALF)


def test_an_optimizer_that_lacks_a_parameter_is_refused_by_the_parameter_s_name() -> None:
    network = mlp(3, 6, 2)
    partial = torch.optim.SGD([network[0].weight, network[0].bias, network[2].weight], lr=0.1)
    with pytest.raises(InputError, match=r"'2\.bias'"):
        Pruner(network, partial, 10, HALF)
    with pytest.raises(InputError, match=r"'0\.weight'"):
        Pruner(network, torch.optim.SGD(mlp(3, 6, 2).parameters(), lr=0.1), 10, HALF)


def test_a_twin_of_another_shape_is_refused() -> None:
    network = mlp(3, 6, 2)
    with pytest.raises(InputError, match="twin"):
        Pruner(network, torch.optim.SGD(network.parameters(), lr=0.1), 10, HALF, twins=[mlp(3, 5, 2)])


def test_a_pruner_that_saw_nothing_says_what_to_pass() -> None:
    network = mlp(3, 6, 2)
    pruner = Pruner(network, torch.optim.SGD(network.parameters(), lr=0.1), 5, HALF, observe=nn.Identity())
    with pytest.raises(InputError, match="observe="):
        idle_step(network, pruner.optimizer, batches(3)())


@pytest.mark.parametrize(
    ("plan", "match"),
    [
        (early_plan(Sparsity(0.95)), "leaves 1 of [0-9]+ units, but every group keeps at least 1"),
        (early_plan(Sparsity(0.7), min_units=5), "keeps at least 5"),
        (early_plan(Budget(0.1), min_units=13), r"min_units is 13, but the groups have \[20, 12\] units"),
    ],
)
def test_a_plan_that_leaves_an_empty_layer_is_refused(plan: PruningPlan, match: str) -> None:
    with pytest.raises(EmptyGroupError, match=match):
        attach(mlp(3, 20, 12, 2), 200, plan)


@pytest.mark.parametrize("total_steps", [0, -5])
def test_a_training_without_steps_is_refused(total_steps: int) -> None:
    with pytest.raises(InputError, match="total_steps"):
        attach(mlp(3, 20, 2), total_steps, early_plan(Sparsity(0.5)))


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("checks", [0, -1]),
        ("patience", [0]),
        ("states", [0]),
        ("min_units", [0]),
        ("strength", [-0.1, math.inf, math.nan]),
        ("share_per_check", [0.0, 1.1, math.nan]),
        ("memory", [-0.1, 1.0, math.nan]),
    ],
)
def test_a_plan_that_cannot_work_is_refused_by_the_setting_s_name(setting: str, values: list[float]) -> None:
    for value in values:
        with pytest.raises(InputError, match=setting):
            PruningPlan(**{setting: value})  # type: ignore[arg-type]


def test_a_decision_that_is_no_tensor_is_refused() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = mlp(3, 6, 2)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"scores": self.layers(x)}

    network = Named()
    pruner = Pruner(network, torch.optim.SGD(network.parameters(), lr=0.1), 5, early_plan(Sparsity(0.5)))
    with pytest.raises(InputError, match="the network returns dict; pass `output_of`"):
        idle_step(network, pruner.optimizer, batches(3)())
