"""The curvature of an action distribution in a policy's outputs: the Fisher matrix [k, k] of one observation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, final

from prunekit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class Curvature(Protocol):
    """The Fisher matrix F of the distribution with the parameters ``outputs`` [n, k], as two products."""

    def root(self, outputs: Tensor, slopes: Tensor) -> Tensor:
        """Return R slopes, [n, k, p] from [n, k, p], where R^T R = F."""

    def product(self, outputs: Tensor, change: Tensor) -> Tensor:
        """Return F change, [n, k] from [n, k]."""


@final
@dataclass(frozen=True)
class Choices:
    """Outputs are logits of independent choices: the first ``counts[0]`` of the first choice, and so on."""

    counts: tuple[int, ...]

    def root(self, outputs: Tensor, slopes: Tensor) -> Tensor:
        """Return the slopes minus their mean, times the square root of each probability."""
        return _by_part(self.counts, outputs, slopes, _choice_root)

    def product(self, outputs: Tensor, change: Tensor) -> Tensor:
        """Return the change minus its mean, times each probability."""
        return _by_part(self.counts, outputs, change, _choice_product)


@final
@dataclass(frozen=True, eq=False)
class Normals:
    """Outputs are means of independent normal distributions with the standard ``deviations`` [k]."""

    deviations: Tensor

    def root(self, outputs: Tensor, slopes: Tensor) -> Tensor:  # noqa: ARG002
        """Return the slopes divided by the deviations."""
        return slopes / self.deviations[:, None]

    def product(self, outputs: Tensor, change: Tensor) -> Tensor:  # noqa: ARG002
        """Return the change divided by the variances."""
        return change / self.deviations.square()


def _choice_root(outputs: Tensor, slopes: Tensor) -> Tensor:
    chances = outputs.softmax(dim=1)[:, :, None]
    return chances.sqrt() * (slopes - (chances * slopes).sum(dim=1, keepdim=True))


def _choice_product(outputs: Tensor, change: Tensor) -> Tensor:
    chances = outputs.softmax(dim=1)
    return chances * (change - (chances * change).sum(dim=1, keepdim=True))


def _by_part(
    counts: Sequence[int], outputs: Tensor, other: Tensor, function: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    if len(counts) == 1:
        return function(outputs, other)
    parts = zip(torch.split(outputs, list(counts), dim=1), torch.split(other, list(counts), dim=1), strict=True)
    return torch.cat([function(*part) for part in parts], dim=1)
