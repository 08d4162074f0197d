"""Recurrent operators whose state is a constant of the file: one step of gated layers, which remembers nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.op import Array
from prunekit.ops.activation import Activation
from prunekit.readers.lowering.arithmetic import added, multiplied, scaled
from prunekit.readers.lowering.builder import Builder
from prunekit.readers.lowering.layers import affine
from prunekit.readers.lowering.values import Data, Held, Known
from prunekit.readers.onnx.call import Call, operator

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


@operator("LSTM", "GRU", "RNN")
def _recurrent(call: Call) -> Sequence[Held]:
    kind, build = call.node.op_type, call.build
    if any(call.has(at) and not isinstance(call.held(at), Known) for at in (5, 6)):
        raise InputError(
            "carries a state from step to step, which ONNX files are not read with; only feed-forward policies are"
        )
    x = call.data()
    size = int(call.attribute("hidden_size", 0))
    names = [name.decode("ascii", "replace") for name in call.attributes.get("activations", [])]
    plain = (
        call.attribute("direction", "forward") == "forward"
        and not call.attribute("layout", 0)
        and not call.attribute("input_forget", 0)
        and not call.has(7)
        and names in ([], _USUAL[kind])
        and "clip" not in call.attributes
    )
    if not plain or len(x.dims) != 3:
        raise InputError("is of a form that is not read (directions, activations, peepholes, clip or layout)")
    if x.dims[0] != 1 or x.dims[1] != 1:
        raise InputError(f"goes over {x.dims[0]} steps of {x.dims[1]} rows, but only one step is read")
    call.notes.append(
        f"{kind} '{call.node.name or call.node.output[0]}' has a constant state, so the policy remembers nothing; "
        "if the original does, it was exported without its state"
    )
    row = Data(name=x.name, dims=(1, x.dims[2]))
    weight, inner = call.known(1)[0].astype(np.float64), call.known(2)[0].astype(np.float64)
    biases = call.known(3)[0].astype(np.float64) if call.has(3) else np.zeros(2 * _GATES[kind] * size)
    before = [call.known(at).reshape(-1).astype(np.float64) if call.has(at) else np.zeros(size) for at in (5, 6)]
    if weight.shape != (_GATES[kind] * size, x.dims[2]) or inner.shape != (_GATES[kind] * size, size):
        raise InputError("has weights that do not fit its sizes; export the policy again")
    blocks = _Blocks(build, row, weight, inner, biases, size)
    if kind == "LSTM":
        after, cell = _lstm(blocks, *before)
        return _ends(after), _end(after), _end(cell)
    after = _gru(blocks, before[0], call) if kind == "GRU" else blocks.gate(0, before[0], "tanh")
    return _ends(after), _end(after)


class _Blocks:
    """The gates' layers: block ``at`` of the weights for the input, and of those for the state."""

    def __init__(self, build: Builder, x: Data, weight: Array, inner: Array, biases: Array, size: int) -> None:
        self.build, self.x, self.size = build, x, size
        self._weight, self._inner = weight, inner
        self._outer_bias, self._inner_bias = biases[: len(weight)], biases[len(weight) :]

    def rows(self, at: int) -> slice:
        """Return the rows of gate ``at``."""
        return slice(at * self.size, (at + 1) * self.size)

    def from_state(self, at: int, state: Array) -> Array:
        """Return what the gate reads from a constant state."""
        return np.asarray(self._inner[self.rows(at)] @ state + self._inner_bias[self.rows(at)])

    def from_input(self, at: int, more: Array) -> Data:
        """Return what the gate reads from the input, and a constant."""
        return affine(self.build, self.x, self._weight[self.rows(at)], self._outer_bias[self.rows(at)] + more)

    def gate(self, at: int, state: Array, kind: str) -> Data:
        """Return the gate with its activation."""
        return self.build.pointwise(Activation(kind=kind), self.from_input(at, self.from_state(at, state)))

    def layer(self, at: int, x: Data) -> Data:
        """Return the gate's layer of a computed state."""
        return affine(self.build, x, self._inner[self.rows(at)], self._inner_bias[self.rows(at)])


def _lstm(blocks: _Blocks, state: Array, cell: Array) -> tuple[Data, Data]:
    """Gates are in the order of input, output, forget, cell."""
    build = blocks.build
    gated: Known | Data = multiplied(build, blocks.gate(0, state, "sigmoid"), blocks.gate(3, state, "tanh"))
    if cell.any():
        kept = multiplied(build, blocks.gate(2, state, "sigmoid"), Known(array=cell))
        gated = added(build, gated, kept)
    after = build.data(gated)
    bent = build.pointwise(Activation(kind="tanh"), after)
    return build.data(multiplied(build, blocks.gate(1, state, "sigmoid"), bent)), after


def _gru(blocks: _Blocks, state: Array, call: Call) -> Data:
    """(1 - z) * h + z * state; gates are in the order of update, reset, hidden."""
    build = blocks.build
    update, reset = (blocks.gate(at, state, "sigmoid") for at in (0, 1))
    if call.attribute("linear_before_reset", 0):
        inner = multiplied(build, reset, Known(array=blocks.from_state(2, state)))
    else:
        inner = blocks.layer(2, build.data(multiplied(build, reset, Known(array=state))))
    total = build.data(added(build, blocks.from_input(2, np.zeros(blocks.size)), inner))
    hidden = build.pointwise(Activation(kind="tanh"), total)
    made = multiplied(build, scaled(build, update, -1.0, 1.0), hidden)
    return build.data(added(build, made, multiplied(build, update, Known(array=state))) if state.any() else made)


def _ends(value: Data) -> Data:
    return Data(name=value.name, dims=(1, 1, 1, value.dims[-1]))


def _end(value: Data) -> Data:
    return Data(name=value.name, dims=(1, 1, value.dims[-1]))
