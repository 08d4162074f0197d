"""Conversion of a zip's tensors into ops, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch
from torch import Tensor

from prunekit.errors import InputError
from prunekit.graph.op import Array, Op
from prunekit.ops.affine import Affine
from prunekit.ops.prelu import PReLU
from prunekit.readers.sb3.activation import Learned
from prunekit.readers.sb3.contents import quoted
from prunekit.readers.sb3.layouts import Layout

_NORM = ("ra_mean", "ra_var", "scale", "bias")
_STEPS = "steps"

Act = Op | Learned | None


@final
@dataclass(frozen=True, kw_only=True)
class Norm:
    """A batch renormalization with fixed statistics: scale and shift [n] of its input, in float64."""

    scale: Array
    shift: Array


@final
@dataclass(kw_only=True)
class _Taker:
    """Takes tensors by name, and remembers which are left."""

    state: Mapping[str, Tensor]
    policy: str
    taken: set[str] = field(default_factory=set)

    def vector(self, name: str) -> Array:
        return self._array(name, 1)

    def _array(self, name: str, axes: int) -> Array:
        tensor = self.state.get(name)
        if tensor is None:
            raise self.unlike(f"lacks {quoted(name)}")
        self.taken.add(name)
        if tensor.ndim != axes or 0 in tensor.shape:
            raise InputError(f"its layer '{name}' has the shape {list(tensor.shape)}")
        if tensor.dtype != torch.float32:
            raise InputError(f"its layer '{name}' is not float32")
        return np.array(tensor.detach().numpy())

    def linear(self, name: str, *, biased: bool) -> Affine:
        weight = self._array(f"{name}weight", 2)
        bias = np.zeros(len(weight), np.float32)
        if biased or f"{name}bias" in self.state:
            bias = self.vector(f"{name}bias")
        if bias.shape != weight.shape[:1]:
            raise InputError(f"its layer '{name}' has weight {list(weight.shape)} and bias {list(bias.shape)}")
        return Affine(weight=weight, bias=bias)

    def norm(self, name: str, epsilon: float) -> Norm:
        mean, variance, scale, bias = (self.vector(f"{name}{part}").astype(np.float64) for part in _NORM)
        if len({len(values) for values in (mean, variance, scale, bias)}) != 1:
            raise InputError(f"its layer '{name}' has vectors of different lengths")
        self.taken.add(f"{name}{_STEPS}")
        with np.errstate(all="ignore"):  # broken statistics give NaN or infinity, which no graph accepts
            factor = scale / np.sqrt(variance + epsilon)
            return Norm(scale=factor, shift=bias - mean * factor)

    def unlike(self, what: str) -> InputError:
        return InputError(f"its 'policy.pth' {what}, unlike that of a stock {self.policy} policy over vectors")


def layers_of(layout: Layout, state: Mapping[str, Tensor], act: Act, epsilon: float) -> tuple[list[Op], bool]:
    """Return the ops from observations to outputs, and whether the output layer is in a Sequential of its own.

    ``act`` is the activation. ``epsilon`` is that of batch norms, which are folded into the layers after them. Raises
    InputError, naming a tensor, for anything that no stock policy contains.
    """
    taker = _Taker(state=state, policy=layout.name)
    found: list[Op | Norm] = []
    for trunk in layout.trunks:
        found += _sequential(taker, trunk, act, epsilon, layout, inner=True)
    apart = f"{layout.end}0.weight" in state
    if apart:
        found += _sequential(taker, layout.end, act, epsilon, layout, inner=False)
    else:
        found.append(taker.linear(layout.end, biased=layout.biased))
    strange = sorted(name for name in state if name not in taker.taken and not name.startswith(layout.others))
    if strange:
        raise taker.unlike(f"holds {quoted(strange[0])}")
    return folded(found), apart


def _sequential(
    taker: _Taker, prefix: str, act: Act, epsilon: float, layout: Layout, *, inner: bool
) -> list[Op | Norm]:
    """Return layers and activations; ``inner`` means that an activation (and maybe a norm) follows the last layer."""
    inside = [name.removeprefix(prefix) for name in taker.state if name.startswith(prefix)]
    norms = any(name.endswith("ra_mean") for name in inside)
    step = 3 if norms else 2  # a norm, a layer, an activation
    count = sum(name.endswith(".weight") and taker.state[f"{prefix}{name}"].ndim == 2 for name in inside)
    found: list[Op | Norm] = []
    for index in range(count):
        at = step * index
        if norms:
            found.append(taker.norm(f"{prefix}{at}.", epsilon))
            at += 1
        layer = taker.linear(f"{prefix}{at}.", biased=layout.biased)
        found.append(layer)
        if inner or index < count - 1:
            found += _activation(taker, f"{prefix}{at + 1}.weight", act, len(layer.bias))
    if norms:
        found.append(taker.norm(f"{prefix}{step * count}.", epsilon))
    return found


def _activation(taker: _Taker, name: str, act: Act, width: int) -> list[Op | Norm]:
    if isinstance(act, Learned):
        slope = taker.vector(name)
        return [PReLU(slope=np.repeat(slope, width) if len(slope) == 1 else slope)]
    return [] if act is None else [act]


def folded(found: Iterable[Op | Norm]) -> list[Op]:
    """Return the ops with every norm folded into the next layer; raises InputError if no layer fits."""
    ops: list[Op] = []
    before: Norm | None = None
    for one in found:
        if isinstance(one, Norm):
            before = one
        elif before is None:
            ops.append(one)
        elif isinstance(one, Affine) and one.weight.shape[1] == len(before.scale):
            ops.append(after_norm(one, before))
            before = None
        else:
            raise InputError(f"a norm of {len(before.scale)} values does not fit the layer after it")
    return ops


def after_norm(layer: Affine, norm: Norm) -> Affine:
    """Return the layer with ``norm``, which comes before it, folded in."""
    weight = layer.weight.astype(np.float64)
    with np.errstate(all="ignore"):
        return Affine(
            weight=(weight * norm.scale).astype(np.float32),
            bias=(layer.bias + weight @ norm.shift).astype(np.float32),
        )


def mean_of_quantiles(layer: Affine, actions: int) -> Affine:
    """Return the layer whose outputs are means over quantiles; its rows are ordered by quantile, then by action."""
    rows = len(layer.bias)
    if rows % actions:
        raise InputError(f"its {rows} outputs are not an integer number of quantiles for each of {actions} actions")
    weight, bias = layer.weight.astype(np.float64), layer.bias.astype(np.float64)
    return Affine(
        weight=weight.reshape(-1, actions, weight.shape[1]).mean(axis=0).astype(np.float32),
        bias=bias.reshape(-1, actions).mean(axis=0).astype(np.float32),
    )


def difference_of_pairs(layer: Affine) -> Affine:
    """Return the layer with one output per switch, "on" minus "off", from a layer with a row for each of both."""
    if len(layer.bias) % 2:
        raise InputError(f"its {len(layer.bias)} outputs are not two for each switch")
    weight, bias = layer.weight.astype(np.float64), layer.bias.astype(np.float64)
    return Affine(
        weight=(weight[1::2] - weight[::2]).astype(np.float32), bias=(bias[1::2] - bias[::2]).astype(np.float32)
    )


def rescaled(layer: Affine, scale: Array, shift: Array) -> Affine:
    """Return the layer with its outputs multiplied by ``scale`` and shifted by ``shift``."""
    with np.errstate(all="ignore"):
        return Affine(
            weight=(layer.weight * scale[:, None]).astype(np.float32),
            bias=(layer.bias * scale + shift).astype(np.float32),
        )
