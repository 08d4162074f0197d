"""Reconstruction: what is left after a removal is fitted to the outputs before it, and nothing else changes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_helpers import TwoHeads, batches, bits, early_plan, fit_step, idle_step, mlp
from test_simba import SimBa
from test_states import Recurrent
from torch import Tensor, nn

from prunekit.errors import InputError
from prunekit.pruning import reconstruction
from prunekit.pruning.groups import find_groups
from prunekit.pruning.masks import dead_slices, full_masks, zero_slices_
from prunekit.pruning.physical import copy_of, living_view, write_back_
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner, first_tensor
from prunekit.pruning.reconstruction import Reconstruction
from prunekit.pruning.schedules import Sparsity
from prunekit.pruning.surgery import shrink

STEPS = 100


def joined(outputs: object) -> Tensor:
    assert isinstance(outputs, tuple)
    return torch.cat(outputs, dim=1)


def curved(*widths: int, seed: int = 0) -> nn.Sequential:
    """Return a network that is far from linear: compensation alone does well on one that is nearly linear."""
    network = mlp(*widths, seed=seed)
    with torch.no_grad():
        for layer in network[:-1:2]:
            layer.weight.mul_(3.0)
    return network


def names_of(network: nn.Module) -> list[str]:
    return [name for name, _ in network.named_parameters()]


def plan_of(**changes: Any) -> PruningPlan:
    """Return a plan with no penalty, which would move the network too, and a window from step 20 to 70."""
    found = {"strength": 0.0, "checks": 25, "patience": 1, "share_per_check": 0.3, "states": 512, "reconstruction": 5}
    return early_plan(**{"threshold": Sparsity(0.75), **found, **changes})


class Loop:
    """A loop of a network and a target network that do not learn, so that only the pruner moves them."""

    def __init__(self, plan: PruningPlan, *, live_shrink: bool = False, seed: int = 0, learns: bool = False) -> None:
        self.network = curved(3, 14, 10, 2, seed=seed)
        self.twin = curved(3, 14, 10, 2, seed=seed + 1).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-2)
        self.first, self.first_twin = copy.deepcopy(self.network), copy.deepcopy(self.twin)
        self.pruner = Pruner(self.network, self.optimizer, STEPS, plan, twins=[self.twin], live_shrink=live_shrink)
        source = batches(3, seed, size=512)
        for _ in range(STEPS):
            (fit_step if learns else idle_step)(self.network, self.optimizer, source())
        self.pruner.detach()

    def errors(self) -> tuple[float, float]:
        """Return how far network and target network are from what they were, on new inputs."""
        rows = batches(3, 99, size=512)()
        with torch.no_grad():
            pairs = ((self.first, self.network), (self.first_twin, self.twin))
            return tuple(float((first(rows) - now(rows)).square().mean()) for first, now in pairs)  # type: ignore[return-value]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 6), st.floats(0.0, 3.0))
def test_a_fit_never_moves_the_outputs_away(seed: int, outputs: int, iterations: int, noise: float) -> None:
    inputs = batches(3, seed, size=128)()
    fit = Reconstruction(iterations=iterations, outputs_of=first_tensor)
    wanted = fit.outputs(curved(3, 8, outputs, seed=seed), inputs, ())
    network = curved(3, 4, outputs, seed=seed + 1)
    with torch.no_grad():
        network[2].bias.add_(noise)

    def error() -> float:
        return float(((fit.outputs(network, inputs, ()) - wanted) / wanted.std(dim=0, unbiased=False)).square().sum())

    before = error()
    fit.fit_(network, names_of(network), inputs, (), wanted, seed=seed)
    assert error() <= before * (1 + 1e-9)


@pytest.mark.parametrize("live_shrink", [False, True])
@pytest.mark.parametrize("compensate", [False, True])
def test_a_network_and_its_twin_stay_closer_to_what_they_were(live_shrink: bool, compensate: bool) -> None:
    """The control is the same loop without reconstruction; each network is fitted to its own outputs."""
    errors = {
        steps: [
            Loop(plan_of(reconstruction=steps, compensate=compensate), live_shrink=live_shrink, seed=seed).errors()
            for seed in range(5)
        ]
        for steps in (0, 5)
    }
    for index in (0, 1):
        plain, fitted = (sum(pair[index] for pair in errors[steps]) for steps in (0, 5))
        assert fitted < 0.5 * plain


@pytest.mark.parametrize("learns", [False, True])
def test_masks_and_physical_removal_give_the_same_networks(learns: bool) -> None:
    """Up to rounding, which the fit amplifies, so float64 and few steps; and a dead unit is exactly zero."""
    masked, small = (Loop(plan_of(), live_shrink=live, learns=learns) for live in (False, True))
    for name, keep in masked.pruner.keep.items():
        assert torch.equal(keep, small.pruner.keep[name])
        for network in (masked.network, masked.twin):
            own, reader = network[int(name)], network[int(name) + 2]
            assert not any(bool(part.any()) for part in (own.weight[~keep], own.bias[~keep], reader.weight[:, ~keep]))
    for network, other in ((masked.network, small.network), (masked.twin, small.twin)):
        for one, two in zip(shrink(network, masked.pruner.masks).parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-8)


def test_a_target_network_that_is_frozen_stays_frozen() -> None:
    for live_shrink in (False, True):
        loop = Loop(plan_of(), live_shrink=live_shrink)
        assert not any(parameter.requires_grad for parameter in loop.twin.parameters())
        assert all(parameter.requires_grad for parameter in loop.network.parameters())


@pytest.mark.parametrize(("constant", "value"), [("MAX_PARAMETERS", 20), ("_VALUES_EACH", 1000)])
def test_a_network_that_is_too_large_stays_as_compensation_leaves_it(
    monkeypatch: pytest.MonkeyPatch, constant: str, value: int
) -> None:
    plain = bits(Loop(plan_of(reconstruction=0), learns=True).network)
    assert bits(Loop(plan_of(), learns=True).network) != plain
    monkeypatch.setattr(reconstruction, constant, value)
    assert bits(Loop(plan_of(), learns=True).network) == plain


def test_frozen_parameters_stay() -> None:
    """So do those on which the outputs do not depend."""
    network = TwoHeads(hidden=6)
    network.body[0].bias.requires_grad_(False)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    fit = Reconstruction(iterations=3, outputs_of=first_tensor)
    inputs = batches(3, size=256)()
    moved = copy_of(network)
    names = [name for name in names_of(network) if name != "body.0.bias"]
    fit.fit_(moved, names, inputs, (), torch.sin(3 * inputs[:, :2]), seed=0)
    after = dict(moved.named_parameters())
    stayed = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert stayed == {"body.0.bias", "log_std.weight", "log_std.bias"}


def test_both_heads_are_kept() -> None:
    """SAC's actor: a fit of the means alone ruins the deviations, which read the same units."""
    errors = {}
    for name, steps, picked in (("plain", 0, joined), ("both", 5, joined), ("means alone", 5, first_tensor)):
        network = TwoHeads(hidden=16)
        with torch.no_grad():
            network.body[0].weight.mul_(3.0)
        before = copy.deepcopy(network)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
        plan = plan_of(reconstruction=steps, compensate=False)
        pruner = Pruner(network, optimizer, STEPS, plan, distribution_of=picked)
        source = batches(3, size=64)
        for _ in range(STEPS):
            mean, log_std = network(source())
            (mean + log_std).sum().backward()
            optimizer.step()
        pruner.detach()
        rows = batches(3, 99, size=256)()
        with torch.no_grad():
            pairs = zip(before(rows), network(rows), strict=True)
            errors[name] = [float((one - two).square().mean()) for one, two in pairs]
    assert all(fitted < 0.5 * plain for fitted, plain in zip(errors["both"], errors["plain"], strict=True))
    assert errors["means alone"][1] > 2 * errors["both"][1]


