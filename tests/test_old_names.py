"""What was renamed answers to its old name for one release, and says so."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prunekit import Actor, ArgmaxHead, Budget, Pruner, PruningPlan, Sparsity


def two_heads() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def test_a_pruner_takes_and_gives_what_it_did() -> None:
    network, taken = two_heads(), []
    optimizer, plan = torch.optim.SGD(network.parameters(), lr=0.1), PruningPlan(threshold=Sparsity(0.5))

    def picked(output: object) -> torch.Tensor:
        assert isinstance(output, torch.Tensor)
        taken.append(output)
        return output

    with pytest.warns(DeprecationWarning, match="output_of= now"):
        pruner = Pruner(network, optimizer, 40, plan, decision=picked)  # for one release
    for _ in range(40):
        optimizer.zero_grad()
        network(torch.randn(8, 3)).sum().backward()
        optimizer.step()
    assert taken
    with pytest.warns(DeprecationWarning, match="importance now"):
        old = pruner.scores  # for one release
    assert torch.equal(old["0"], pruner.importance["0"])


def test_an_actor_gives_its_outputs_by_the_old_name() -> None:
    actor, seen = Actor(two_heads(), ArgmaxHead()), torch.randn(5, 3)
    with pytest.warns(DeprecationWarning, match="outputs now"):
        old = actor.scores(seen)  # for one release
    assert torch.equal(old, actor.outputs(seen))


@pytest.mark.parametrize("threshold", [Sparsity(0.5), Budget(0.5)])
def test_a_threshold_tells_its_goal_by_the_old_name(threshold: Sparsity | Budget) -> None:
    with pytest.warns(DeprecationWarning, match="goal now"):
        assert threshold.target == 0.5  # for one release
