"""The Fisher matrix: the curvature of the divergence from a policy to its neighbours, whatever its actions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.distributions import Bernoulli, Categorical, Distribution, Normal, kl_divergence

from prunekit.optim import fisher
from prunekit.optim.fisher import by_products, fisher_matrix, natural
from prunekit.spaces.curvature import Choices, Curvature, Normals
from prunekit.spaces.multi_binary import Switches

DEVIATIONS = torch.tensor([0.4, 0.6, 1.2])
KINDS: dict[str, tuple[int, Curvature, Callable[[Tensor], list[Distribution]]]] = {
    "normal": (3, Normals(DEVIATIONS), lambda found: [Normal(found, DEVIATIONS.double())]),
    "choice": (3, Choices((3,)), lambda found: [Categorical(logits=found[:, None])]),
    "switches": (3, Switches(), lambda found: [Bernoulli(logits=found)]),
    "choices": (5, Choices((2, 3)), lambda found: [Categorical(logits=x[:, None]) for x in found.split([2, 3], 1)]),
}


def policy(kind: str, seed: int = 0, hidden: int = 4) -> tuple[nn.Sequential, Tensor, Curvature]:
    """Return (a network, observations, the curvature of its actions' distribution)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        outputs, curvature, _ = KINDS[kind]
        network = nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, outputs))
        return network, torch.randn(40, 2), curvature


def mean_divergence(network: nn.Sequential, seen: Tensor, kind: str) -> Callable[[Tensor], Tensor]:
    """Return the divergence from the policy to the one whose parameters differ by so much, [p]."""
    sizes = [value.numel() for value in network.parameters()]

    def distributions(change: Tensor) -> list[Distribution]:
        parts = torch.split(change, sizes)
        moved = [value.double() + part.view_as(value) for value, part in zip(network.parameters(), parts, strict=True)]
        hidden = torch.tanh(seen.double() @ moved[0].T + moved[1])
        return KINDS[kind][2](hidden @ moved[2].T + moved[3])

    def divergence(change: Tensor) -> Tensor:
        pairs = zip(distributions(torch.zeros_like(change)), distributions(change), strict=True)
        return torch.stack([kl_divergence(*pair).sum(dim=1).mean() for pair in pairs]).sum()

    return divergence


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_curvature_of_the_divergence(kind: str) -> None:
    network, seen, curvature = policy(kind)
    matrix = fisher_matrix(network, seen, curvature)
    expected = hessian(mean_divergence(network, seen, kind), torch.zeros(len(matrix)).double())
    torch.testing.assert_close(matrix, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_natural_gradient_solves_the_damped_system(kind: str) -> None:
    network, seen, curvature = policy(kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        solve = natural(network, seen, curvature)
        torch.manual_seed(2)
        in_its_order = seen[torch.randperm(len(seen))]  # another order rounds otherwise, which the solution magnifies
    assert solve is not None
    matrix = fisher_matrix(network, in_its_order, curvature)
    gradient = torch.randn(len(matrix), generator=torch.Generator().manual_seed(1)).double()
    damped = matrix + 1e-3 * matrix.diagonal().mean() * torch.eye(len(matrix))
    torch.testing.assert_close(damped @ solve(gradient), gradient, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_conjugate_gradients_come_to_the_same(kind: str) -> None:
    network, seen, curvature = policy(kind)
    matrix = fisher_matrix(network, seen, curvature)
    gradient = torch.randn(len(matrix), generator=torch.Generator().manual_seed(1)).double()
    exact = torch.linalg.solve(matrix + 0.1 * matrix.diagonal().mean() * torch.eye(len(matrix)), gradient)
    # damped so that it is conditioned well enough for few iterations
    found = by_products(network, seen, curvature, iterations=200, damping_share=0.1)(gradient)
    likeness = torch.nn.functional.cosine_similarity(found, exact, dim=0)
    assert float(likeness) > 0.98  # the damping is an estimate there
    assert float(torch.nn.functional.cosine_similarity(gradient, exact, dim=0)) < 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_a_wide_network_needs_no_matrix(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, seen, curvature = policy(kind, hidden=400)
    count = sum(value.numel() for value in network.parameters())
    assert count > 2_048
    monkeypatch.delattr(fisher, "fisher_matrix")
    solve = natural(network, seen, curvature)
    assert solve is not None
    gradient = torch.randn(count, generator=torch.Generator().manual_seed(1)).double()
    way = solve(gradient)
    assert bool(way.isfinite().all())
    assert float(way @ gradient) > 0.0


def test_what_is_no_number_gives_no_direction() -> None:
    network, seen, curvature = policy("normal")
    with torch.no_grad():
        network[0].weight[0, 0] = float("nan")
    assert natural(network, seen, curvature) is None