def networks() -> dict[str, tuple[nn.Module, int]]:
    torch.manual_seed(0)
    return {
        "mlp": (mlp(3, 7, 5, 2), 0),
        "two heads": (TwoHeads(), 0),
        "simba": (SimBa(3, 6, 2).double(), 0),
        "recurrent": (Recurrent().double(), 1),
    }


@pytest.mark.parametrize("name", networks())
def test_what_is_written_back_is_what_the_small_network_does(name: str) -> None:
    network, states = networks()[name]
    groups = find_groups(network, states=states)
    generator = torch.Generator().manual_seed(1)
    masks = {key: torch.rand(keep.numel(), generator=generator) < 0.6 for key, keep in full_masks(groups).items()}
    masks = {key: keep.index_fill(0, torch.tensor([0]), True) for key, keep in masks.items()}
    dead = dead_slices(network, groups, masks)
    zero_slices_(dead)
    small = copy_of(living_view(network, groups, masks)[0])
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=generator, dtype=torch.float64))
    write_back_(network, groups, masks, small)
    for tensor, axis, places in dead:
        assert not tensor.index_select(axis, places).any()
    again = living_view(network, groups, masks)[0]
    for one, two in zip(small.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("name", ["simba", "recurrent"])
def test_other_networks_can_be_fitted(name: str) -> None:
    network, states = networks()[name]
    widths = (3, 5) if states else ()
    inputs = torch.randn(1000, sum(widths) or 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    fit = Reconstruction(iterations=10, outputs_of=first_tensor)
    wanted = fit.outputs(network, inputs, widths)
    moved = copy_of(network)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.mul_(0.9)
    before = (fit.outputs(moved, inputs, widths) - wanted).square().mean()
    fit.fit_(moved, names_of(moved), inputs, widths, wanted, seed=0)
    after = (fit.outputs(moved, inputs, widths) - wanted).square().mean()
    assert float(after) < 0.05 * float(before)


def test_constant_outputs_are_left_alone() -> None:
    """An output that hardly varies must not outweigh the others; where none varies there is nothing to fit."""
    network = mlp(3, 4, 2)
    inputs = batches(3, size=64)()
    fit = Reconstruction(iterations=3, outputs_of=first_tensor)
    before = bits(network)
    fit.fit_(network, names_of(network), inputs, (), torch.ones(64, 2, dtype=torch.float64), seed=0)
    assert bits(network) == before
    wanted = fit.outputs(mlp(3, 4, 2, seed=1), inputs, ())
    wanted[:, 1] = 1.0
    fit.fit_(network, names_of(network), inputs, (), wanted, seed=0)
    error = (fit.outputs(network, inputs, ()) - wanted).square().mean(dim=0)
    assert float(error[0]) < float(wanted[:, 0].var())


@pytest.mark.parametrize(
    ("layer", "told"), [(nn.PReLU(6), "cannot differentiate this network"), (nn.ReLU(inplace=True), ""), (nn.ELU(), "")]
)
def test_a_network_that_cannot_be_fitted_is_refused_before_training(layer: nn.Module, told: str) -> None:
    network = nn.Sequential(nn.Linear(3, 6), layer, nn.Linear(6, 2)).double()
    optimizer = torch.optim.Adam(network.parameters())
    if told:
        with pytest.raises(InputError, match=told) as refusal:
            Pruner(network, optimizer, STEPS, plan_of())
        assert "\n" not in str(refusal.value)
    else:
        Pruner(network, optimizer, STEPS, plan_of())
    Pruner(network, optimizer, STEPS, plan_of(reconstruction=0))


def recurrent(steps: int) -> tuple[Recurrent, Pruner]:
    torch.manual_seed(0)
    network = Recurrent().double()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    pruner = Pruner(network, optimizer, STEPS, plan_of(threshold=Sparsity(0.5), reconstruction=steps), states=1)
    source = batches(3, size=32)
    for _ in range(STEPS):
        state = torch.zeros(32, 5, dtype=torch.float64)
        for _ in range(3):
            output, state = network(source(), state)
        optimizer.zero_grad()
        (output - 1.0).square().mean().backward()
        optimizer.step()
    return network, pruner


def test_a_recurrent_network_can_be_pruned_with_it() -> None:
    network, pruner = recurrent(5)
    assert pruner.frozen
    assert bits(network) != bits(recurrent(0)[0]), "it was fitted"
    for name, keep in pruner.keep.items():
        own = network.get_submodule(name)
        weight = own.weight if isinstance(own, nn.Linear) else own.weight_ih.view(3, 5, -1).movedim(1, 0)
        assert not weight[~keep].any()


def test_a_pruner_leaves_frozen_parameters_and_the_random_state_alone() -> None:
    network = curved(3, 14, 10, 2)
    network[0].bias.requires_grad_(False)
    before = network[0].bias.clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    pruner = Pruner(network, optimizer, STEPS, plan_of())
    source, state = batches(3, size=512), torch.get_rng_state()
    for _ in range(STEPS):
        network(source()).sum().backward()
        optimizer.step()
    assert torch.equal(torch.get_rng_state(), state)
    assert pruner.frozen
    keep = pruner.keep["0"]
    assert torch.equal(network[0].bias[keep], before[keep])


class Scaled(nn.Module):
    """A network with numbers that have no axes, one of which its outputs depend on."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.scale, self.spare = body, nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.tensor(2.5))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.scale  # type: ignore[no-any-return]


class Behind(nn.Module):
    """A network of which only the layers behind something unknown can be traced."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(torch.cat([x, torch.fft.rfft(x).abs()], dim=1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["scaled", "behind"])
@pytest.mark.parametrize("live_shrink", [False, True])
def test_networks_of_other_forms_can_be_pruned_with_it(kind: str, live_shrink: bool) -> None:
    network = Scaled(curved(3, 14, 10, 2)) if kind == "scaled" else Behind(curved(5, 14, 10, 2))
    before = copy.deepcopy(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    pruner = Pruner(network, optimizer, STEPS, plan_of(), live_shrink=live_shrink)
    source = batches(3, size=512)
    for _ in range(STEPS):
        network(source()).sum().backward()
        optimizer.step()
    pruner.detach()
    assert pruner.frozen
    rows = batches(3, 99, size=256)()
    with torch.no_grad():
        wanted = before(rows)
        assert float((network(rows) - wanted).square().mean()) < 0.2 * float(wanted.var())
    if isinstance(network, Scaled):
        assert (network.scale.item(), network.spare.item()) == (1.5, 2.5)


@pytest.mark.parametrize("number", [-1, 2.5, float("nan")])
def test_a_wrong_number_is_refused(number: Any) -> None:
    with pytest.raises(InputError, match="reconstruction must be a whole number, at least 0, got"):
        PruningPlan(reconstruction=number)
