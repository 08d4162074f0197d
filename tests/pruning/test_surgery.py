"""Surgery and masks: what a shrunk network keeps, that it trains on, and which masks are refused."""

from __future__ import annotations

import pickle

import pytest
import torch
from pruning_helpers import TwoHeads, batches, fit, fit_step, mlp
from torch import Tensor, nn

from prunekit.errors import CouplingError, EmptyGroupError, InputError
from prunekit.pruning.groups import find_groups
from prunekit.pruning.masks import dead_slices, full_masks, kept_units, masked, sparsity_of, zero_slices_
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Sparsity
from prunekit.pruning.surgery import shrink


def keep(*units: int, width: int) -> Tensor:
    mask = torch.zeros(width, dtype=torch.bool)
    mask[list(units)] = True
    return mask


def some_masks() -> dict[str, Tensor]:
    """Masks for the groups of ``mlp(3, 6, 5, 2)``."""
    return {"0": keep(0, 2, 5, width=6), "2": keep(1, 3, width=5)}


def widths(network: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in network.modules() if isinstance(m, nn.Linear)]


def test_the_surviving_rows_and_columns_are_selected_in_order() -> None:
    network, masks = mlp(3, 6, 5, 2), some_masks()
    small = shrink(network, masks)
    assert widths(small) == [(3, 3), (3, 2), (2, 2)]
    assert bool((small[0].weight == network[0].weight[[0, 2, 5]]).all())
    assert bool((small[0].bias == network[0].bias[[0, 2, 5]]).all())
    assert bool((small[2].weight == network[2].weight[[1, 3]][:, [0, 2, 5]]).all())
    assert bool((small[4].weight == network[4].weight[:, [1, 3]]).all())
    assert bool((small[4].bias == network[4].bias).all())
    states = batches(3)()
    torch.testing.assert_close(small(states), masked(network, masks)(states), rtol=0.0, atol=1e-12)


def test_both_heads_lose_the_columns() -> None:
    network = TwoHeads(hidden=6)
    masks = {"body.0": keep(1, 4, width=6)}
    small = shrink(network, masks)
    assert widths(small) == [(3, 2), (2, 2), (2, 2)]
    states = batches(3)()
    for mine, its in zip(small(states), masked(network, masks)(states), strict=True):
        torch.testing.assert_close(mine, its, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_dtype_is_kept(dtype: torch.dtype) -> None:
    network = mlp(3, 6, 2, activation=nn.Sigmoid).to(dtype)
    with torch.no_grad():
        network[0].weight[0] = 0.0
    small = shrink(network, {"0": keep(1, 2, width=6)})
    assert {parameter.dtype for parameter in small.parameters()} == {dtype}
    assert small(torch.ones(1, 3, dtype=dtype)).dtype == dtype


def test_names_modes_and_frozen_parameters_are_kept() -> None:
    network = nn.Sequential(*mlp(3, 6), nn.Tanh(), nn.Dropout(0.25), *mlp(6, 5), nn.LeakyReLU(0.3), *mlp(5, 2))
    network[0].requires_grad_(False)
    network[3].bias.requires_grad_(False)
    network[5].weight.requires_grad_(False)
    network.eval()
    network[2].train()
    small = shrink(network, {"0": keep(0, 2, width=6), "3": keep(1, 3, width=5)})
    assert [name for name, _ in small.named_parameters()] == [name for name, _ in network.named_parameters()]
    flags = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    assert {name: parameter.requires_grad for name, parameter in small.named_parameters()} == flags
    assert [module.training for module in small.modules()] == [module.training for module in network.modules()]
    assert small[2].p == 0.25
    assert small[4].negative_slope == 0.3


def test_a_removed_constant_is_added_to_the_consumers_bias() -> None:
    network = mlp(2, 3, 1, activation=nn.Sigmoid)
    with torch.no_grad():
        network[0].weight[1] = 0.0
        network[0].bias[1] = 0.7
        network[2].weight[0, 1] = 4.0
        network[2].bias[0] = 0.5
    small = shrink(network, {"0": keep(0, 2, width=3)})
    assert small[2].bias.item() == pytest.approx(0.5 + 4.0 * torch.sigmoid(torch.tensor(0.7, dtype=torch.float64)))
    states = batches(2)()
    torch.testing.assert_close(small(states), network(states), rtol=0.0, atol=1e-12)


def test_a_removed_constant_makes_a_bias_where_there_is_none() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 2, bias=False)).double()
    with torch.no_grad():
        network[0].weight[1] = 0.0
    small = shrink(network, {"0": keep(0, 2, width=3)})
    states = batches(2)()
    torch.testing.assert_close(small(states), network(states), rtol=0.0, atol=1e-12)
    assert network[2].bias is None
    assert small[2].bias.requires_grad


def test_no_bias_appears_where_nothing_constant_is_removed() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2, bias=False))
    assert shrink(network, {"0": keep(0, 2, width=3)})[2].bias is None


@pytest.mark.parametrize("frozen", ["bias", "weight"])
def test_a_bias_that_takes_a_constant_up_stays_as_trainable_as_it_was(frozen: str) -> None:
    network = mlp(2, 3, 1, activation=nn.Sigmoid)
    with torch.no_grad():
        network[0].weight[1] = 0.0
    getattr(network[2], frozen).requires_grad_(False)
    small = shrink(network, {"0": keep(0, 2, width=3)})
    assert small[2].bias.requires_grad is (frozen == "weight")
    assert small[2].weight.requires_grad is (frozen == "bias")


