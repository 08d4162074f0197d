"""Forms of layers and norms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prunekit.graph.op import Array, Op
from prunekit.ops.batch_norm import BatchNorm
from prunekit.ops.layer_norm import LayerNorm
from prunekit.ops.rms_norm import RMSNorm
from prunekit.readers.lowering import arithmetic as lowered
from prunekit.readers.lowering import layers
from prunekit.readers.lowering.builder import Builder, as_floats
from prunekit.readers.lowering.values import Data
from prunekit.readers.torchscript.arithmetic import computed
from prunekit.readers.torchscript.building import floats_of
from prunekit.readers.torchscript.reductions import spread
from prunekit.readers.torchscript.symbols import Symbol
from prunekit.readers.torchscript.tracer import Call, form_of


@form_of("linear")
def _linear(call: Call, x: Any, weight: Any, bias: Any = None) -> Symbol | None:
    if not isinstance(weight, Tensor) or isinstance(bias, Symbol) or weight.dim() > 2:
        return None
    matrix = np.atleast_2d(floats_of(weight))
    shift = None if bias is None else np.atleast_1d(floats_of(bias))
    call.run.take(x.at.numel() // max(matrix.shape[1], 1) * len(matrix))
    made = computed(call, lambda build, data: layers.affine(build, data, matrix, shift), x)
    return Symbol(cell=made.cell, at=made.at.squeeze(-1)) if weight.dim() == 1 else made


@form_of("matmul", "mm", "mv", "dot", "bmm")
def _matmul(call: Call, a: Any, b: Any) -> Symbol | None:
    if isinstance(a, Symbol) and isinstance(b, Symbol):
        raise call.refused(
            " of two values that depend on the observation, as attention does, which a graph cannot express"
        )
    if isinstance(a, Symbol):
        return _times(call, a, b)
    if a.dim() == 1 or b.at.dim() == 1:  # a vector may be on either side of the product
        return (
            _times(call, b, a.t() if a.dim() == 2 and b.at.dim() == 1 else a) if b.at.dim() == 1 else _row(call, a, b)
        )
    turned = _times(call, Symbol(cell=b.cell, at=b.at.transpose(-1, -2)), a.transpose(-1, -2))
    return None if turned is None else Symbol(cell=turned.cell, at=turned.at.transpose(-1, -2))


def _row(call: Call, a: Tensor, b: Symbol) -> Symbol | None:
    made = _times(call, Symbol(cell=b.cell, at=b.at.transpose(-1, -2)), a[:, None])
    return None if made is None else Symbol(cell=made.cell, at=made.at.squeeze(-1))


def _times(call: Call, x: Symbol, matrix: Tensor) -> Symbol | None:
    """Return ``x`` times a constant matrix [n, m] or vector [n]."""
    while matrix.dim() > 2 and matrix.shape[0] == 1:
        matrix = matrix[0]
    if matrix.dim() > 2:
        return None
    return _linear(call, x, matrix if matrix.dim() == 1 else matrix.t())


@form_of("addmm", "addmv", "baddbmm")
def _addmm(call: Call, bias: Any, a: Any, b: Any, beta: Any = 1, alpha: Any = 1) -> Symbol | None:
    if not isinstance(a, Symbol) or not isinstance(b, Tensor) or isinstance(bias, Symbol) or bias.dim() > 1:
        made = _matmul(call, a, b)
        if made is None or (beta, alpha) != (1, 1):
            return None
        return computed(call, lowered.added, made, bias)
    return _linear(call, a, b.t() * alpha, (bias * beta).expand(b.shape[1]))


@form_of("layer_norm")
def _layer_norm(
    call: Call, x: Symbol, sizes: Sequence[int], weight: Any = None, bias: Any = None, epsilon: float = 1e-5, _: Any = 0
) -> Symbol | None:
    return _normed(call, x, sizes, weight, bias, lambda scale, shift: LayerNorm(
        scale=scale, shift=shift, epsilon=epsilon, count=len(scale)
    ))  # fmt: skip


@form_of("rms_norm")
def _rms_norm(
    call: Call, x: Symbol, sizes: Sequence[int], weight: Any = None, epsilon: float | None = None
) -> Symbol | None:
    minimum = torch.finfo(x.cell.dtype).eps if epsilon is None else epsilon
    return _normed(call, x, sizes, weight, None, lambda scale, _: RMSNorm(
        scale=scale, epsilon=minimum, count=len(scale)
    ))  # fmt: skip


def _normed(
    call: Call, x: Symbol, sizes: Sequence[int], weight: Any, bias: Any, op_of: Callable[[Array, Array], Op]
) -> Symbol | None:
    if isinstance(weight, Symbol) or isinstance(bias, Symbol) or list(x.shape[len(x.shape) - len(sizes) :]) != [*sizes]:
        return None
    count = math.prod(sizes)
    scale = np.ones(count) if weight is None else floats_of(weight).reshape(-1)
    shift = np.zeros(count) if bias is None else floats_of(bias).reshape(-1)
    return spread(call, x, tuple(range(-len(sizes), 0)), lambda _: op_of(as_floats(scale), as_floats(shift)))


@form_of("group_norm")
def _group_norm(
    call: Call, x: Symbol, groups: int, weight: Any = None, bias: Any = None, epsilon: float = 1e-5, _: Any = None
) -> Symbol | None:
    if x.at.dim() != 2 or isinstance(weight, Symbol) or isinstance(bias, Symbol):
        return None
    width = x.shape[1] // groups
    parts = Symbol(cell=x.cell, at=x.at.reshape(x.shape[0], groups, width))
    normed = _layer_norm(call, parts, [width], None, None, epsilon)
    assert normed is not None
    made = Symbol(cell=normed.cell, at=normed.at.reshape(x.shape))
    scaled = made if weight is None else computed(call, lowered.multiplied, made, weight)
    return scaled if bias is None else computed(call, lowered.added, scaled, bias)


@form_of("batch_norm")
def _batch_norm(
    call: Call, x: Symbol, weight: Any, bias: Any, mean: Any, variance: Any, training: Any, *rest: Any
) -> Symbol | None:
    if training or mean is None or variance is None:
        raise call.refused(" in training mode; save the policy in evaluation mode")
    if any(isinstance(value, Symbol) for value in (weight, bias, mean, variance)) or x.at.dim() < 2:
        return None
    epsilon = float(rest[1]) if len(rest) > 1 else 1e-5
    mean, variance = floats_of(mean), floats_of(variance)
    scale = np.ones_like(mean) if weight is None else floats_of(weight)
    shift = np.zeros_like(mean) if bias is None else floats_of(bias)
    constants = [one.reshape(-1, *[1] * (x.at.dim() - 2)) for one in (mean, variance, scale, shift)]

    def apply(build: Builder, data: Data) -> Data:
        return build.per_value(
            data,
            constants,
            lambda m, v, a, b: BatchNorm(mean=m, variance=v, scale=a, shift=b, epsilon=epsilon),
        )

    return computed(call, apply, x)
