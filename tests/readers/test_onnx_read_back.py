"""Law 10 on files of our own: what prunekit wrote is read back, with states and with several choices at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnx_files import ops_of

from prunekit.errors import InputError
from prunekit.graph.graph import Graph, Node, Port, State
from prunekit.graph.onnx import to_onnx
from prunekit.graph.reference import initial_states, run_step
from prunekit.ops.activation import Activation
from prunekit.ops.affine import Affine
from prunekit.ops.argmax_per_part import ArgmaxPerPart
from prunekit.ops.gru import GRU
from prunekit.ops.identity import Identity
from prunekit.readers.onnx_graph import read_onnx_graph

Array = np.ndarray[Any, np.dtype[Any]]
RANDOM = np.random.default_rng(3)


def values(*shape: int) -> Array:
    return RANDOM.normal(0.0, 0.6, shape).astype(np.float32)


def layer(read: int, made: int) -> Affine:
    return Affine(weight=values(made, read), bias=values(made))


def gru(read: int, cells: int) -> GRU:
    return GRU(w_x=values(3 * cells, read), w_h=values(3 * cells, cells), b_x=values(3 * cells), b_h=values(3 * cells))


def one_state(initial: Array) -> Graph:
    nodes = (
        Node(op=layer(4, 6), inputs=("obs",), outputs=("a",)),
        Node(op=Activation(kind="relu"), inputs=("a",), outputs=("b",)),
        Node(op=gru(6, 5), inputs=("b", "memory"), outputs=("next",)),
        Node(op=layer(5, 2), inputs=("next",), outputs=("outputs",)),
        Node(op=Identity(), inputs=("outputs",), outputs=("action",)),
    )
    state = State(before="memory", after="next", initial=initial)
    return Graph(inputs=(Port(name="obs", shape=(4,)),), nodes=nodes, outputs=("action", "outputs"), states=(state,))


def two_states() -> Graph:
    nodes = (
        Node(op=gru(4, 5), inputs=("obs", "first"), outputs=("first_next",)),
        Node(op=gru(5, 3), inputs=("first_next", "second"), outputs=("second_next",)),
        Node(op=layer(3, 7), inputs=("second_next",), outputs=("outputs",)),
        Node(op=ArgmaxPerPart(counts=(3, 4), starts=(0, 2)), inputs=("outputs",), outputs=("action",)),
    )
    states = tuple(
        State(before=name, after=f"{name}_next", initial=np.zeros(n, np.float32))
        for name, n in zip(("first", "second"), (5, 3), strict=True)
    )
    return Graph(inputs=(Port(name="obs", shape=(4,)),), nodes=nodes, outputs=("action", "outputs"), states=states)


MADE: dict[str, Callable[[], Graph]] = {
    "a GRU": lambda: one_state(np.zeros(5, np.float32)),
    "a GRU that begins with something": lambda: one_state(values(5)),
    "two GRUs, several choices": two_states,
}


@pytest.mark.parametrize("name", MADE)
def test_states_are_carried_as_in_the_file(name: str) -> None:
    graph = MADE[name]()
    content = to_onnx(graph)
    found = read_onnx_graph(content, "own").graph
    assert [(one.before, one.initial.tolist()) for one in found.states] == [
        (one.before, one.initial.tolist()) for one in graph.states
    ]
    assert [port.name for port in found.inputs] == ["obs"]
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    given = {one.before: one.initial[None] for one in graph.states}
    states = initial_states(found, 1, np.float32)
    for _ in range(20):
        row = values(1, 4)
        action, *after = session.run(["action", *(f"{one}_out" for one in given)], {"obs": row, **given})
        given = dict(zip(given, after, strict=True))
        outputs, states = run_step(found, {"obs": row}, states, np.float32)[:2]
        np.testing.assert_allclose(outputs["action"], action, rtol=1e-5, atol=1e-6)
    assert to_onnx(found)


@pytest.mark.parametrize("name", MADE)
def test_a_cell_is_one_op_again(name: str) -> None:
    graph = MADE[name]()
    found = read_onnx_graph(to_onnx(graph), "own").graph
    assert [type(node.op) for node in found.nodes] == [type(node.op) for node in graph.nodes]


def test_choices_side_by_side_are_one_head() -> None:
    head = ArgmaxPerPart(counts=(3, 2, 4), starts=(1, 0, -2))
    nodes = (
        Node(op=layer(4, 9), inputs=("obs",), outputs=("outputs",)),
        Node(op=head, inputs=("outputs",), outputs=("action",)),
    )
    graph = Graph(inputs=(Port(name="obs", shape=(4,)),), nodes=nodes, outputs=("action", "outputs"))
    found = read_onnx_graph(to_onnx(graph), "own").graph
    assert ops_of(read_onnx_graph(to_onnx(graph), "own")) == ["Affine", "ArgmaxPerPart"]
    assert found.nodes[-1].op == head
    rows = values(50, 4)
    for name in ("action", "outputs"):
        wanted, got = (run_step(one, {"obs": rows}, {}, np.float32)[0][name] for one in (graph, found))
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ('{"memory": [1, 2]}', "has initial values that do not fit it"),
        ('{"memory": null}', "has initial values that do not fit it"),
        ('{"memory": [true, 0, 0, 0, 0]}', "has initial values that do not fit it"),
        ('{"memory": [1e39, 0, 0, 0, 0]}', "has initial values that do not fit it"),
        (f'{{"memory": [{10**400}, 0, 0, 0, 0]}}', "has initial values that do not fit it"),
        ('{"other": [1]}', "has initial values for states that do not exist"),
        ("[]", "has initial values for states that do not exist"),
        ("null", "has initial values for states that do not exist"),
    ],
)
def test_first_values_that_do_not_fit_are_refused(told: str, reason: str) -> None:
    model = onnx.load_from_string(to_onnx(one_state(values(5))))
    helper.set_model_props(model, {"prunekit.initial_states": told})
    with pytest.raises(InputError, match=reason):
        read_onnx_graph(model.SerializeToString(), "own")
