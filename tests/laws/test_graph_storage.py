"""A graph in a file is the graph that was written, and nothing else is read as one."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from law_graphs import Case, cases

from prunekit.errors import InputError
from prunekit.formats.torch_file import read_torch
from prunekit.graph.graph import Graph, Node, Port
from prunekit.graph.op import parameters
from prunekit.graph.storage import decode, encode
from prunekit.ops.activation import Activation
from prunekit.ops.affine import Affine
from prunekit.ops.identity import Identity
from prunekit.policy.model_file import ModelFile, read_model_file, save_model_file


def through_a_file(graph: Graph) -> Graph:
    buffer = io.BytesIO()
    torch.save(encode(graph), buffer)
    return decode(read_torch(buffer.getvalue()))


def assert_same(one: Graph, other: Graph) -> None:
    assert (one.inputs, one.outputs) == (other.inputs, other.outputs)
    for node, same in zip(one.nodes, other.nodes, strict=True):
        assert (type(node.op), node.inputs, node.outputs) == (type(same.op), same.inputs, same.outputs)
        for entry in fields(node.op):  # type: ignore[arg-type]
            value, back = getattr(node.op, entry.name), getattr(same.op, entry.name)
            if isinstance(value, np.ndarray):
                assert (value.dtype, value.shape, value.tobytes()) == (back.dtype, back.shape, back.tobytes())
            else:
                assert value == back
                assert type(value) is type(back)
    for state, kept in zip(one.states, other.states, strict=True):
        assert (state.before, state.after) == (kept.before, kept.after)
        assert state.initial.tobytes() == kept.initial.tobytes()


@settings(deadline=None, max_examples=60)
@given(cases())
def test_any_graph_comes_back_as_it_was(case: Case) -> None:
    assert_same(through_a_file(case.graph), case.graph)


def policy_of(graph: Graph) -> Graph:
    """Return ``graph`` as a policy: with a head that changes nothing, where it has none."""
    if "action" in graph.outputs:
        return replace(graph, outputs=("action", "outputs"))
    head = Node(op=Identity(), inputs=("outputs",), outputs=("action",))
    return replace(graph, nodes=(*graph.nodes, head), outputs=("action", "outputs"))


@settings(deadline=None, max_examples=60)
@given(cases())
def test_any_policy_comes_back_from_a_model_file(tmp_path_factory: pytest.TempPathFactory, case: Case) -> None:
    path = tmp_path_factory.getbasetemp() / "policy.pt"
    graph = policy_of(case.graph)
    file = ModelFile(graph=graph, masks=case.masks, provenance={"seed": 3, "deep": [None, 1.5]})
    save_model_file(file, path)
    back = read_model_file(path)
    assert_same(back.graph, graph)
    assert back.provenance == file.provenance
    assert {name: keep.tolist() for name, keep in back.masks.items()} == {
        name: keep.tolist() for name, keep in case.masks.items()
    }


def small() -> dict[str, Any]:
    weight = np.ones((2, 3), np.float32)
    graph = Graph(
        inputs=(Port(name="obs", shape=(3,)),),
        nodes=(
            Node(op=Affine(weight=weight, bias=np.zeros(2, np.float32)), inputs=("obs",), outputs=("hidden",)),
            Node(op=Activation(kind="elu", numbers=(0.5,)), inputs=("hidden",), outputs=("outputs",)),
            Node(op=Identity(), inputs=("outputs",), outputs=("action",)),
        ),
        outputs=("action", "outputs"),
    )
    return encode(graph)


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no dictionary": (lambda _: [], "graph does not hold exactly"),
    "another key": (lambda d: d | {"code": "x"}, "graph does not hold exactly"),
    "nodes that are no list": (lambda d: d | {"nodes": "abc"}, "nodes are not a list"),
    "unknown op": (lambda d: d["nodes"][0].update(op="System") or d, "op 'System', which this prunekit does not know"),
    "op that is no text": (lambda d: d["nodes"][0].update(op=["Affine"]) or d, "does not know"),
    "missing field": (lambda d: (d["nodes"][0]["fields"].pop("bias"), d)[1], r"node 'hidden' \(Affine\) does not hold"),
    "field too many": (lambda d: d["nodes"][0]["fields"].update(x=1) or d, "does not hold exactly weight, bias"),
    "list for an array": (lambda d: d["nodes"][0]["fields"].update(bias=[0.0, 0.0]) or d, "'bias' of .* not a tensor"),
    "half": (lambda d: d["nodes"][0]["fields"].update(bias=torch.zeros(2).half()) or d, "not a tensor of float32"),
    "truths": (lambda d: d["nodes"][0]["fields"].update(bias=torch.ones(2).bool()) or d, "not a tensor of float32 or"),
    "NaN": (lambda d: d["nodes"][0]["fields"].update(bias=torch.full((2,), torch.nan)) or d, "'bias' .* NaN"),
    "another width": (lambda d: d["nodes"][0]["fields"].update(bias=torch.zeros(3)) or d, "do not fit"),
    "text for a number": (lambda d: d["nodes"][1]["fields"].update(numbers=["1"]) or d, "must be float"),
    "truth for a number": (lambda d: d["nodes"][1]["fields"].update(numbers=[True]) or d, "must be float"),
    "number for text": (lambda d: d["nodes"][1]["fields"].update(kind=1) or d, "must be str"),
    "parameter without end": (
        lambda d: d["nodes"][1]["fields"].update(numbers=[1e39]) or d,
        "a parameter beyond float32",
    ),
    "unknown activation": (lambda d: d["nodes"][1]["fields"].update(kind="x") or d, "not a known activation"),
    "name that is no text": (lambda d: d["nodes"][1].update(outputs=[1]) or d, "not a string"),
    "unmade value": (lambda d: d["nodes"][1].update(inputs=["nowhere"]) or d, "reads 'nowhere'"),
    "shape of text": (lambda d: d["inputs"][0].update(shape=["3"]) or d, "is not of integers"),
    "shape without end": (lambda d: d["inputs"][0].update(shape=[2**70]) or d, "more than the 16,777,216"),
    "another dtype": (lambda d: d["inputs"][0].update(dtype="object") or d, "float32 or int64"),
    "no outputs": (lambda d: d | {"outputs": []}, "needs outputs"),
    "too many ops": (lambda d: d | {"nodes": d["nodes"] * 2000}, "more than the 4,096"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_anything_else_is_refused_by_name(name: str) -> None:
    change, words = CHANGES[name]
    with pytest.raises(InputError, match=words):
        decode(change(copy.deepcopy(small())))


def test_what_is_read_is_its_own() -> None:
    data = small()
    graph = decode(data)
    data["nodes"][0]["fields"]["weight"].fill_(9.0)
    assert (parameters(graph.nodes[0].op)["weight"] == 1.0).all()
