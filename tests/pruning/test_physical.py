"""Physical removal while training: what follows the units, and what stays equal."""

from __future__ import annotations

import pytest
import torch
from pruning_helpers import batches, fit_step, mlp
from torch import nn

from prunekit.errors import InputError
from prunekit.pruning.groups import find_groups
from prunekit.pruning.physical import padded, remove_units_
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Sparsity


def keep(width: int, *units: int) -> torch.Tensor:
    return torch.zeros(width, dtype=torch.bool).index_fill(0, torch.tensor(units, dtype=torch.int64), True)


def test_moments_gradients_and_steps_follow_their_units() -> None:
    network, source = mlp(3, 6, 5, 2), batches(3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2, amsgrad=True)
    for _ in range(3):
        fit_step(network, optimizer, source())
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    before = {names[id(parameter)]: dict(state) for parameter, state in optimizer.state.items()}
    gradients = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    weights = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    first, second = torch.tensor([0, 2, 5]), torch.tensor([1, 3])
    remove_units_((network,), find_groups(network), {"0": keep(6, 0, 2, 5), "2": keep(5, 1, 3)}, optimizer)
    selections = {
        "0.weight": (first, None), "0.bias": (first, None), "2.weight": (second, first), "2.bias": (second, None),
        "4.weight": (None, second), "4.bias": (None, None),
    }  # fmt: skip
    parameters = dict(network.named_parameters())
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in parameters.values()]
    assert {id(p) for p in optimizer.state} == {id(p) for p in parameters.values()}
    for name, (rows, columns) in selections.items():

        def selected(tensor: torch.Tensor, rows: object = rows, columns: object = columns) -> torch.Tensor:
            tensor = tensor if rows is None else tensor[rows]  # type: ignore[index]
            return tensor if columns is None else tensor[:, columns]  # type: ignore[index]

        parameter = parameters[name]
        assert torch.equal(parameter, selected(weights[name]))
        assert torch.equal(parameter.grad, selected(gradients[name]))
        state = optimizer.state[parameter]
        assert float(state["step"]) == 3.0
        for moment in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
            assert torch.equal(state[moment], selected(before[name][moment])), (name, moment)
    assert (network[0].out_features, network[2].in_features, network[2].out_features) == (3, 3, 2)
    fit_step(network, optimizer, source())


def test_frozen_parameters_stay_frozen_and_networks_without_an_optimizer_follow() -> None:
    network, twin = mlp(3, 6, 2), mlp(3, 6, 2, seed=4).requires_grad_(False)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
    expected = twin[0].weight[[1, 4]]
    remove_units_((network, twin), find_groups(network), {"0": keep(6, 1, 4)}, optimizer)
    assert torch.equal(twin[0].weight, expected)
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_groups_that_must_stay_equally_wide_are_filled_up_with_dead_units() -> None:
    present = {"a": keep(6, 0, 1, 2, 3, 4), "b": keep(6, 1, 2, 3, 4, 5), "c": keep(4, 0, 1, 2, 3)}
    living = {"a": keep(6, 3), "b": keep(6, 1, 4, 5), "c": keep(4, 2)}
    found = padded(living, present, [("a", "b")])
    assert found["a"].tolist() == keep(6, 0, 1, 3).tolist()
    assert found["b"].tolist() == living["b"].tolist()
    assert found["c"].tolist() == living["c"].tolist()
    assert living["a"].tolist() == keep(6, 3).tolist()


@pytest.mark.parametrize(("families", "named"), [([("0", "7")], "'7'"), ([("0", "2")], "different widths")])
def test_families_that_fit_no_network_are_refused(families: list[tuple[str, str]], named: str) -> None:
    network = mlp(3, 6, 5, 2)
    with pytest.raises(InputError, match=named):
        Pruner(network, torch.optim.Adam(network.parameters()), 100, equal_widths=families)


def test_a_loop_with_live_shrinking_ends_small_and_dead_units_never_return() -> None:
    network, twin, source = mlp(3, 40, 30, 2), mlp(3, 40, 30, 2), batches(3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    removals: list[tuple[int, ...]] = []
    pruner = Pruner(
        network,
        optimizer,
        200,
        PruningPlan(threshold=Sparsity(0.8), strength=0.1),
        twins=[twin],
        live_shrink=True,
        on_shrink=lambda: removals.append(tuple(group.width for group in find_groups(network))),
    )
    for _ in range(200):
        before = pruner.keep
        fit_step(network, optimizer, source())
        assert all(not bool((pruner.keep[name] & ~before[name]).any()) for name in before)
        assert [keep.numel() for keep in pruner.masks.values()] == [group.width for group in find_groups(network)]
    assert pruner.sparsity == 0.8
    assert len(removals) > 5
    assert removals == sorted(removals, key=sum, reverse=True)
    assert removals[-1] == tuple(int(kept.sum()) for kept in pruner.keep.values())
    assert all(bool(masks.all()) for masks in pruner.masks.values())
    assert find_groups(twin) == find_groups(network)
    assert [kept.numel() for kept in pruner.keep.values()] == [40, 30]


def test_a_masked_network_can_be_shrunk_at_any_time() -> None:
    network, source = mlp(3, 20, 2), batches(3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    pruner = Pruner(network, optimizer, 100, PruningPlan(threshold=Sparsity(0.5), strength=0.1))
    for _ in range(60):
        fit_step(network, optimizer, source())
    living = int(pruner.keep["0"].sum())
    assert living < 20 == network[0].out_features
    inputs = source()
    before = network(inputs)
    pruner.shrink_()
    torch.testing.assert_close(network(inputs), before)
    assert network[0].out_features == living
    for _ in range(40):
        fit_step(network, optimizer, source())
    assert int(pruner.keep["0"].sum()) == 10


def test_a_module_that_is_no_plain_chain_is_shrunk_too() -> None:
    network = nn.Sequential(nn.Sequential(nn.Linear(3, 8), nn.ReLU()), nn.Linear(8, 2)).double()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    pruner = Pruner(network, optimizer, 50, PruningPlan(threshold=Sparsity(0.5), strength=0.1), live_shrink=True)
    source = batches(3)
    for _ in range(50):
        fit_step(network, optimizer, source())
    assert network[0][0].out_features == 4 == network[1].in_features
    assert pruner.frozen
