"""Damped Gauss-Newton steps: they never raise the loss, and they get where Adam does not in a minute."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from prunekit.optim import gauss_newton
from prunekit.optim.gauss_newton import fit_gauss_newton
from prunekit.spaces.curvature import Choices, Normals


def squared(answers: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda scores: (scores - answers).square().sum(dim=1).mean()


def preferred(answers: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda scores: nn.functional.cross_entropy(scores, answers.softmax(dim=1))


def problem(seed: int, hidden: int, discrete: bool) -> tuple[nn.Sequential, Tensor, Callable[[Tensor], Tensor]]:
    """Return (a network, states, the loss of its scores against those of another network of the same kind)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, teacher = (nn.Sequential(nn.Linear(3, hidden), nn.Tanh(), nn.Linear(hidden, 2)) for _ in range(2))
        states = torch.randn(300, 3)
    with torch.no_grad():
        answers = 3.0 * teacher(states)
    return network, states, preferred(answers) if discrete else squared(answers)


def refined(
    network: nn.Sequential,
    states: Tensor,
    loss: Callable[[Tensor], Tensor],
    steps: int,
    discrete: bool,
    max_outputs: int = 12_288,
) -> float:
    curvature = Choices((2,)) if discrete else Normals(torch.full((2,), 0.5).sqrt())
    generator = torch.Generator().manual_seed(0)
    return fit_gauss_newton(network, states, loss, steps, generator, curvature, max_outputs=max_outputs)


@given(seed=st.integers(0, 999), hidden=st.integers(1, 6), discrete=st.booleans(), steps=st.integers(0, 4))
def test_the_loss_never_rises_and_is_what_is_returned(seed: int, hidden: int, discrete: bool, steps: int) -> None:
    network, states, loss = problem(seed, hidden, discrete)
    before = float(loss(network(states)).detach())
    reached = refined(network, states, loss, steps, discrete)
    assert reached <= before + 1e-6
    assert float(loss(network(states)).detach()) == pytest.approx(reached, rel=1e-5, abs=1e-7)


def test_a_linear_network_is_solved_in_a_few_steps() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, states, wanted = nn.Sequential(nn.Linear(3, 2)), torch.randn(200, 3), torch.randn(200, 2)
    refined(network, states, squared(wanted), 12, False)
    ones = torch.cat([states, torch.ones(200, 1)], dim=1)
    exact = torch.linalg.lstsq(ones, wanted).solution
    torch.testing.assert_close(network[0].weight.detach(), exact[:3].T, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(network[0].bias.detach(), exact[3], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("discrete", [True, False])
def test_it_gets_further_than_ten_times_as_many_steps_of_adam(discrete: bool) -> None:
    network, states, loss = problem(1, 5, discrete)
    rival, _, _ = problem(1, 5, discrete)
    optimizer = torch.optim.Adam(rival.parameters(), lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        loss(rival(states)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    refined(network, states, loss, 30, discrete)
    assert float(loss(network(states)).detach()) < float(loss(rival(states)).detach())


def test_where_no_step_helps_the_network_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    network, states, loss = problem(2, 4, False)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    moved = gauss_newton._moved
    monkeypatch.setattr(gauss_newton, "_moved", lambda *words: moved(*words) * float("nan"))
    refined(network, states, loss, 3, False)
    for parameter, value in zip(network.parameters(), before, strict=True):
        assert torch.equal(parameter, value)


def test_the_same_generator_gives_the_same_bits() -> None:
    found = []
    for _ in range(2):
        network, states, loss = problem(3, 4, False)
        found.append(refined(network, states, loss, 5, False, max_outputs=100))  # of fewer states than there are
    assert found[0] == found[1]