def test_a_shrunk_network_trains_on_and_leaves_the_old_one_alone() -> None:
    network = mlp(3, 6, 5, 2)
    old = [parameter.detach().clone() for parameter in network.parameters()]
    small = shrink(network, some_masks())
    optimizer = torch.optim.Adam(small.parameters(), lr=1e-2)
    before = [parameter.detach().clone() for parameter in small.parameters()]
    fit_step(small, optimizer, batches(3)())
    for was, now in zip(before, small.parameters(), strict=True):
        assert now.is_leaf
        assert bool((was != now).all())
    assert all(bool((was == now).all()) for was, now in zip(old, network.parameters(), strict=True))


def test_a_shrunk_network_can_be_pruned_again() -> None:
    network = mlp(3, 20, 2)
    for width in (10, 5):
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        pruner = Pruner(network, optimizer, 100, PruningPlan(threshold=Sparsity(0.5), strength=0.1))
        fit(network, optimizer, 100)
        states = batches(3, seed=9)()
        small = shrink(network, pruner.masks)
        assert widths(small) == [(3, width), (width, 2)]
        torch.testing.assert_close(small(states), network(states), rtol=0.0, atol=1e-12)
        network = small


@pytest.mark.parametrize("steps", [15, 100])
def test_a_shrunk_network_is_as_small_on_disk_as_one_made_small(steps: int) -> None:
    network = mlp(3, 40, 2)
    pruner = Pruner(
        network, torch.optim.Adam(network.parameters()), 100, PruningPlan(threshold=Sparsity(0.9), strength=0.1)
    )
    fit(network, pruner.optimizer, steps)
    masks = pruner.masks if pruner.frozen else {"0": keep(0, 1, 2, 3, width=40)}
    assert len(pickle.dumps(shrink(network, masks))) < len(pickle.dumps(mlp(3, 4, 2))) + 1000


def test_a_network_without_hidden_layers_is_copied() -> None:
    network = mlp(3, 2)
    small = shrink(network, {})
    assert small is not network
    assert bool((small[0].weight == network[0].weight).all())


@pytest.mark.parametrize(
    ("name", "mask", "match"),
    [
        ("2", None, "group '2' has no mask"),
        ("9", torch.ones(5, dtype=torch.bool), r"mask '9' belongs to no group of this network \(groups: 0, 2\)"),
        ("2", torch.ones(5), r"mask '2' is float32\[5\], but the group needs bool\[5\]"),
        ("0", torch.ones(5, dtype=torch.bool), r"mask '0' is bool\[5\], but the group needs bool\[6\]"),
        ("0", torch.ones(6, 1, dtype=torch.bool), r"mask '0' is bool\[6, 1\], but"),
        ("2", torch.tensor([0, 1]), r"mask '2' is int64\[2\], but"),
    ],
)
def test_masks_that_do_not_fit_are_refused_by_the_group_s_name(name: str, mask: Tensor | None, match: str) -> None:
    masks = some_masks()
    if mask is None:
        del masks[name]
    else:
        masks[name] = mask
    for function in (shrink, masked):
        with pytest.raises(InputError, match=match):
            function(mlp(3, 6, 5, 2), masks)


def test_an_empty_group_is_refused() -> None:
    masks = {**some_masks(), "2": torch.zeros(5, dtype=torch.bool)}
    for function in (shrink, masked):
        with pytest.raises(EmptyGroupError, match="mask '2' keeps 0 units"):
            function(mlp(3, 6, 5, 2), masks)
    with pytest.raises(EmptyGroupError, match="mask '2' keeps 2 units, but at least 3"):
        shrink(mlp(3, 6, 5, 2), some_masks(), min_units=3)


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(2, 4), nn.Linear(4, 2))
    with pytest.raises(CouplingError, match=r"module '1' \(GroupNorm\)"):
        shrink(network, {"0": torch.ones(4, dtype=torch.bool)})


def test_gated_units_give_zero_and_constants_stay() -> None:
    network, masks = mlp(2, 3, 1, activation=nn.Sigmoid), {"0": keep(0, width=3)}
    with torch.no_grad():
        network[0].weight[1] = 0.0
    states = batches(2)()
    hidden = torch.sigmoid(network[0](states)) * torch.tensor([1.0, 1.0, 0.0])
    torch.testing.assert_close(masked(network, masks)(states), network[2](hidden), rtol=0.0, atol=1e-12)


def test_zeroing_takes_row_bias_and_all_columns_and_nothing_else() -> None:
    network = TwoHeads(hidden=6)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    alive = keep(1, 4, width=6)
    zero_slices_(dead_slices(network, find_groups(network), {"body.0": alive}))
    factors = {"body.0.weight": alive[:, None], "body.0.bias": alive, "mean.weight": alive, "log_std.weight": alive}
    for name, parameter in network.named_parameters():
        assert bool((parameter == before[name] * factors.get(name, torch.tensor(True))).all())


def test_masks_are_counted() -> None:
    masks = some_masks()
    assert kept_units(masks) == {"0": 3, "2": 2}
    assert sparsity_of(masks) == pytest.approx(6 / 11)
    assert sparsity_of({}) == 0.0
    full = full_masks(find_groups(mlp(3, 6, 5, 2)))
    assert (kept_units(full), sparsity_of(full)) == ({"0": 6, "2": 5}, 0.0)
