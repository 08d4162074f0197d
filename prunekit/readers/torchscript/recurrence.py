"""Recurrent layers on real tensors.

Torch does not check the sizes of all their tensors and may read beyond their ends, so they are checked here first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from prunekit.errors import InputError
from prunekit.readers.torchscript.budget import Run

Operator = Callable[[list[Any], dict[str, Any], Run], Any]

GATES = {"lstm": 4, "gru": 3, "rnn_relu": 1, "rnn_tanh": 1}
"""Recurrent layers, and how many gates are stacked in their weights."""
_UNPACKED = 9
"""Arguments of a layer on a tensor; on a packed sequence it has others."""


def _layer(kind: str) -> Operator:
    function = getattr(torch.ops.aten, kind).input

    def call(values: list[Any], _: dict[str, Any], run: Run) -> Any:
        if len(values) != _UNPACKED:
            raise InputError(f"calls 'torch.{kind}' on a packed sequence, which is not read; only one step is")
        seen, states, weights, biased, layers, _, _, both_ways, batch_first = values
        states = [*states] if isinstance(states, list | tuple) else [states]
        _require_tensors(kind, [seen, *states, *weights])
        if both_ways:
            raise InputError(f"calls 'torch.{kind}' in both directions, which need steps to come; it is not read")
        if seen.dim() != 3 or type(layers) is not int:
            raise TypeError(f"'{kind}' of {seen.dim()} axes")
        per_layer = 4 if biased else 2
        if layers < 1 or len(weights) != per_layer * layers:
            raise InputError(
                f"calls 'torch.{kind}' of {layers} layers with {len(weights)} tensors of weights, where "
                f"{per_layer * layers} are read; one with a projection of its state is not"
            )
        width, rows = seen.shape[2], seen.shape[0 if batch_first else 1]
        for at in range(layers):
            width = _require_sizes(kind, width, weights[per_layer * at : per_layer * (at + 1)])
        _require_states(kind, states, (layers, rows, width))
        _take(seen, weights, run)
        return function(*values)

    return call


def _cell(kind: str) -> Operator:
    name = f"{kind}_cell"
    function = getattr(torch.ops.aten, name)

    def call(values: list[Any], _: dict[str, Any], run: Run) -> Any:
        seen, states, *weights = values
        states = [*states] if isinstance(states, list | tuple) else [states]
        given = [one for one in weights if one is not None]
        _require_tensors(name, [seen, *states, *given])
        if seen.dim() != 2 or len(given) not in (2, 4):
            raise TypeError(f"'{name}' of {seen.dim()} axes with {len(given)} weights")
        _require_states(name, states, (seen.shape[0], _require_sizes(kind, seen.shape[1], given)))
        _take(seen, given, run)
        return function(*values)

    return call


def _require_tensors(name: str, values: Sequence[Any]) -> None:
    tensors = [value for value in values if isinstance(value, Tensor)]
    if len(tensors) != len(values) or len({value.dtype for value in tensors}) != 1:
        raise TypeError(f"'{name}' of something else than tensors of one type")
    if not all(value.is_floating_point() and value.numel() for value in tensors):
        raise TypeError(f"'{name}' of tensors without floats")


def _require_sizes(kind: str, width: int, weights: Sequence[Tensor]) -> int:
    """Return the width of a layer's state; raises ValueError if the sizes of its weights do not fit."""
    count, inner = GATES[kind], weights[1]
    size = inner.shape[-1]
    wanted = [(count * size, width), (count * size, size), (count * size,), (count * size,)]
    if [tuple(weight.shape) for weight in weights] != wanted[: len(weights)]:
        raise ValueError(f"'{kind}' of {width} values by weights {[list(weight.shape) for weight in weights]}")
    return size


def _require_states(name: str, states: Sequence[Tensor], shape: tuple[int, ...]) -> None:
    if len(states) != (2 if name.startswith("lstm") else 1) or any(tuple(one.shape) != shape for one in states):
        raise ValueError(f"'{name}' of states {[list(one.shape) for one in states]} in place of {list(shape)}")


def _take(seen: Tensor, weights: Sequence[Tensor], run: Run) -> None:
    """Charge one value per gate and one read of all weights for each row of ``seen``."""
    rows = seen.numel() // seen.shape[-1]
    gates = sum(len(weight) for weight in weights if weight.dim() == 2)
    run.step(rows)
    run.take(rows * gates, multiplied=rows * sum(weight.numel() for weight in weights))


RECURRENT: dict[str, Operator] = {
    **{kind: _layer(kind) for kind in GATES},
    **{f"{kind}_cell": _cell(kind) for kind in GATES},
}
"""Operators by their names without ``torch.``."""
