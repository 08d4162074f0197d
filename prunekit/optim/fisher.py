"""The Fisher matrix of a policy's actions, and natural gradients (Amari 1998; Kakade 2001)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vjp, vmap

from prunekit.spaces.curvature import Curvature

Solve = Callable[[Tensor], Tensor]
"""A gradient, float64 [p], to the natural one."""

# Added to the Fisher matrix's diagonal, as a share of its mean.
_DAMPING = 1e-3
# The matrix uses at most this many outputs: more cost time and hardly change it.
_MAX_OUTPUTS = 6_144
# Up to this many parameters the matrix is built and factorized; above it, products suffice (Martens 2010).
MAX_PARAMETERS = 2_048
_ITERATIONS = 20


def natural(network: nn.Module, observations: Tensor, curvature: Curvature) -> Solve | None:
    """Return a solver that multiplies gradients by the inverse of the damped Fisher matrix over ``observations`` [n,
    obs].

    The network maps [n, obs] to [n, k], the parameters of an action distribution with this ``curvature``. Gradients are
    of the network's parameters. Returns None if the matrix cannot be inverted because it is not finite.
    """
    with torch.no_grad():
        outputs = network(observations[:1]).shape[1]
    some = observations[torch.randperm(len(observations))[: max(1, _MAX_OUTPUTS // outputs)]]
    if sum(parameter.numel() for parameter in network.parameters()) > MAX_PARAMETERS:
        return by_products(network, some, curvature)
    matrix = fisher_matrix(network, some, curvature)
    damping = _DAMPING * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=matrix.dtype)
    factor, failed = torch.linalg.cholesky_ex(matrix + damping)
    return None if int(failed) else lambda gradient: torch.cholesky_solve(gradient[:, None], factor)[:, 0]


def fisher_matrix(network: nn.Module, observations: Tensor, curvature: Curvature) -> Tensor:
    """Return the Fisher matrix, float64 [p, p], of the actions over ``observations`` [n, obs]; see ``natural``."""
    with torch.no_grad():
        outputs = network(observations)
    values = {name: value.detach() for name, value in network.named_parameters()}

    def outputs_of(given: dict[str, Tensor], observation: Tensor) -> Tensor:
        return _called(network, given, observation[None])[0]

    parts = vmap(jacrev(outputs_of), in_dims=(None, 0))(values, observations)
    slopes = torch.cat([part.flatten(2) for part in parts.values()], dim=2)
    rows = curvature.root(outputs, slopes).flatten(0, 1)
    return (rows.T @ rows).double() / len(observations)


def by_products(
    network: nn.Module,
    observations: Tensor,
    curvature: Curvature,
    *,
    iterations: int = _ITERATIONS,
    damping_share: float = _DAMPING,
) -> Solve:
    """Return the same solver as ``natural`` by conjugate gradients, which only need products with the Fisher matrix.

    ``damping_share`` times the mean of the diagonal is added to the diagonal.
    """
    values = {name: value.detach() for name, value in network.named_parameters()}
    sizes = [value.numel() for value in values.values()]

    def outputs_of(given: dict[str, Tensor]) -> Tensor:
        return _called(network, given, observations)

    found, pull, *_ = vjp(outputs_of, values)
    # What ``pull`` does is linear, so that pulling through it pushes a change of the parameters to the outputs.
    _, push, *_ = vjp(lambda weights: pull(weights)[0], torch.zeros_like(found))

    def product(way: Tensor) -> Tensor:
        parts = torch.split(way.float(), sizes)
        given = {name: part.view_as(value) for part, (name, value) in zip(parts, values.items(), strict=True)}
        change = curvature.product(found, push(given)[0])
        return torch.cat([part.flatten() for part in pull(change / len(observations))[0].values()]).double()

    probe = torch.randint(0, 2, (sum(sizes),)).double() * 2.0 - 1.0
    damping = damping_share * float(probe @ product(probe)) / len(probe)  # an estimate of the mean of the diagonal
    return lambda gradient: _conjugate_gradients(lambda way: product(way) + damping * way, gradient, iterations)


def _conjugate_gradients(product: Solve, right: Tensor, iterations: int) -> Tensor:
    """Return an approximate solution x of product(x) = right after ``iterations`` (Hestenes and Stiefel 1952)."""
    found, rest = torch.zeros_like(right), right.clone()
    way, error = rest.clone(), rest @ rest
    for _ in range(iterations):
        if not float(error) > 1e-20 * float(right @ right):
            break
        turned = product(way)
        share = error / (way @ turned)
        found, rest = found + share * way, rest - share * turned
        last, error = error, rest @ rest
        way = rest + error / last * way
    return found


def _called(network: nn.Module, values: dict[str, Tensor], observations: Tensor) -> Tensor:
    found = functional_call(network, values, (observations,))
    assert isinstance(found, Tensor)
    return found
