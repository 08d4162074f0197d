"""Forms of recurrent layers: one step for one observation, from a traced or constant state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from prunekit.errors import InputError
from prunekit.graph.op import Array
from prunekit.readers.lowering import recurrent as lowered
from prunekit.readers.lowering.arithmetic import Floats
from prunekit.readers.lowering.values import Data, Known
from prunekit.readers.torchscript.building import floats_of
from prunekit.readers.torchscript.recurrence import GATES
from prunekit.readers.torchscript.symbols import Names, Symbol, symbol_of
from prunekit.readers.torchscript.tracer import Call, form_of

Step = Callable[[Call, Data, list[Floats], list[lowered.Gate]], list[Data]]


def _lstm_step(call: Call, x: Data, states: list[Floats], gates: list[lowered.Gate]) -> list[Data]:
    return [*lowered.lstm(call.building.build, x, states[0], states[1], gates)]


def _gru_step(call: Call, x: Data, states: list[Floats], gates: list[lowered.Gate]) -> list[Data]:
    return [lowered.gru(call.building.build, x, states[0], gates)]


def _plain_step(kind: str) -> Step:
    return lambda call, x, states, gates: [lowered.plain(call.building.build, x, states[0], gates[0], kind)]


_STEPS: dict[str, Step] = {
    "lstm": _lstm_step,
    "gru": _gru_step,
    "rnn_tanh": _plain_step("tanh"),
    "rnn_relu": _plain_step("relu"),
}


@form_of("lstm")
def _lstm(call: Call, x: Any, states: Any, weights: Any, *rest: Any) -> tuple[Symbol, ...] | None:
    if not isinstance(states, list | tuple) or len(states) != 2:
        return None
    return _layers(call, "lstm", x, [*states], weights, *rest)


def _with_one_state(kind: str) -> None:
    @form_of(kind)
    def _(call: Call, x: Any, state: Any, weights: Any, *rest: Any) -> tuple[Symbol, ...] | None:
        return _layers(call, kind, x, [state], weights, *rest)

    @form_of(f"{kind}_cell")
    def _(call: Call, x: Any, state: Any, *weights: Any) -> Symbol | None:
        made = _cell(call, kind, x, [state], weights)
        return None if made is None else made[0]


for _kind in ("gru", "rnn_tanh", "rnn_relu"):
    _with_one_state(_kind)


@form_of("lstm_cell")
def _lstm_cell(call: Call, x: Any, states: Any, *weights: Any) -> tuple[Symbol, ...] | None:
    return None if len(states) != 2 else _cell(call, "lstm", x, [*states], weights)


def _layers(
    call: Call,
    kind: str,
    x: Any,
    states: list[Any],
    weights: Any,
    biased: Any,
    layers: Any,
    dropout: Any,
    training: Any,
    both_ways: Any,
    *_: Any,
) -> tuple[Symbol, ...] | None:
    """Return the output and the next states of ``layers`` layers, in the shapes of torch's operators."""
    per_layer = 4 if biased else 2
    if not isinstance(weights, list | tuple) or not isinstance(layers, int) or both_ways:
        return None
    if len(weights) != per_layer * layers:
        return None
    if training and dropout and layers > 1:
        raise call.refused(" in training mode, which samples; save the policy in evaluation mode")
    lead = tuple(x.shape[:-1])
    if any(size != 1 for size in lead):
        raise call.refused(f" over {list(lead)} steps and rows; only one step of one observation is read")
    names: Names = _row(call, x)
    held = [_rows(call, state, layers) for state in states]
    after: list[list[Names]] = [[] for _ in states]
    for layer in range(layers):
        gates = _gates(call, kind, weights[per_layer * layer : per_layer * (layer + 1)])
        made = _step(call, kind, names, [rows[layer] for rows in held], gates)
        for found, one in zip(after, made, strict=True):
            found.append(one)
        names = made[0]
    dtype = x.cell.dtype if isinstance(x, Symbol) else x.dtype
    shaped = [np.stack(rows).reshape(layers, *lead[1:], -1) for rows in after]
    return (symbol_of(names.reshape(*lead, -1), dtype), *(symbol_of(one, dtype) for one in shaped))


def _cell(call: Call, kind: str, x: Any, states: list[Any], weights: Sequence[Any]) -> tuple[Symbol, ...] | None:
    lead = tuple(x.shape[:-1])
    if any(size != 1 for size in lead) or len(weights) not in (2, 4):
        return None
    held = [_row(call, state) for state in states]
    made = _step(call, kind, _row(call, x), held, _gates(call, kind, [one for one in weights if one is not None]))
    dtype = x.cell.dtype if isinstance(x, Symbol) else x.dtype
    return tuple(symbol_of(one.reshape(*lead, -1), dtype) for one in made)


def _step(call: Call, kind: str, x: Names, states: Sequence[Names], gates: list[lowered.Gate]) -> list[Names]:
    call.run.take(len(gates) * states[0].size, multiplied=sum(gate.outer.size + gate.inner.size for gate in gates))
    if gates[0].outer.shape[1] != x.size or any(state.size != len(gates[0].inner) for state in states):
        raise InputError("has weights that do not fit its sizes; export the policy again")
    operands = [_operand(call, state) for state in states]
    seen = _operand(call, x)
    call.building.label()
    made = _STEPS[kind](call, call.building.build.data(seen), operands, gates)
    return [call.building.symbol(one).names.reshape(-1) for one in made]


def _operand(call: Call, names: Names) -> Floats:
    """Return elements as a value of the graph, or as a constant if they all are."""
    if (names < 0).all():
        return Known(array=call.building.elements.numbers(names))
    found = call.building.gathered(names)
    return Data(name=found.name, dims=(names.size,))


def _row(call: Call, value: Any) -> Names:
    """Return the element names of a tensor with one row."""
    return np.asarray(_rows(call, value, 1)[0])


def _rows(call: Call, value: Any, count: int) -> Names:
    """Return the element names of a traced or real tensor as ``count`` rows."""
    if isinstance(value, Symbol):
        names = value.names
    elif isinstance(value, Tensor) and value.is_floating_point():
        names = call.building.elements.of_constants(value)
    else:
        raise call.refused(" on values that are not tensors of floats")
    if not names.size or names.size % count:
        raise call.refused(f" with a state of {names.size} values for {count} layers")
    return np.asarray(names.reshape(count, -1))


def _gates(call: Call, kind: str, weights: Sequence[Any]) -> list[lowered.Gate]:
    if not weights or not all(isinstance(one, Tensor) for one in weights):
        raise call.refused(" with weights that depend on the observation")
    arrays: list[Array] = [floats_of(one) for one in weights]
    rows = len(arrays[0])
    biases = arrays[2:] or [np.zeros(rows), np.zeros(rows)]
    return lowered.gates_of(arrays[0], arrays[1], biases[0], biases[1], GATES[kind])
