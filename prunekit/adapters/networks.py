"""Modules that combine a learner's modules into one network for the pruner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

import torch
from torch import Tensor, nn


@final
class TwoHeads(nn.Module):
    """A trunk with two heads: maps observations [n, obs] to (mean [n, k], log standard deviation [n, k]).

    Layers are named by position, as in an ``nn.Sequential`` of trunk and mean.
    """

    def __init__(self, trunk: Iterable[nn.Module], mean: nn.Linear, log_std: nn.Linear) -> None:
        super().__init__()
        layers = [*trunk, mean]
        for index, layer in enumerate(layers):
            self.add_module(str(index), layer)
        self._depth = len(layers) - 1
        self.log_std = log_std

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation, both before clipping and squashing."""
        for index in range(self._depth):
            x = self.get_submodule(str(index))(x)
        return self.get_submodule(str(self._depth))(x), self.log_std(x)


@final
class Ensemble(nn.Module):
    """Several networks on the same input [n, features]; returns a tuple of outputs [n, 1]."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the output of every network."""
        return tuple(member(x) for member in self.members)


def joined(outputs: object) -> Tensor:
    """Return several outputs, [n, k] each, as one tensor: those of an ensemble, for instance."""
    assert isinstance(outputs, tuple)
    return torch.cat(outputs, dim=1)
