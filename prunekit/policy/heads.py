"""Heads: how a network's scores become an action that ``env.step`` accepts. Stochastic heads give their mode."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from prunekit.errors import InputError

_LARGEST_START = 2**31 - 1
_LARGEST_FINITE = float(torch.finfo(torch.float32).max)


@final
@dataclass(frozen=True)
class ArgmaxHead:
    """Discrete actions: scores [batch, n] to the index of the largest, plus ``start``; int64 [batch]."""

    start: int = 0

    def __post_init__(self) -> None:
        if type(self.start) is not int or abs(self.start) > _LARGEST_START:
            raise InputError(f"the first action must be a 32-bit integer, got {self.start}")

    def __call__(self, scores: Tensor) -> Tensor:
        """Return the actions of ``scores``."""
        return scores.argmax(dim=1) + self.start


@final
@dataclass(frozen=True)
class ClipHead:
    """Continuous actions: scores [batch, n] clipped to [low, high], n bounds each (they may be infinite)."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, math.inf)

    def __call__(self, scores: Tensor) -> Tensor:
        """Return the actions of ``scores``."""
        return torch.minimum(torch.maximum(scores, _like(self.low, scores)), _like(self.high, scores))


@final
@dataclass(frozen=True)
class TanhHead:
    """Continuous actions: low + (tanh(scores) + 1) / 2 * (high - low), scores [batch, n], n finite bounds each."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, _LARGEST_FINITE)

    def __call__(self, scores: Tensor) -> Tensor:
        """Return the actions of ``scores``."""
        half, middle = self.affine
        action = torch.tanh(scores) * _like(half, scores) + _like(middle, scores)
        return torch.minimum(torch.maximum(action, _like(self.low, scores)), _like(self.high, scores))

    @property
    def affine(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(half range, middle) of the action space, n values each: action = tanh(scores) * half + middle."""
        pairs = list(zip(self.low, self.high, strict=True))
        return tuple((high - low) / 2 for low, high in pairs), tuple((high + low) / 2 for low, high in pairs)


Head = ArgmaxHead | ClipHead | TanhHead


def _check_bounds(low: object, high: object, largest: float) -> None:
    for bounds in (low, high):
        if not isinstance(bounds, tuple) or not bounds or not all(isinstance(bound, int | float) for bound in bounds):
            raise InputError(f"action bounds must be tuples of numbers, one per component, got {bounds}")
    assert isinstance(low, tuple)
    assert isinstance(high, tuple)
    if len(low) != len(high) or not all(-largest <= a <= b <= largest for a, b in zip(low, high, strict=True)):
        raise InputError(f"action bounds must be low <= high and no larger than {largest:g}, got {low} and {high}")


def _like(values: tuple[float, ...], tensor: Tensor) -> Tensor:
    return torch.tensor(values, dtype=tensor.dtype, device=tensor.device)
