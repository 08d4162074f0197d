"""The structure of an ONNX file: what is refused by name before ONNX Runtime sees it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import branch, function_of, graph_of, if_node, model_of, node

from prunekit import ArtifactError
from prunekit.export.session import tuned_session

Make = Callable[[], onnx.ModelProto]


def nested(depth: int) -> onnx.ModelProto:
    inner = branch([node("Identity", ["x"], ["z"])])
    for level in range(depth):
        inner = branch([if_node("no", inner, branch([node("Identity", ["x"], ["z"])]), f"n{level}")], f"n{level}")
    return model_of([if_node("no", inner, branch([node("Identity", ["x"], ["z"])]))], {"no": np.asarray(False)})


def laughs(levels: int) -> onnx.ModelProto:
    calls = [
        function_of(
            f"f{level}", [node(f"f{level + 1}", ["a"], ["c"], domain="f")] * 10 + [node("Identity", ["a"], ["b"])]
        )
        for level in range(levels)
    ]
    last = function_of(f"f{levels}", [node("Identity", ["a"], ["b"])])
    return model_of([node("f0", ["x"], ["y"], domain="f")], functions=[*calls, last], domains=["f"])


def calls_itself() -> onnx.ModelProto:
    bodies = [function_of(one, [node(other, ["a"], ["b"], domain="f")]) for one, other in (("p", "q"), ("q", "p"))]
    return model_of([node("p", ["x"], ["y"], domain="f")], functions=bodies, domains=["f"])


def loop() -> onnx.ModelProto:
    body = graph_of([node("Identity", ["c"], ["d"]), node("Identity", ["v"], ["w"])], outputs=("d", "w"), inputs=())
    body.input.extend(
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ]
    )
    return model_of([node("Loop", ["", "yes", "x"], ["y"], body=body)], {"yes": np.asarray(True)})


def within_if(inner: onnx.NodeProto) -> onnx.ModelProto:
    other = branch([node("Identity", ["x"], ["z"])])
    return model_of([if_node("yes", branch([inner]), other)], {"yes": np.asarray(True)})


def with_tensor(**fields: object) -> onnx.ModelProto:
    model = model_of([node("MatMul", ["x", "w"], ["y"])], {"w": np.zeros((4, 2))})
    for name, value in fields.items():
        if isinstance(value, list):
            del getattr(model.graph.initializer[0], name)[:]
            getattr(model.graph.initializer[0], name).extend(value)
        else:
            setattr(model.graph.initializer[0], name, value)
    return model


def with_part() -> onnx.ModelProto:
    model = with_tensor()
    model.graph.initializer[0].segment.end = 8
    return model


def with_sparse() -> onnx.ModelProto:
    model = model_of([node("MatMul", ["x", "w"], ["y"])], {"w": np.zeros((4, 2))})
    model.graph.sparse_initializer.add().dims.extend([4, 2])
    return model


def of_another_version() -> onnx.ModelProto:
    function = function_of("g", [node("Relu", ["a"], ["b"])])
    function.opset_import[0].version = 13
    return model_of([node("g", ["x"], ["y"], domain="f")], functions=[function], domains=["f"])


def another_relu() -> onnx.ModelProto:
    function = function_of("Relu", [node("Exp", ["a"], ["b"])])
    function.domain = ""
    return model_of([node("Relu", ["x"], ["y"])], functions=[function])


REFUSED: dict[str, tuple[Make, str]] = {
    "Loop": (loop, "has the operator Loop"),
    "Loop in a branch": (lambda: within_if(loop().graph.node[0]), "has the operator Loop"),
    "Scan": (lambda: model_of([node("Scan", ["x"], ["y"], num_scan_inputs=1)]), "has the operator Scan"),
    "a foreign operator": (
        lambda: model_of([node("Magic", ["x"], ["y"], domain="my.ops")]),
        "operator Magic of my.ops",
    ),
    "nested graphs": (lambda: nested(10), "nested deeper than 8"),
    "functions that expand": (lambda: laughs(6), "more than 10,000 nodes"),
    "functions that call each other": (calls_itself, "calls itself"),
    "a function of another version": (of_another_version, "its function g cannot be expanded"),
    "a function in place of an operator": (another_relu, "one that already exists"),
    "many nodes": (lambda: model_of([node("Relu", ["x"], ["y"])] * 10_001), "more than 10,000 nodes"),
    "a value that nothing gives": (lambda: model_of([node("Relu", ["z"], ["y"])]), "reads 'z'"),
    "an output that nothing gives": (lambda: model_of([node("Relu", ["x"], ["z"])]), "its output 'y'"),
    "a sequence that does not say so": (
        lambda: model_of([node("SplitToSequence", ["x", "n"], ["y"], axis=1)], {"n": np.asarray(3)}),
        "its output 'y' is not a tensor",
    ),
    "sparse weights": (with_sparse, "sparse weights"),
    "text": (lambda: with_tensor(data_type=TensorProto.STRING), "does not hold plain numbers"),
    "too little data": (lambda: with_tensor(dims=[4, 3]), "holds another amount"),
    "huge sizes without data": (lambda: with_tensor(dims=[2**20, 2**10]), "holds another amount"),
    "negative sizes": (lambda: with_tensor(dims=[-4, -2]), "impossible sizes"),
    "many axes": (lambda: with_tensor(dims=[1] * 40), "impossible sizes"),
    "a part of a tensor": (with_part, "is a part of another"),
    "data elsewhere": (lambda: with_tensor(data_location=TensorProto.EXTERNAL), "lies in another file"),
    "no strides": (
        lambda: model_of([node("MaxPool", ["x"], ["y"], kernel_shape=[1], strides=[0])]),
        "strides of MaxPool",
    ),
    "an absurd axis": (lambda: model_of([node("Softmax", ["x"], ["y"], axis=2**40)]), "axis of Softmax"),
    "no number": (lambda: model_of([node("LeakyRelu", ["x"], ["y"], alpha=float("nan"))]), "alpha of LeakyRelu"),
    "text in a node": (lambda: model_of([node("Constant", [], ["y"], value_string="x")]), "value_string of Constant"),
    "text made": (lambda: model_of([node("Cast", ["x"], ["y"], to=TensorProto.STRING)]), "gives text"),
    "sizes that do not fit": (
        lambda: model_of([node("MatMul", ["x", "w"], ["y"])], {"w": np.zeros((5, 2))}),
        "cannot run it",
    ),
    "a map": (
        lambda: model_of(
            [node("Relu", ["x"], ["y"])],
            inputs=[helper.make_value_info("x", helper.make_map_type_proto(7, helper.make_tensor_type_proto(1, [1])))],
        ),
        "'x' is not a tensor",
    ),
    "an impossible width": (
        lambda: model_of(
            [node("Relu", ["x"], ["y"])], inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, -7])]
        ),
        "impossible size of -7",
    ),
    "control characters": (lambda: model_of([node("Relu", ["x"], ["\x1b[31my\n"])]), r"the name '\x1b[31my\n'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trusted_is_refused_by_name(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(ArtifactError) as refusal:
        tuned_session(make().SerializeToString(), "bad.onnx")
    assert str(refusal.value).startswith("bad.onnx: ")
    assert reason in str(refusal.value)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("field", ["input", "node", "domain", "text"])
def test_text_that_is_not_utf_8_is_refused(field: str) -> None:
    model = model_of([node("Relu", ["x"], ["y"])])
    mark = "QQQQ"
    if field == "input":
        model.graph.input[0].name = mark
    elif field == "node":
        model.graph.node[0].name = mark
    elif field == "domain":
        model.opset_import[0].domain = mark
    else:
        model.doc_string = mark
    content = model.SerializeToString().replace(b"QQQQ", b"Q\xff\xe2Q")
    with pytest.raises(ArtifactError, match=r"^bad\.onnx: the .* 'Q\\xff\\xe2Q' in it is not UTF-8"):
        tuned_session(content, "bad.onnx")


def test_messages_nested_beyond_what_protobuf_reads_are_no_onnx_file() -> None:
    content = b""
    for tag in [0x32, 0x2A, 0x0A] * 40 + [0x3A]:  # the graph, a node's attribute, a graph's node; the model's graph
        content = bytes([tag]) + length_of(content) + content
    with pytest.raises(ArtifactError, match=r"^bad\.onnx: is damaged, or not an ONNX file"):
        tuned_session(content, "bad.onnx")


def length_of(content: bytes) -> bytes:
    count, found = len(content), b""
    while count >= 128:
        found, count = found + bytes([count & 127 | 128]), count >> 7
    return found + bytes([count])
