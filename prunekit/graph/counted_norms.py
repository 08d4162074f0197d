"""Torch norms that have lost units but still take their statistics over the original number of values."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn


@final
class CountedLayerNorm(nn.Module):
    """An ``nn.LayerNorm`` over ``count`` values, of which only the n in ``weight`` and ``bias`` are left; the others
    are zero.
    """

    weight: Tensor  # a parameter, unless torch.func calls the module with other values
    bias: Tensor | None

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None, epsilon: float, count: int) -> None:
        super().__init__()
        self.eps, self.count = epsilon, count
        self.register_parameter("weight", weight)
        self.register_parameter("bias", bias)

    def extra_repr(self) -> str:
        """Return the text that ``print`` shows."""
        return f"{len(self.weight)}, count={self.count}, eps={self.eps:g}"

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [..., n] and return [..., n]."""
        mean = x.sum(dim=-1, keepdim=True) / self.count
        missing = self.count - x.shape[-1]
        variance = (((x - mean) ** 2).sum(dim=-1, keepdim=True) + missing * mean**2) / self.count
        result = (x - mean) / (variance + self.eps).sqrt() * self.weight
        return result if self.bias is None else result + self.bias


@final
class CountedRMSNorm(nn.Module):
    """An ``nn.RMSNorm`` over ``count`` values, of which only the n in ``weight`` are left; the others are zero."""

    def __init__(self, weight: nn.Parameter, epsilon: float, count: int) -> None:
        super().__init__()
        self.eps, self.count = epsilon, count
        self.weight = weight

    def extra_repr(self) -> str:
        """Return the text that ``print`` shows."""
        return f"{len(self.weight)}, count={self.count}, eps={self.eps:g}"

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [..., n] and return [..., n]."""
        square = (x * x).sum(dim=-1, keepdim=True) / self.count
        return x / (square + self.eps).sqrt() * self.weight
