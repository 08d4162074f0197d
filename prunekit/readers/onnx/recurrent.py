"""Recurrent operators: one step, from a state that is computed or a constant of the file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prunekit.errors import InputError
from prunekit.readers.lowering.arithmetic import Floats
from prunekit.readers.lowering.recurrent import gates_of, gru, lstm, plain
from prunekit.readers.lowering.values import Data, Held, Known
from prunekit.readers.onnx.call import Call, operator

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
# ONNX stores the gates of an LSTM as input, output, forget, candidate, and those of a GRU as update, reset, candidate.
_LSTM_ORDER, _GRU_ORDER = (0, 2, 3, 1), (1, 0, 2)


@operator("LSTM", "GRU", "RNN")
def _recurrent(call: Call) -> Sequence[Held]:
    kind, build = call.node.op_type, call.build
    x = call.data()
    size = int(call.attribute("hidden_size", 0))
    names = [name.decode("ascii", "replace") for name in call.attributes.get("activations", [])]
    usual = (
        call.attribute("direction", "forward") == "forward"
        and not call.attribute("layout", 0)
        and not call.attribute("input_forget", 0)
        and not call.has(7)
        and names in ([], _USUAL[kind])
        and "clip" not in call.attributes
    )
    if not usual or len(x.dims) != 3:
        raise InputError("is of a form that is not read (directions, activations, peepholes, clip or layout)")
    if x.dims[0] != 1 or x.dims[1] != 1:
        raise InputError(f"goes over {x.dims[0]} steps of {x.dims[1]} rows, but only one step is read")
    row = Data(name=x.name, dims=(1, x.dims[2]))
    count = _GATES[kind]
    weight, inner = call.known(1)[0].astype(np.float64), call.known(2)[0].astype(np.float64)
    biases = call.known(3)[0].astype(np.float64) if call.has(3) else np.zeros(2 * count * size)
    if weight.shape != (count * size, x.dims[2]) or biases.shape != (2 * count * size,):
        raise InputError("has weights that do not fit its sizes; export the policy again")
    gates = gates_of(weight, inner, biases[: count * size], biases[count * size :], count)
    hidden = _state(call, 5, size)
    _note_memory(call, [5, 6] if kind == "LSTM" else [5])
    if kind == "LSTM":
        after, cell = lstm(build, row, hidden, _state(call, 6, size), [gates[at] for at in _LSTM_ORDER])
        return _ends(after), _end(after), _end(cell)
    if kind == "GRU":
        reset_after = bool(call.attribute("linear_before_reset", 0))
        after = gru(build, row, hidden, [gates[at] for at in _GRU_ORDER], reset_after=reset_after)
    else:
        after = plain(build, row, hidden, gates[0], "tanh")
    return _ends(after), _end(after)


def _state(call: Call, at: int, size: int) -> Floats:
    """Return the state before the step, as one row."""
    if not call.has(at):
        return Known(array=np.zeros(size))
    if isinstance(call.held(at), Known):
        return Known(array=call.known(at).reshape(-1).astype(np.float64))
    state = call.data(at)
    if state.dims != (1, 1, size):
        raise InputError(f"has a state of shape {list(state.dims)}, but {[1, 1, size]} is needed for one observation")
    return Data(name=state.name, dims=(1, size))


def _note_memory(call: Call, states: Sequence[int]) -> None:
    if all(not call.has(at) or isinstance(call.held(at), Known) for at in states):
        call.notes.append(
            f"{call.node.op_type} '{call.node.name or call.node.output[0]}' has a constant state, so the policy "
            "remembers nothing; if the original does, it was exported without its state"
        )


def _ends(value: Data) -> Data:
    return Data(name=value.name, dims=(1, 1, 1, value.dims[-1]))


def _end(value: Data) -> Data:
    return Data(name=value.name, dims=(1, 1, value.dims[-1]))
