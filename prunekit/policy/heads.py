"""Heads: they turn a network's outputs into an action for ``env.step``. Stochastic heads give their mode."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never, final

import torch
from torch import Tensor

import prunekit.spaces  # noqa: F401  (registers the kinds of actions)
from prunekit.errors import InputError
from prunekit.graph.forms import TORCH
from prunekit.graph.op import Op
from prunekit.ops.argmax import Argmax
from prunekit.ops.clip_to_bounds import ClipToBounds
from prunekit.ops.tanh_to_bounds import TanhToBounds
from prunekit.spaces.kind import ActionKind, kind_of_head

_LARGEST_START = 2**31 - 1
_LARGEST_FINITE = float(torch.finfo(torch.float32).max)


@final
@dataclass(frozen=True)
class ArgmaxHead:
    """Discrete actions: maps outputs [batch, n] to the index of the largest, plus ``start``; int64 [batch]."""

    start: int = 0

    def __post_init__(self) -> None:
        if type(self.start) is not int or abs(self.start) > _LARGEST_START:
            raise InputError(f"the first action must be a 32-bit integer, got {self.start}")

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return the actions of ``outputs``."""
        return outputs.argmax(dim=1) + self.start


@final
@dataclass(frozen=True, kw_only=True)
class ClipHead:
    """Continuous actions: outputs [batch, n] clipped to [low, high], n bounds each (they may be infinite)."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, math.inf)

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return the actions of ``outputs``."""
        return torch.minimum(torch.maximum(outputs, _like(self.low, outputs)), _like(self.high, outputs))


@final
@dataclass(frozen=True, kw_only=True)
class TanhHead:
    """Continuous actions: low + (tanh(outputs) + 1) / 2 * (high - low), outputs [batch, n], n finite bounds each."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, _LARGEST_FINITE)

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return the actions of ``outputs``."""
        half, middle = self.affine
        action = torch.tanh(outputs) * _like(half, outputs) + _like(middle, outputs)
        return torch.minimum(torch.maximum(action, _like(self.low, outputs)), _like(self.high, outputs))

    @property
    def affine(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(half range, middle) of the action space, n values each: action = tanh(outputs) * half + middle."""
        pairs = list(zip(self.low, self.high, strict=True))
        return tuple((high - low) / 2 for low, high in pairs), tuple((high + low) / 2 for low, high in pairs)


@final
@dataclass(frozen=True)
class KindHead:
    """Actions of any other kind: applies the kind's own op to outputs [batch, outputs]."""

    kind: ActionKind

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return the actions of ``outputs``."""
        op = self.kind.head()
        action: Tensor = TORCH.of(op, "action")(op, {}, outputs)[0]
        return action


Head = ArgmaxHead | ClipHead | TanhHead | KindHead


def head_of(kind: ActionKind) -> Head:
    """Return the head of ``kind``; raises InputError if its op cannot be a head."""
    head = head_of_op(kind.head(), kind.outputs, kind)
    return KindHead(kind) if head is None else head


def head_of_op(op: Op, width: int, kind: ActionKind | None = None) -> Head | None:
    """Return the head with the op ``op`` on ``width`` outputs; ``kind`` supplies what the op does not determine.

    None if it is not the head of any kind; raises InputError if it cannot be a head.
    """
    match op:
        case Argmax(start=start):
            return ArgmaxHead(start)
        case ClipToBounds(low=low, high=high):
            return ClipHead(low=low, high=high)
        case TanhToBounds(low=low, high=high):
            return TanhHead(low=low, high=high)
        case _:
            found = kind or kind_of_head(op, width)
            return None if found is None else KindHead(found)


def op_of_head(head: Head) -> Op:
    """Return the op of ``head``."""
    match head:
        case ArgmaxHead():
            return Argmax(start=head.start)
        case ClipHead():
            return ClipToBounds(low=head.low, high=head.high)
        case TanhHead():
            return TanhToBounds(low=head.low, high=head.high)
        case KindHead():
            return head.kind.head()
        case _:
            assert_never(head)


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
