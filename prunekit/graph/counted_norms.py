"""Norms of torch that have lost units and go on taking their statistics over as many values as before."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn


@final
class CountedLayerNorm(nn.Module):
    """An ``nn.LayerNorm`` of ``count`` values, of which those that ``weight`` and ``bias`` [n] lack are zero."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None, epsilon: float, count: int) -> None:
        super().__init__()
        self.eps, self.count = epsilon, count
        self.register_parameter("weight", weight)
        self.register_parameter("bias", bias)

    def extra_repr(self) -> str:
        """Say what is printed of it."""
        return f"{len(self.get_parameter('weight'))}, count={self.count}, eps={self.eps:g}"

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., n] for [..., n]."""
        mean = x.sum(dim=-1, keepdim=True) / self.count
        missing = self.count - x.shape[-1]
        variance = (((x - mean) ** 2).sum(dim=-1, keepdim=True) + missing * mean**2) / self.count
        result = (x - mean) / (variance + self.eps).sqrt() * self.get_parameter("weight")
        return result if self.bias is None else result + self.get_parameter("bias")


@final
class CountedRMSNorm(nn.Module):
    """An ``nn.RMSNorm`` of ``count`` values, of which those that ``weight`` [n] lacks are zero."""

    def __init__(self, weight: nn.Parameter, epsilon: float, count: int) -> None:
        super().__init__()
        self.eps, self.count = epsilon, count
        self.weight = weight

    def extra_repr(self) -> str:
        """Say what is printed of it."""
        return f"{len(self.weight)}, count={self.count}, eps={self.eps:g}"

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., n] for [..., n]."""
        square = (x * x).sum(dim=-1, keepdim=True) / self.count
        return x / (square + self.eps).sqrt() * self.weight
