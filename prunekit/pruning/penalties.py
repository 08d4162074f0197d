"""Penalties: the group-sparse regularizer R = lambda * sum_j alpha_j sqrt(|g|) ||theta_g||.

A penalty is applied around one optimizer step. ``proximal`` acts after it and is decoupled from the
optimizer's own scaling; ``gradient`` adds to the loss's gradient before it, as published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from prunekit.pruning.importance import unit_norms
from prunekit.pruning.masks import Masks
from prunekit.pruning.slices import Group, per_place, unit_slices


@final
@dataclass(frozen=True, kw_only=True)
class PenaltyWeights:
    """How strongly the penalty acts on each unit: ``weight[group]`` [width] is lambda alpha_j sqrt(|g|)."""

    network: nn.Module
    groups: Sequence[Group]
    weight: Mapping[str, Tensor]


PenaltyStep = Callable[[PenaltyWeights, float], None]


@final
@dataclass(frozen=True, kw_only=True)
class Penalty:
    """How a penalty acts. ``before`` and ``after`` surround the optimizer's step and get its learning rate."""

    name: str
    before: PenaltyStep | None = None
    after: PenaltyStep | None = None


@torch.no_grad()
def shrink_norms_(weights: PenaltyWeights, learning_rate: float) -> None:
    """Apply theta_g *= max(0, 1 - lr * weight_j / ||theta_g||), the proximal operator of the group lasso.

    Source: Yuan and Lin 2006 (group lasso), Parikh and Boyd 2014, section 6.5.1 (block soft thresholding).
    """
    for group in weights.groups:
        norms = unit_norms(weights.network, group)
        factor = (1.0 - learning_rate * weights.weight[group.name].to(norms) / norms.clamp_min(1e-12)).clamp_min_(0.0)
        for tensor, entry in unit_slices(weights.network, group):
            tensor.mul_(per_place(factor, entry, tensor, other=1.0))


@torch.no_grad()
def add_gradients_(weights: PenaltyWeights, _: float) -> None:
    """Add dR/dtheta_g = weight_j * theta_g / ||theta_g|| to the gradients that the loss left."""
    for group in weights.groups:
        norms = unit_norms(weights.network, group)
        scale = weights.weight[group.name].to(norms) / norms.clamp_min(1e-12)
        for tensor, entry in unit_slices(weights.network, group):
            if tensor.grad is not None:
                tensor.grad.add_(tensor * per_place(scale, entry, tensor, other=0.0))


PROXIMAL = Penalty(name="proximal", after=shrink_norms_)
GRADIENT = Penalty(name="gradient", before=add_gradients_)
PENALTIES = {penalty.name: penalty for penalty in (PROXIMAL, GRADIENT)}


def protection(importance: Mapping[str, Tensor], masks: Masks) -> dict[str, Tensor]:
    """Return alpha_j = clip(1 / (I_j + 0.1), 0.1, 10) over living units, rescaled to mean 1 over all of them."""
    alpha = {name: (1.0 / (value + 0.1)).clamp(0.1, 10.0) for name, value in importance.items()}
    living = torch.cat([alpha[name][masks[name].to(alpha[name].device)] for name in alpha])
    mean = float(living.mean())
    return {name: value / mean for name, value in alpha.items()}


def scale_free_lambda(norm: float, strength: float, learning_rate: float, updates: int) -> float:
    """Return the lambda with which ``updates`` steps shrink a unit of average alpha by ``strength`` median norms.

    It solves lr * lambda * sqrt(|g|) * updates = strength * norm, where ``norm`` is that of ``median_norm``.
    """
    return strength * norm / (learning_rate * max(updates, 1))


def median_norm(network: nn.Module, groups: Sequence[Group]) -> float:
    """Return the median over all units of ||theta_g|| / sqrt(|g|)."""
    ratios = torch.cat([unit_norms(network, group) / unit_size(network, group) ** 0.5 for group in groups])
    return float(ratios.median())


def unit_size(network: nn.Module, group: Group) -> int:
    """Return |g|, the number of parameters of one unit."""
    return sum(tensor.numel() // entry.size * len(entry.blocks) for tensor, entry in unit_slices(network, group))
