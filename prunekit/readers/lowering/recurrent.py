"""One step of LSTM, GRU and plain recurrent cells; the state before the step is computed or a constant.

The formulas are those of ONNX's operators (https://onnx.ai/onnx/operators) and of PyTorch's modules. They differ only
in the order in which they store the gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.op import Array
from prunekit.ops.activation import Activation
from prunekit.readers.lowering.arithmetic import Floats, added, multiplied, scaled
from prunekit.readers.lowering.builder import Builder
from prunekit.readers.lowering.layers import affine
from prunekit.readers.lowering.values import Data, Known


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Gate:
    """The two layers of a gate: ``outer`` [n, inputs] for the input, ``inner`` [n, n] for the state, and a bias [n]
    each.
    """

    outer: Array
    inner: Array
    outer_bias: Array
    inner_bias: Array


def gates_of(outer: Array, inner: Array, outer_bias: Array, inner_bias: Array, count: int) -> list[Gate]:
    """Return the ``count`` gates that are stacked in these arrays; raises InputError if their sizes do not fit."""
    size = len(outer) // count
    fits = outer.ndim == inner.ndim == 2 and size > 0 and outer.shape[0] == count * size
    if not fits or inner.shape != (count * size, size) or {outer_bias.shape, inner_bias.shape} != {(count * size,)}:
        raise InputError("has weights that do not fit its sizes; export the policy again")
    rows = [slice(at * size, (at + 1) * size) for at in range(count)]
    return [Gate(outer=outer[row], inner=inner[row], outer_bias=outer_bias[row], inner_bias=inner_bias[row])
            for row in rows]  # fmt: skip


def lstm(build: Builder, x: Data, hidden: Floats, cell: Floats, gates: Sequence[Gate]) -> tuple[Data, Data]:
    """Return the hidden and the cell state after a step; ``gates`` are input, forget, candidate and output."""
    enters, forgets, candidate, leaves = gates
    new = _gated(build, x, hidden, enters, "sigmoid"), _gated(build, x, hidden, candidate, "tanh")
    after: Floats = multiplied(build, *new)
    if not _is_zero(cell):
        after = added(build, after, multiplied(build, _gated(build, x, hidden, forgets, "sigmoid"), cell))
    after = build.data(after)
    bent = build.pointwise(Activation(kind="tanh"), after)
    return build.data(multiplied(build, _gated(build, x, hidden, leaves, "sigmoid"), bent)), after


def gru(build: Builder, x: Data, hidden: Floats, gates: Sequence[Gate], *, reset_after: bool = True) -> Data:
    """Return the state after a step, (1 - z) n + z hidden; ``gates`` are reset, update and candidate.

    With ``reset_after`` the reset gate multiplies the output of the candidate's layer on the state. Otherwise it
    multiplies the state before that layer.
    """
    resets, updates, candidate = gates
    update = _gated(build, x, hidden, updates, "sigmoid")
    reset = _gated(build, x, hidden, resets, "sigmoid")
    if reset_after:
        inner = multiplied(build, reset, _of_state(build, hidden, candidate))
    else:
        held = build.data(multiplied(build, reset, hidden))
        inner = affine(build, held, candidate.inner, candidate.inner_bias)
    total = build.data(added(build, affine(build, x, candidate.outer, candidate.outer_bias), inner))
    made = multiplied(build, scaled(build, update, -1.0, 1.0), build.pointwise(Activation(kind="tanh"), total))
    return build.data(made if _is_zero(hidden) else added(build, made, multiplied(build, update, hidden)))


def plain(build: Builder, x: Data, hidden: Floats, gate: Gate, kind: str) -> Data:
    """Return the state of a plain recurrent layer after a step; ``kind`` is its activation, tanh or relu."""
    return _gated(build, x, hidden, gate, kind)


def _gated(build: Builder, x: Data, hidden: Floats, gate: Gate, kind: str) -> Data:
    held = _of_state(build, hidden, gate)
    if isinstance(held, Known):
        total = affine(build, x, gate.outer, gate.outer_bias + held.array)
    else:
        total = build.data(added(build, affine(build, x, gate.outer, gate.outer_bias), held))
    return build.pointwise(Activation(kind=kind), total)


def _of_state(build: Builder, hidden: Floats, gate: Gate) -> Floats:
    if isinstance(hidden, Known):
        return Known(array=np.asarray(gate.inner @ hidden.array.reshape(-1) + gate.inner_bias))
    return affine(build, hidden, gate.inner, gate.inner_bias)


def _is_zero(state: Floats) -> bool:
    return isinstance(state, Known) and not state.array.any()
