"""What is not read of ONNX files is refused in one line that names the file, the node and the operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_files import Array, by_hand, exported, node
from torch import nn

from prunekit.errors import ArtifactError, InputError, PrunekitError
from prunekit.readers.onnx_graph import read_onnx_graph

RANDOM = np.random.default_rng(2)
WEIGHT = {"w": RANDOM.standard_normal((5, 4)).astype(np.float32)}


def values(*shape: int) -> Array:
    return RANDOM.standard_normal(shape).astype(np.float32)


def layered(*nodes: onnx.NodeProto) -> list[onnx.NodeProto]:
    return [node("MatMul", "x w", "h"), *nodes]


RECURRENT = {"w": values(1, 12, 5), "r": values(1, 12, 3), "zero": np.asarray([0])}
CASES: dict[str, tuple[list[onnx.NodeProto], dict[str, Any], dict[str, Array], str]] = {
    "convolution": (
        [node("Conv", "x k", "h"), node("Relu", "h")],
        {"x": (1, 3, 8, 8)},
        {"k": values(4, 3, 3, 3)},
        r"Conv 'h' is a convolution; only fully connected layers are read",
    ),
    "attention": (
        [node("MatMul", "x w", "h"), node("Transpose", "h", "t", perm=[0, 2, 1]), node("MatMul", "h t")],
        {"x": (1, 3, 5)},
        WEIGHT,
        r"MatMul 'y' multiplies two computed matrices, as attention does",
    ),
    "a state of another shape": (
        [
            node("Unsqueeze", "x zero", "s"),
            node("LSTM", "s w r - - h_in c_in", "whole h_out c_out", hidden_size=3),
            node("Identity", "whole"),
        ],
        {"x": (1, 5), "h_in": (1, 1, 4), "c_in": (1, 1, 3)},
        RECURRENT,
        r"LSTM 'whole' has a state of shape \[1, 1, 4\], but \[1, 1, 3\] is needed for one observation",
    ),
    "steps": (
        [node("LSTM", "x w r", "whole", hidden_size=3), node("Identity", "whole")],
        {"x": (4, 1, 5)},
        RECURRENT,
        r"LSTM 'whole' goes over 4 steps of 1 rows, but only one step is read",
    ),
    "unknown operator": (
        layered(node("Hardmax", "h")), {"x": (1, 5)}, WEIGHT, r"Hardmax 'y' is not read into a graph; export the",
    ),
    "integers": (
        layered(node("DynamicQuantizeLinear", "h", "q s z"), node("DequantizeLinear", "q s z")), {"x": (1, 5)}, WEIGHT,
        r"DynamicQuantizeLinear 'q' computes in integers; export the policy in floating point",
    ),
    "rounding": (
        layered(node("Cast", "h", "i", to=TensorProto.INT64), node("Cast", "i", to=TensorProto.FLOAT)),
        {"x": (1, 5)},
        WEIGHT,
        r"Cast 'i' rounds values of the observation to integers",
    ),
    "index in between": (
        layered(node("ArgMax", "h", "i", axis=1), node("Cast", "i", "f", to=TensorProto.FLOAT), node("Mul", "f f")),
        {"x": (1, 5)},
        WEIGHT,
        r"Mul 'y' computes with the result of an argmax, which must be the last step of a policy",
    ),
    "table of actions": (
        layered(node("ArgMax", "h", "i", axis=1), node("Gather", "table i")),
        {"x": (1, 5)},
        {**WEIGHT, "table": values(4, 2)},
        r"Gather 'y' looks up constants by a computed index",
    ),
    "last of equals": (
        layered(node("ArgMax", "h", axis=1, select_last_index=1)), {"x": (1, 5)}, WEIGHT,
        r"ArgMax 'y' breaks ties by the last index",
    ),
    "sorting": (
        layered(node("TopK", "h two", "y i")), {"x": (1, 5)}, {**WEIGHT, "two": np.asarray([2])},
        r"TopK 'y' sorts 2 values",
    ),
    "two open sizes": (
        layered(node("Tanh", "h")), {"x": ("batch", "steps", 5)}, WEIGHT,
        r"input 'x' has the shape \['batch', 'steps', '5'\], with more open sizes than the batch",
    ),
    "division by zero": (
        layered(node("Div", "h z")), {"x": (1, 5)}, {**WEIGHT, "z": np.zeros(4, np.float32)},
        r"Div 'y' divides by zero; the policy is broken",
    ),
    "bound that is NaN": (
        layered(node("Clip", "h n")), {"x": (1, 5)}, {**WEIGHT, "n": np.float32(np.nan)},
        r"Clip 'y' has a bound that is NaN",
    ),
    "weight that is NaN": (
        layered(node("Tanh", "h")), {"x": (1, 5)}, {"w": np.full((5, 4), np.nan, np.float32)},
        r"'weight' of node 'h' \(Affine\) holds NaN or infinite values; the policy is broken",
    ),
    "an input as it is": (
        [node("Reshape", "x s")], {"x": (1, 5)}, {"s": np.asarray([1, 5])},
        r"gives its input 'x' as it is, and computes nothing",
    ),
    "a constant": (
        [node("Shape", "x", "s"), node("Cast", "s", to=TensorProto.FLOAT)], {"x": (1, 5)}, {},
        r"output 'y' is not a value that depends on an observation|none of its outputs \(y\) depends on an input",
    ),
    "a name that is taken": (
        [node("MatMul", "action w")], {"action": (1, 5)}, WEIGHT, r"its input is called 'action', "
                                                                  r"which is the name of an output",
    ),
    "a power of its own for each": (
        layered(node("Pow", "h p")), {"x": (1, 5)}, {**WEIGHT, "p": np.arange(4, dtype=np.float32)},
        r"Pow 'y' has an exponent that is not one number",
    ),
    "statistics of the batch": (
        layered(node("BatchNormalization", "h s s s s", "y m v", training_mode=1)), {"x": (1, 5)},
        {**WEIGHT, "s": np.ones(4, np.float32)}, r"BatchNormalization 'y' takes its statistics from the batch",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refusals(name: str) -> None:
    nodes, inputs, constants, message = CASES[name]
    kinds = {"y": TensorProto.INT64} if name == "last of equals" else {}
    content = by_hand(nodes, inputs, constants=constants, kinds=kinds)
    with pytest.raises(InputError, match=message) as caught:
        read_onnx_graph(content, "some/policy.onnx")
    text = str(caught.value)
    assert text.startswith("some/policy.onnx: ")
    assert "\n" not in text


def test_a_branch_on_the_observation() -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("a", "b")]
    first = helper.make_graph([node("Tanh", "h", "a")], "first", [], ends[:1])
    second = helper.make_graph([node("Relu", "h", "b")], "second", [], ends[1:])
    constants = {**WEIGHT, "zero": np.float32(0.0)}
    nodes = layered(
        node("ReduceSum", "h", "s", keepdims=0), node("Greater", "s zero", "c"),
        node("If", "c", then_branch=first, else_branch=second),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"policy.onnx: If 'y' branches on the observation"):
        read_onnx_graph(by_hand(nodes, {"x": (1, 5)}, constants=constants), "policy.onnx")


def sampling(*more: onnx.NodeProto, outputs: tuple[str, ...]) -> bytes:
    nodes = [*layered(node("RandomNormalLike", "h", "n"), node("Add", "h n", "action")), *more]
    return by_hand(nodes, {"x": (1, 5)}, outputs, WEIGHT)


def test_an_answer_that_is_drawn() -> None:
    message = r"samples its action \(output 'action' depends on RandomNormalLike\), so one observation has many "
    with pytest.raises(InputError, match=message + "answers; export its deterministic action"):
        read_onnx_graph(sampling(outputs=("action",)), "policy.onnx")
    both = sampling(node("Tanh", "h", "mean"), outputs=("action", "mean"))
    with pytest.raises(
        InputError, match=message + "answers; choose an output that is not sampled \\(mean\\) with `output`"
    ):
        read_onnx_graph(both, "policy.onnx")
    assert read_onnx_graph(both, "policy.onnx", output="mean").output == "mean"
    unnamed = sampling(node("Tanh", "h", "7"), node("Identity", "action", "8"), outputs=("7", "8"))
    with pytest.raises(
        InputError,
        match=r"samples its action \(output '8'.*choose an output that is "
        r"not sampled \(7\) with `output`",
    ):
        read_onnx_graph(unnamed, "policy.onnx")


def test_dropout_in_training_draws() -> None:
    constants = {**WEIGHT, "p": np.float32(0.5), "yes": np.asarray(True)}
    content = by_hand(layered(node("Dropout", "h p yes")), {"x": (1, 5)}, constants=constants)
    with pytest.raises(InputError, match=r"samples its action \(output 'y' depends on Dropout\)"):
        read_onnx_graph(content, "policy.onnx")


def test_outputs_that_are_not_clear() -> None:
    nodes = layered(node("Tanh", "h", "left"), node("Relu", "h", "right"))
    content = by_hand(nodes, {"x": (1, 5)}, ("left", "right"), WEIGHT)
    with pytest.raises(InputError, match=r"could be the action \(left, right\); give `output` NAME"):
        read_onnx_graph(content, "policy.onnx")
    with pytest.raises(InputError, match=r"has no output 'middle'; `output` names one of left, right"):
        read_onnx_graph(content, "policy.onnx", output="middle")
    assert read_onnx_graph(content, "policy.onnx", output="right").others == ("left",)
    passed = by_hand([*nodes, node("Identity", "x", "through")], {"x": (1, 5)}, ("left", "through"), WEIGHT)
    with pytest.raises(InputError, match=r"output 'through' does not depend on the observation"):
        read_onnx_graph(passed, "policy.onnx", output="through")
    hybrid = layered(node("Tanh", "h", "continuous_actions"), node("Relu", "h", "discrete_actions"))
    content = by_hand(hybrid, {"x": (1, 5)}, ("continuous_actions", "discrete_actions"), WEIGHT)
    with pytest.raises(InputError, match=r"\(continuous_actions, discrete_actions\); give `output` NAME"):
        read_onnx_graph(content, "policy.onnx")


@pytest.mark.parametrize("opset", [6, 99])
def test_other_opsets(opset: int) -> None:
    content = by_hand(layered(node("Tanh", "h")), {"x": (1, 5)}, constants=WEIGHT, opset=opset)
    with pytest.raises(InputError, match=rf"has opset {opset}, but only 7 to \d+ are read"):
        read_onnx_graph(content, "policy.onnx")


def test_no_onnx() -> None:
    for content in (b"", b"\x80\x04K\x01.", b"PK\x03\x04"):
        with pytest.raises(ArtifactError, match=r"policy\.onnx: is damaged, or not an ONNX file"):
            read_onnx_graph(content, "policy.onnx")


def sources() -> list[bytes]:
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 2), nn.Tanh())
    whole = layered(
        node("ReduceMean", "h", "m", axes=[-1]), node("Sub", "h m", "c"), node("Mul", "c c", "q"),
        node("Sqrt", "q", "r"), node("Split", "r", "s t", axis=1), node("Concat", "t s", "u", axis=1),
        node("Clip", "u low"), node("ArgMax", "y", "action", axis=1),
    )  # fmt: skip
    kinds = {"action": TensorProto.INT64}
    constants = {**WEIGHT, "low": np.float32(0.1)}
    hand = by_hand(whole, {"x": ("batch", 5)}, ("y", "action"), constants, kinds=kinds)
    return [exported(network, (1, 2, 3), opset=11), hand]


SOURCES = sources()


def assert_read_or_refused(content: bytes) -> None:
    said = "policy.onnx: "
    try:
        read_onnx_graph(content, "policy.onnx")
    except PrunekitError as error:
        said = str(error)
    assert said.startswith("policy.onnx: ")
    assert said.isprintable()


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damaged_files_raise_nothing_else(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SOURCES)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["change", "remove", "copy"]))
        if kind == "change":
            content[at] = data.draw(st.integers(0, 255))
        elif kind == "remove":
            del content[at : at + data.draw(st.integers(1, 8))]
        else:
            content[at:at] = content[at : at + data.draw(st.integers(1, 16))]
    assert_read_or_refused(bytes(content))


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_files_with_other_operators_and_attributes_raise_nothing_else(data: st.DataObject) -> None:
    """Mutations that keep the file's structure, so that they reach the reader."""
    model = onnx.load_from_string(data.draw(st.sampled_from(SOURCES)))
    nodes = model.graph.node
    names = sorted({name for one in nodes for name in (*one.input, *one.output)} | {"x", "obs"})
    operators = [
        "Add", "ArgMax", "BatchNormalization", "Cast", "Clip", "Concat", "CumSum", "Div", "Elu", "Erf", "Expand",
        "Flatten", "Gather", "Gemm", "Greater", "Identity", "LayerNormalization", "LSTM", "LpNormalization", "MatMul",
        "Max", "Not", "Pad", "Pow", "PRelu", "ReduceL2", "ReduceMax", "ReduceMean", "Reshape", "Shape", "Slice",
        "Softmax", "Split", "Squeeze", "Sub", "Tile", "TopK", "Transpose", "Unsqueeze", "Where",
    ]  # fmt: skip
    for _ in range(data.draw(st.integers(1, 3))):
        one = nodes[data.draw(st.integers(0, len(nodes) - 1))]
        kind = data.draw(st.sampled_from(["operator", "input", "inputs", "attribute", "attributes"]))
        if kind == "operator":
            one.op_type = data.draw(st.sampled_from(operators))
        elif kind == "input" and one.input:
            one.input[data.draw(st.integers(0, len(one.input) - 1))] = data.draw(st.sampled_from(names))
        elif kind == "inputs":
            one.input.append(data.draw(st.sampled_from([*names, ""])))
        elif kind == "attribute" and one.attribute:
            attribute = one.attribute[data.draw(st.integers(0, len(one.attribute) - 1))]
            attribute.i = data.draw(st.sampled_from([-(2**31), -3, -1, 0, 1, 2, 5, 2**31 - 1]))
        else:
            del one.attribute[:]
    assert_read_or_refused(model.SerializeToString())
