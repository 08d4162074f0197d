"""Policies of untrained weights, in shapes whose cost is to be measured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.heads import ClipHead
from prunekit.policy.program import Program, lower


def untrained(widths: Sequence[int], normalizer: Normalizer | None) -> Program:
    """Return a policy of tanh units, from the inputs to actions in [-1, 1], always the same one."""
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layer = nn.Linear(inputs, outputs)
        nn.init.orthogonal_(layer.weight, generator=generator)
        nn.init.uniform_(layer.bias, -0.1, 0.1, generator=generator)
        layers += [layer, nn.Tanh()]
    head = ClipHead(low=(-1.0,) * widths[-1], high=(1.0,) * widths[-1])
    return lower(Actor(nn.Sequential(*layers[:-1]), head, normalizer))
