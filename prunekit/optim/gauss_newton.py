"""Damped Gauss-Newton fitting of networks with few parameters (Levenberg 1944; Marquardt 1963)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from prunekit.optim.fisher import fisher_matrix
from prunekit.spaces.curvature import Curvature

# The curvature uses at most this many outputs; the loss and its gradient use all states (Byrd et al. 2011).
_MAX_OUTPUTS = 12_288
_DAMPING, _MIN_DAMPING, _LESS, _MORE = 1e-2, 1e-6, 1 / 3, 4.0
_TRIES = 5
# Added to the diagonal, because a parameter without effect has no curvature.
_FLOOR = 1e-6


def fit_gauss_newton(
    network: nn.Module,
    states: Tensor,
    loss: Callable[[Tensor], Tensor],
    iterations: int,
    generator: torch.Generator,
    curvature: Curvature,
    *,
    max_outputs: int = _MAX_OUTPUTS,
) -> float:
    """Minimise ``loss`` of the network's outputs [n, k] on ``states`` [n, obs] in place, and return the final loss.

    No step increases the loss. Each step solves the gradient with the ``curvature`` of a negative log-likelihood, which
    ``loss`` should be or resemble; both are means over the states. The curvature uses at most ``max_outputs`` values.
    """
    parameters = list(network.parameters())
    with torch.no_grad():
        outputs = network(states)
        reached = float(loss(outputs))
    rows = max(1, max_outputs // outputs.shape[1])
    damping = _DAMPING
    for _ in range(iterations):
        some = states[torch.randperm(len(states), generator=generator)[:rows]]
        matrix = fisher_matrix(network, some, curvature)
        slopes = torch.autograd.grad(loss(network(states)), parameters)
        gradient = torch.cat([slope.flatten() for slope in slopes]).double()
        before = [parameter.detach().clone() for parameter in parameters]
        diagonal = torch.diag(matrix.diagonal() + _FLOOR)
        for _ in range(_TRIES):
            factor, failed = torch.linalg.cholesky_ex(matrix + damping * diagonal)
            if not int(failed):
                way = torch.cholesky_solve(gradient[:, None], factor)[:, 0]
                found = _moved(network, before, way, states, loss)
                if found < reached:
                    reached, damping = found, max(damping * _LESS, _MIN_DAMPING)
                    break
            damping *= _MORE
        else:
            _set(parameters, before)
    return reached


def _moved(
    network: nn.Module, before: Sequence[Tensor], way: Tensor, states: Tensor, loss: Callable[[Tensor], Tensor]
) -> float:
    """Set the parameters to ``before`` minus ``way``, and return the loss there."""
    steps = torch.split(way.float(), [value.numel() for value in before])
    _set(list(network.parameters()), [value - step.view_as(value) for value, step in zip(before, steps, strict=True)])
    with torch.no_grad():
        return float(loss(network(states)))


def _set(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
