"""The words with which a user supplies what a checkpoint does not say: an activation, a head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from prunekit.errors import InputError
from prunekit.formats.text import shown
from prunekit.graph.op import Op
from prunekit.ops.activation import Activation
from prunekit.ops.activation_kinds import KINDS
from prunekit.ops.argmax import Argmax
from prunekit.ops.clip_to_bounds import ClipToBounds
from prunekit.ops.identity import Identity
from prunekit.ops.slice import Slice
from prunekit.ops.tanh_to_bounds import TanhToBounds

_ALIASES = {"swish": "silu", "leakyrelu": "leaky_relu", "lrelu": "leaky_relu", "hard_swish": "hardswish"}
HEADS = "none, tanh, tanh:LOW,HIGH, clip:LOW,HIGH, argmax, mean (the first half of its outputs)"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Ending:
    """What follows the last layer: ``ops`` that make the outputs, and the ``head`` that makes the action from them."""

    ops: tuple[Op, ...] = ()
    head: Op


def activation_named(text: str) -> Activation | None:
    """Return the activation for a word such as ``elu`` or ``leaky_relu:0.2``, None for ``none``.

    Raises InputError, naming the option, for an unknown word.
    """
    name, colon, number = text.strip().lower().partition(":")
    if name in ("none", "linear", "identity") and not colon:
        return None
    kind = KINDS.get(_ALIASES.get(name, name))
    if kind is None:
        raise InputError(f"`activation` {shown(text, 40)} is unknown; choose none, {', '.join(KINDS)}")
    numbers = tuple(kind.numbers.values())
    if colon:
        if len(numbers) != 1:
            raise InputError(f"`activation` {name} takes no number")
        numbers = (_number("`activation`", number),)
    return Activation(kind=kind.name, numbers=numbers)


def ending_named(text: str, outputs: int) -> Ending:
    """Return what a word of ``--head`` does after a last layer of ``outputs`` values; raises InputError for an unknown
    word.
    """
    name, colon, rest = text.strip().lower().partition(":")
    match name, bool(colon):
        case "none", False:
            return Ending(head=Identity())
        case "argmax", False:
            return Ending(head=Argmax(start=0))
        case "mean", False:
            return mean_ending(outputs, Identity())
        case "tanh", False:
            return Ending(head=bounded(TanhToBounds, -1.0, 1.0, outputs))
        case "tanh" | "clip", True:
            low, high = _limits(rest)
            return Ending(head=bounded(TanhToBounds if name == "tanh" else ClipToBounds, low, high, outputs))
        case _:
            raise InputError(f"`head` {shown(text, 40)} is unknown; choose {HEADS}")


def mean_ending(outputs: int, head: Op) -> Ending:
    """Return an ending that takes the first half of ``outputs`` values (the rest are deviations), with ``head``."""
    if outputs % 2:
        raise InputError(
            f"has {outputs} outputs, which are not means with as many standard deviations; choose another `head`"
        )
    return Ending(ops=(Slice(selected=np.arange(outputs) < outputs // 2),), head=head)


def bounded(head: type[TanhToBounds] | type[ClipToBounds], low: float, high: float, outputs: int) -> Op:
    """Return ``head`` with the same bounds for all ``outputs``."""
    return head(low=(low,) * outputs, high=(high,) * outputs)


def parse_layers(text: str | None) -> tuple[str, ...]:
    """Return the names in ``a,b,c``; raises InputError, naming the option, for empty ones."""
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise InputError(f"`layers` {shown(text, 60)} has an empty name; give names with commas between them")
    return names


def _limits(text: str) -> tuple[float, float]:
    parts = text.split(",")
    if len(parts) != 2:
        raise InputError(f"`head` takes two bounds, LOW,HIGH, not '{shown(text, 40)}'")
    low, high = (_number("`head`", part) for part in parts)
    if low >= high:
        raise InputError(f"`head` has bounds that are not LOW < HIGH: {shown(text, 40)}")
    return low, high


def _number(option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= np.finfo(np.float32).max:
        raise InputError(f"{option} has '{shown(text, 40)}', which is not a number")
    return value
