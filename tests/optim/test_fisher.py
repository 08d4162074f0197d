"""The Fisher matrix: the curvature of the divergence from a policy to its neighbours, whatever its actions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.distributions import Categorical, Normal, kl_divergence

from prunekit.optim import fisher
from prunekit.optim.fisher import by_products, fisher_matrix, natural

KINDS = [True, False]


def policy(continuous: bool, seed: int = 0, hidden: int = 4) -> tuple[nn.Sequential, Tensor, Tensor | None]:
    """Return (a network of 3 scores, observations, its actions' deviations if it has some)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 3))
        return network, torch.randn(40, 2), torch.tensor([0.4, 0.6, 1.2]) if continuous else None


def mean_divergence(network: nn.Sequential, seen: Tensor, deviations: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Return the divergence from the policy to the one whose parameters differ by so much, [p]."""
    sizes = [value.numel() for value in network.parameters()]

    def distribution(change: Tensor) -> Categorical | Normal:
        parts = torch.split(change, sizes)
        moved = [value.double() + part.view_as(value) for value, part in zip(network.parameters(), parts, strict=True)]
        hidden = torch.tanh(seen.double() @ moved[0].T + moved[1])
        scores = hidden @ moved[2].T + moved[3]
        return Categorical(logits=scores) if deviations is None else Normal(scores, deviations.double())

    def divergence(change: Tensor) -> Tensor:
        each = kl_divergence(distribution(torch.zeros_like(change)), distribution(change))
        return (each if deviations is None else each.sum(dim=1)).mean()

    return divergence


@pytest.mark.parametrize("continuous", KINDS)
def test_it_is_the_curvature_of_the_divergence(continuous: bool) -> None:
    network, seen, deviations = policy(continuous)
    matrix = fisher_matrix(network, seen, deviations)
    expected = hessian(mean_divergence(network, seen, deviations), torch.zeros(len(matrix)).double())
    torch.testing.assert_close(matrix, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("continuous", KINDS)
def test_a_natural_gradient_solves_the_damped_system(continuous: bool) -> None:
    network, seen, deviations = policy(continuous)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        solve = natural(network, seen, deviations)
        torch.manual_seed(2)
        in_its_order = seen[torch.randperm(len(seen))]  # another order rounds otherwise, which the solution magnifies
    assert solve is not None
    matrix = fisher_matrix(network, in_its_order, deviations)
    gradient = torch.randn(len(matrix), generator=torch.Generator().manual_seed(1)).double()
    damped = matrix + 1e-3 * matrix.diagonal().mean() * torch.eye(len(matrix))
    torch.testing.assert_close(damped @ solve(gradient), gradient, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("continuous", KINDS)
def test_conjugate_gradients_come_to_the_same(continuous: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fisher, "_DAMPING", 0.1)  # conditioned well enough for few iterations
    network, seen, deviations = policy(continuous)
    matrix = fisher_matrix(network, seen, deviations)
    gradient = torch.randn(len(matrix), generator=torch.Generator().manual_seed(1)).double()
    exact = torch.linalg.solve(matrix + 0.1 * matrix.diagonal().mean() * torch.eye(len(matrix)), gradient)
    found = by_products(network, seen, deviations, iterations=200)(gradient)
    likeness = torch.nn.functional.cosine_similarity(found, exact, dim=0)
    assert float(likeness) > 0.98  # the damping is an estimate there
    assert float(torch.nn.functional.cosine_similarity(gradient, exact, dim=0)) < 0.9


@pytest.mark.parametrize("continuous", KINDS)
def test_a_wide_network_needs_no_matrix(continuous: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network, seen, deviations = policy(continuous, hidden=400)
    count = sum(value.numel() for value in network.parameters())
    assert count > 2_048
    monkeypatch.delattr(fisher, "fisher_matrix")
    solve = natural(network, seen, deviations)
    assert solve is not None
    gradient = torch.randn(count, generator=torch.Generator().manual_seed(1)).double()
    way = solve(gradient)
    assert bool(way.isfinite().all())
    assert float(way @ gradient) > 0.0


def test_what_is_no_number_gives_no_direction() -> None:
    network, seen, deviations = policy(True)
    with torch.no_grad():
        network[0].weight[0, 0] = float("nan")
    assert natural(network, seen, deviations) is None
