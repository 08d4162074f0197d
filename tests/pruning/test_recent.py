"""The latest inputs of a module: how many are kept, when it listens, and what the pruner measures on them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from pruning_helpers import TwoHeads, mlp
from torch import Tensor, nn

from prunekit.pruning.importance import Evidence, UnitImportance
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.recent import RecentInputs
from prunekit.pruning.schedules import Budget, Phases


def rows(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32)[:, None]


def numbers(recent: RecentInputs) -> list[int]:
    return [int(value) for batch in recent.batches() for value in batch.flatten()]


def test_batches_are_kept_whole_and_the_oldest_go_when_they_are_not_needed() -> None:
    module = nn.Identity()
    recent = RecentInputs(module, 4)
    for batch in (rows(1, 2, 3), rows(4, 5), rows(6)):
        module(batch)
    assert (numbers(recent), len(recent)) == ([1, 2, 3, 4, 5, 6], 6)
    module(rows(7))
    assert (numbers(recent), len(recent)) == ([4, 5, 6, 7], 4)
    assert recent.latest().flatten().tolist() == [4.0, 5.0, 6.0, 7.0]
    module(rows(8))
    assert (numbers(recent), len(recent)) == ([4, 5, 6, 7, 8], 5)
    assert recent.latest().flatten().tolist() == [5.0, 6.0, 7.0, 8.0]


def test_one_input_at_a_time_is_enough() -> None:
    module = nn.Identity()
    recent = RecentInputs(module, 3)
    for number in range(10):
        module(torch.tensor([float(number)]))
    assert (numbers(recent), recent.latest().shape) == ([7, 8, 9], (3, 1))


def test_replaced_batches_are_counted_like_seen_ones() -> None:
    module = nn.Identity()
    recent = RecentInputs(module, 4)
    recent.replace([rows(1, 2), rows(3, 4)])
    assert len(recent) == 4
    module(rows(5, 6))
    assert (numbers(recent), len(recent)) == ([3, 4, 5, 6], 4)


def test_nothing_is_kept_while_not_listening_or_after_detaching() -> None:
    module = nn.Identity()
    recent = RecentInputs(module, 4)
    recent.listening = False
    module(rows(1))
    recent.listening = True
    module(rows(2))
    recent.detach()
    module(rows(3))
    assert numbers(recent) == [2]


def test_a_copy_of_the_module_is_not_listened_to_and_carries_no_inputs() -> None:
    module = nn.Identity()
    recent = RecentInputs(module, 1000)
    module(torch.zeros(1000, 10))
    twin = copy.deepcopy(module)
    twin(torch.ones(500, 10))
    assert len(recent) == 1000
    assert len(pickle.dumps(twin)) < 5000


@pytest.mark.parametrize("head", [0, 1])
def test_outputs_count_by_the_moving_average_of_the_decision_s_deviation(head: int) -> None:
    network = TwoHeads()
    found: list[Tensor] = []

    def looking(evidence: Evidence) -> UnitImportance:
        found.append(evidence.output_deviation)
        return {"body.0": torch.ones(6)}

    plan = PruningPlan(
        threshold=Budget(0.0), importance=looking, phases=Phases(start=0.5, end=1.0), checks=2, states=20, memory=0.75
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    Pruner(network, optimizer, 4, plan, output_of=lambda output: output[head])
    expected: list[Tensor] = []
    for _ in range(4):
        states = torch.randn(20, 3, dtype=torch.float64)
        expected.append(network(states)[head].detach().std(dim=0, unbiased=False))
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    averages = [expected[1], 0.75 * expected[1] + 0.25 * expected[2]]
    averages.append(0.75 * averages[1] + 0.25 * expected[3])
    torch.testing.assert_close(torch.stack(found), torch.stack(averages))


def test_a_constant_output_counts_without_dividing_by_zero() -> None:
    network = mlp(3, 6, 2)
    with torch.no_grad():
        network[2].weight.zero_()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    pruner = Pruner(network, optimizer, 2, PruningPlan(threshold=Budget(0.0)))
    network(torch.randn(8, 3, dtype=torch.float64))
    optimizer.step()
    assert pruner.importance["0"].tolist() == [0.0] * 6
