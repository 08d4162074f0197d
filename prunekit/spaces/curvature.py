"""The curvature of a policy's distribution of actions in its outputs: the Fisher matrix [k, k] of one observation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, final

from prunekit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class Curvature(Protocol):
    """The Fisher matrix F of the distribution that ``outputs`` [n, k] are the parameters of, as two products."""

    def root(self, outputs: Tensor, slopes: Tensor) -> Tensor:
        """Return R slopes, [n, k, p] of [n, k, p], where R^T R = F."""

    def product(self, outputs: Tensor, change: Tensor) -> Tensor:
        """Return F change, [n, k] of [n, k]."""


@final
@dataclass(frozen=True)
class Choices:
    """Outputs are logits of independent choices, the first of ``counts[0]`` and so on."""

    counts: tuple[int, ...]

    def root(self, outputs: Tensor, slopes: Tensor) -> Tensor:
        """Return the slopes less their mean, by the root of each chance."""
        return _by_part(self.counts, outputs, slopes, _choice_root)

    def product(self, outputs: Tensor, change: Tensor) -> Tensor:
        """Return the change less its mean, by each chance."""
        return _by_part(self.counts, outputs, change, _choice_product)


@final
@dataclass(frozen=True, eq=False)
class Normals:
    """Outputs are means of independent normal distributions of the ``deviations`` [k]."""

    deviations: Tensor

    def root(self, outputs: Tensor, slopes: Tensor) -> Tensor:  # noqa: ARG002
        """Return the slopes in deviations."""
        return slopes / self.deviations[:, None]

    def product(self, outputs: Tensor, change: Tensor) -> Tensor:  # noqa: ARG002
        """Return the change by the inverse variances."""
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
