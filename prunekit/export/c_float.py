"""A graph as portable float32 C, and its bit-exact NumPy twin.

Sums start with the bias and add the inputs in their order (``graph/c/layers.py``). Arrays are reused, so a graph needs
as few as possible: a chain needs two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.export.c_code import CCode
from prunekit.export.c_interface import Interface, action_of, interface_of
from prunekit.export.c_self_test import self_test, self_test_constants
from prunekit.export.c_text import about_policy, header_text, source_head
from prunekit.graph.c.body import c_body, is_read_as_it_is
from prunekit.graph.c.layers import AT_A_TIME, fills_lines
from prunekit.graph.c.literals import Float32, array, c_float
from prunekit.graph.c.twin import run_twin
from prunekit.graph.graph import Graph, as_dtype
from prunekit.graph.op import Array, name_of
from prunekit.graph.reference import Values, initial_states
from prunekit.ops.activation import Activation
from prunekit.ops.affine import Affine
from prunekit.ops.argmax import Argmax
from prunekit.ops.clip_to_bounds import ClipToBounds
from prunekit.ops.identity import Identity
from prunekit.ops.normalize import Normalize
from prunekit.ops.tanh_to_bounds import TanhToBounds
from prunekit.policy.sizes import parameter_count


def float_to_c(
    graph: Graph,
    name: str,
    metadata: Mapping[str, Any],
    recorded: Mapping[str, NDArray[np.float32]] | None = None,
    *,
    at_a_time: int = AT_A_TIME,
) -> CCode:
    """Return the policy ``graph`` as C with this ``name``, with a self-test on ``recorded`` inputs [n, ...] by name, if
    given.

    Layers add ``at_a_time`` inputs at once, which changes speed and size but no bit. Raises InputError, naming node and
    op, for an op without a C form, and for action numbers beyond int32.
    """
    graph = _in_float32(graph)
    interface = interface_of(graph, name)
    fields = {port.name: (own.name, own.macro) for port, own in zip(graph.inputs, interface.inputs, strict=True)}
    members = [field.name for field in interface.states]
    body = c_body(graph, name, action_of(graph), fields, members, at_a_time=at_a_time)
    initial = {field.name: state.initial for field, state in zip(interface.states, graph.states, strict=True)}
    begins = [array("float", name, f"initial_{own}", value) for own, value in initial.items() if not _is_one(value)]
    constants = [*body.constants, *begins]
    tested = [] if recorded is None else self_test_constants(interface, *_tested(graph, interface, recorded))
    parts = [source_head(name, constants + tested), *(constant.text for constant in constants), *body.functions]
    if interface.states:
        parts.append(_reset(interface, initial))
    parts.append("\n".join([interface.signature, "{", *body.lines, "}", ""]))
    if tested:
        parts.append(self_test(interface, tested))
    about = about_policy(_shape(graph, interface), _functions(graph), parameter_count(graph), metadata, "float32")
    return CCode(
        name=name,
        header=header_text(interface, about, _nan(graph), recorded is not None),
        source="\n".join(parts),
        inputs=interface.size,
        outputs=interface.outputs,
        constant_bytes=tuple(constant.size_bytes for constant in constants),
        wide=fills_lines(body.layers),
        fields=tuple(field.size for field in interface.inputs),
        states=tuple(field.size for field in interface.states),
    )


def run_float32(graph: Graph, inputs: Mapping[str, Array]) -> Values:
    """Return the outputs [n, ...] for raw inputs [n, ...], both by name, with the same bits as the C.

    States have their initial values. Raises InputError, naming node and op, for an op without a twin, and as
    ``run_step`` does.
    """
    rows = len(next(iter(inputs.values()), np.zeros(0)))
    return run_twin(_in_float32(graph), inputs, initial_states(graph, rows, np.float32))[0]


def run_float32_step(graph: Graph, inputs: Mapping[str, Array], states: Mapping[str, Array]) -> tuple[Values, Values]:
    """Run the graph once and return (outputs, next states), with the bits of ``run_float32``."""
    return run_twin(_in_float32(graph), inputs, states)


def _in_float32(graph: Graph) -> Graph:
    with np.errstate(over="ignore"):
        return as_dtype(graph, np.float32)


def _tested(
    graph: Graph, interface: Interface, recorded: Mapping[str, NDArray[np.float32]]
) -> tuple[Float32, NDArray[Any]]:
    """Return the finite ones of the ``recorded`` inputs [n, all inputs], and their actions; with states, one step after
    the other.
    """
    rows = np.concatenate([recorded[port.name].reshape(len(recorded[port.name]), -1) for port in graph.inputs], axis=1)
    kept = np.isfinite(rows).all(axis=1)
    inputs = {name: value[kept] for name, value in recorded.items()}
    output = "action" if "action" in graph.outputs else graph.outputs[0]
    if not interface.states:
        return rows[kept], run_twin(graph, inputs, {})[0][output]
    states, actions = initial_states(graph, 1, np.float32), []
    for row in range(int(kept.sum())):
        outputs, states = run_twin(graph, {name: value[row : row + 1] for name, value in inputs.items()}, states)
        actions.append(outputs[output])
    return rows[kept], np.concatenate(actions) if actions else np.zeros(0, np.float32)


def _reset(interface: Interface, initial: Mapping[str, Array]) -> str:
    lines = [interface.reset_signature, "{", "    int i;"]
    for field in interface.states:
        value = f"{interface.upper}_FLOAT(&{interface.name}_initial_{field.name}[i])"
        if _is_one(initial[field.name]):
            value = c_float(float(initial[field.name].flat[0]))
        lines += [f"    for (i = 0; i < {field.size}; ++i)", f"        state->{field.name}[i] = {value};"]
    return "\n".join([*lines, "}", ""])


def _is_one(values: Array) -> bool:
    return len(np.unique(values)) == 1


def _shape(graph: Graph, interface: Interface) -> str:
    layers = [node.op for node in graph.nodes if isinstance(node.op, Affine)]
    if any(not isinstance(node.op, Affine | Activation | _QUIET) for node in graph.nodes) or len(interface.inputs) > 1:
        return f"{interface.size} inputs, {len(graph.nodes)} ops"
    return "-".join(map(str, [interface.size, *(len(layer.bias) for layer in layers)]))


def _functions(graph: Graph) -> list[str]:
    """Return the names of the ops between layers; activations by their own names."""
    ops = [node.op for node in graph.nodes if not isinstance(node.op, Affine | _QUIET)]
    return [op.kind if isinstance(op, Activation) else name_of(op) for op in ops]


def _nan(graph: Graph) -> str:
    read = {name for node in graph.nodes for name in node.inputs}
    means = {is_read_as_it_is(graph, port.name) for port in graph.inputs if port.name in read}
    if means == {True, False}:
        return "the normalizer's mean, or 0 where there is none"
    return "the normalizer's mean" if means == {True} else "0"


_QUIET = Normalize | Argmax | ClipToBounds | TanhToBounds | Identity
