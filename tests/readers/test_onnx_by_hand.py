"""Law 10 on ONNX files of odd forms: those that other exporters write, or could."""

from __future__ import annotations

from itertools import pairwise
from time import process_time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_files import Array, agreeing, by_hand, node, ops_of

from prunekit.export.session import onnxruntime
from prunekit.graph.reference import initial_states, run_step
from prunekit.readers.onnx_graph import read_onnx_graph

RANDOM = np.random.default_rng(1)


def values(*shape: int) -> Array:
    return RANDOM.standard_normal(shape).astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_every_gemm(data: st.DataObject) -> None:
    turned = {flag: data.draw(st.sampled_from([0, 1])) for flag in ("transA", "transB")}
    factors = {name: data.draw(st.sampled_from([1.0, 0.5, -2.0, 0.0])) for name in ("alpha", "beta")}
    rows, first = data.draw(st.sampled_from([1, 3])), data.draw(st.booleans())
    weight = (4, 5) if first else (5, 4)
    if turned["transA" if first else "transB"]:
        weight = weight[::-1]
    given_shape = (5, rows) if first else (rows, 5)
    if turned["transB" if first else "transA"]:
        given_shape = given_shape[::-1]
    made = (4, rows) if first else (rows, 4)
    bias = data.draw(st.sampled_from([None, (), (1,), made, (1, made[1]), (made[0], 1), (made[1],)]))
    constants = {"w": values(*weight)} | ({} if bias is None else {"c": values(*bias)})
    names = ("w x" if first else "x w") + ("" if bias is None else " c")
    nodes = [node("Gemm", names, **turned, **factors)]
    if factors["alpha"] != 0.0:
        agreeing(by_hand(nodes, {"x": given_shape}, constants=constants))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_arithmetic_with_constants_of_any_shape(data: st.DataObject) -> None:
    dims = data.draw(st.sampled_from([(1, 4), (1, 3, 4), (1, 4, 1), (4,), (1, 1), (1, 1, 4)]))
    nodes, constants, name = [], {}, "x"
    for at in range(data.draw(st.integers(1, 3))):
        shape = tuple(data.draw(st.sampled_from([size, 1])) for size in dims[data.draw(st.integers(0, len(dims))) :])
        operator = data.draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Max", "Min"]))
        constants[f"c{at}"] = (np.abs(values(*shape)) + 0.5).astype(np.float32)
        pair = data.draw(st.permutations([name, f"c{at}"]))
        if operator == "Div" and pair[1] == name:
            nodes.append(node("Abs", name, f"a{at}"))
            nodes.append(node("Add", f"a{at} one", f"b{at}"))
            constants["one"], pair = np.ones(1, np.float32), [pair[0], f"b{at}"]
        nodes.append(node(operator, " ".join(pair), f"y{at}"))
        name = f"y{at}"
    nodes.append(node("Identity", name))
    agreeing(by_hand(nodes, {"x": dims}, constants=constants))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_movement(data: st.DataObject) -> None:
    """A chain of moves, of three axes, and a layer behind it."""
    nodes, constants, name, dims = [node("Identity", "x", "v0")], {}, "v0", (1, 3, 4)
    for at in range(1, data.draw(st.integers(2, 5))):
        kind = data.draw(st.sampled_from(["Transpose", "Slice", "Gather", "Concat", "Tile", "Reshape", "Unsqueeze"]))
        axis = data.draw(st.integers(0, len(dims) - 1))
        made, size = f"v{at}", dims[axis]
        if kind == "Transpose":
            order = data.draw(st.permutations(range(len(dims))))
            nodes.append(node("Transpose", name, made, perm=order))
            dims = tuple(dims[k] for k in order)
        elif kind == "Slice":
            step = data.draw(st.sampled_from([1, 2, -1]))
            start, stop = (0, size) if step > 0 else (size - 1, -size - 1)
            for what, number in zip(("start", "stop", "axis", "step"), (start, stop, axis, step), strict=True):
                constants[f"{what}{at}"] = np.asarray([number], np.int64)
            nodes.append(node("Slice", f"{name} start{at} stop{at} axis{at} step{at}", made))
            dims = (*dims[:axis], len(range(size)[::step]), *dims[axis + 1 :])
        elif kind == "Gather":
            constants[f"i{at}"] = np.asarray(data.draw(st.lists(st.integers(-size, size - 1), min_size=1, max_size=4)))
            nodes.append(node("Gather", f"{name} i{at}", made, axis=axis))
            dims = (*dims[:axis], len(constants[f"i{at}"]), *dims[axis + 1 :])
        elif kind == "Concat":
            nodes.append(node("Concat", f"{name} {name}", made, axis=axis - len(dims)))
            dims = (*dims[:axis], 2 * size, *dims[axis + 1 :])
        elif kind == "Tile":
            counts = [2 if k == axis else 1 for k in range(len(dims))]
            constants[f"n{at}"] = np.asarray(counts, np.int64)
            nodes.append(node("Tile", f"{name} n{at}", made))
            dims = tuple(a * b for a, b in zip(dims, counts, strict=True))
        elif kind == "Reshape":
            constants[f"s{at}"] = np.asarray([*dims[:axis], -1], np.int64)
            nodes.append(node("Reshape", f"{name} s{at}", made))
            dims = (*dims[:axis], int(np.prod(dims[axis:])))
        else:
            constants[f"u{at}"] = np.asarray([axis], np.int64)
            nodes.append(node("Unsqueeze", f"{name} u{at}", made))
            dims = (*dims[:axis], 1, *dims[axis:])
        name = made
    constants["w"] = values(dims[-1], 2)
    nodes.append(node("MatMul", f"{name} w"))
    agreeing(by_hand(nodes, {"x": (1, 3, 4)}, constants=constants))


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_reductions(data: st.DataObject) -> None:
    kinds = ("Mean", "Max", "Min", "L1", "L2", "SumSquare", "LogSumExp", "Sum")
    kind, axes = data.draw(st.sampled_from(kinds)), data.draw(st.sets(st.integers(-3, 2), max_size=2))
    keep, opset = data.draw(st.sampled_from([0, 1])), data.draw(st.sampled_from([12, 18]))
    listed = sorted({axis % 3 for axis in axes})
    constants, options, names = {"w": values(4, 4)}, {}, "h"
    if listed and opset == 18:
        constants["axes"], names = np.asarray(listed, np.int64), "h axes"
    elif listed:
        options["axes"] = listed
    nodes = [node("MatMul", "x w", "h"), node(f"Reduce{kind}", names, keepdims=keep, **options)]
    agreeing(by_hand(nodes, {"x": (1, 3, 4)}, constants=constants, opset=opset))


@pytest.mark.parametrize("shape", [(1, 6), ("batch", 6), (6,), ("batch", 1, 6), (None, 6)])
def test_batch_axes(shape: Any) -> None:
    nodes = [node("MatMul", "x w", "h"), node("Tanh", "h")]
    found = agreeing(by_hand(nodes, {"x": shape}, constants={"w": values(6, 2)}))
    (port,) = found.graph.inputs
    assert port.shape == (shape if len(shape) == 1 else tuple(shape[1:]))
    assert ops_of(found) in (["Affine", "tanh"], ["Flatten", "Affine", "tanh"])
    note = {1: "input 'x' of shape [6] has no batch axis"}.get(len(shape), "input 'x' has a fixed batch of 1")
    assert found.notes == ((note,) if shape[0] in (1, 6) else ())


def norm_nodes(form: str) -> tuple[list[Any], dict[str, Array]]:
    """LayerNorm as exporters before opset 17 wrote it, and in other words."""
    constants = {"scale": values(6), "shift": values(6), "eps": np.float32([1e-5]), "two": np.float32([2.0])}
    constants |= {"half": np.float32([-0.5]), "n": np.float32([6.0])}
    nodes = [node("ReduceMean", "h", "mean", axes=[-1]), node("Sub", "h mean", "c")]
    square = node("Mul", "c c", "sq") if form == "products" else node("Pow", "c two", "sq")
    nodes.append(square)
    if form == "sum":
        nodes += [node("ReduceSumSquare", "c", "s", axes=[1]), node("Div", "s n", "var")]
    else:
        nodes.append(node("ReduceMean", "sq", "var", axes=[1]))
    nodes.append(node("Add", "var eps", "v"))
    if form == "power":
        nodes += [node("Pow", "v half", "r"), node("Mul", "c r", "z")]
    elif form == "reciprocal":
        nodes += [node("Sqrt", "v", "d"), node("Reciprocal", "d", "r"), node("Mul", "r c", "z")]
    else:
        nodes += [node("Sqrt", "v", "d"), node("Div", "c d", "z")]
    return [*nodes, node("Mul", "z scale", "zs"), node("Add", "shift zs")], constants


@pytest.mark.parametrize("form", ["usual", "products", "sum", "power", "reciprocal"])
def test_layer_norm_in_pieces(form: str) -> None:
    nodes, constants = norm_nodes(form)
    layer = node("Gemm", "x w", "h")
    found = agreeing(by_hand([layer, *nodes], {"x": (1, 5)}, constants={**constants, "w": values(5, 6)}))
    assert ops_of(found) == ["Affine", "LayerNorm"]


def test_other_norms_in_pieces() -> None:
    constants = {"w": values(5, 6), "scale": values(6), "eps": np.float32(1e-6), "tiny": np.float32(1e-8)}
    layer = node("MatMul", "x w", "h")
    rms = [
        node("Mul", "h h", "sq"), node("ReduceMean", "sq", "m", axes=[-1]), node("Add", "m eps", "v"),
        node("Sqrt", "v", "d"), node("Div", "h d", "z"), node("Mul", "scale z"),
    ]  # fmt: skip
    assert ops_of(agreeing(by_hand([layer, *rms], {"x": (1, 5)}, constants=constants))) == ["Affine", "RMSNorm"]
    length = [node("ReduceL2", "h", "n", axes=[-1]), node("Max", "n tiny", "d"), node("Div", "h d")]
    assert ops_of(agreeing(by_hand([layer, *length], {"x": (1, 5)}, constants=constants))) == ["Affine", "L2Norm"]
    own = [node("LpNormalization", "h", axis=1, p=2)]
    assert ops_of(agreeing(by_hand([layer, *own], {"x": (1, 5)}, constants=constants))) == ["Affine", "L2Norm"]


NUMBERS = {
    "half": 0.5, "one": 1.0, "root": 2.0**-0.5, "bend": 0.044715, "slope": 0.7978845608, "three": 3.0, "zero": 0.0,
    "six": 6.0, "sixth": 1 / 6, "leak": 0.1, "minus": -1.0,
}  # fmt: skip
SPELLED: dict[str, tuple[str, list[Any]]] = {
    "gelu 1": ("gelu", [node("Mul", "h root", "a"), node("Erf", "a", "b"), node("Add", "b one", "c"),
                        node("Mul", "h c", "d"), node("Mul", "d half")]),
    "gelu 2": ("gelu", [node("Mul", "h root", "a"), node("Erf", "a", "b"), node("Add", "one b", "c"),
                        node("Mul", "c half", "d"), node("Mul", "d h")]),
    "gelu 3": ("gelu", [node("Mul", "root h", "a"), node("Erf", "a", "b"), node("Add", "b one", "c"),
                        node("Mul", "h half", "d"), node("Mul", "d c")]),
    "gelu tanh 1": ("gelu_tanh", [
        node("Mul", "h h", "q"), node("Mul", "q h", "k"), node("Mul", "k bend", "l"), node("Add", "h l", "m"),
        node("Mul", "m slope", "n"), node("Tanh", "n", "o"), node("Add", "o one", "p"), node("Mul", "h p", "r"),
        node("Mul", "r half"),
    ]),
    "gelu tanh 2": ("gelu_tanh", [
        node("Pow", "h three", "k"), node("Mul", "bend k", "l"), node("Add", "l h", "m"), node("Mul", "m slope", "n"),
        node("Tanh", "n", "o"), node("Add", "one o", "p"), node("Mul", "half h", "r"), node("Mul", "r p"),
    ]),
    "gelu tanh 3": ("gelu_tanh", [
        node("Mul", "h h", "q"), node("Mul", "q bend", "k"), node("Add", "k one", "l"), node("Mul", "h l", "m"),
        node("Mul", "m slope", "n"), node("Tanh", "n", "o"), node("Mul", "o half", "p"), node("Add", "p half", "r"),
        node("Mul", "r h"),
    ]),
    "silu": ("silu", [node("Sigmoid", "h", "a"), node("Mul", "a h")]),
    "silu by division": ("silu", [node("Neg", "h", "a"), node("Exp", "a", "b"), node("Add", "b one", "c"),
                                  node("Div", "h c")]),
    "sigmoid": ("sigmoid", [node("Neg", "h", "a"), node("Exp", "a", "b"), node("Add", "one b", "c"),
                            node("Div", "one c")]),
    "mish": ("mish", [node("Softplus", "h", "a"), node("Tanh", "a", "b"), node("Mul", "h b")]),
    "mish in pieces": ("mish", [node("Exp", "h", "e"), node("Add", "e one", "f"), node("Log", "f", "a"),
                                node("Tanh", "a", "b"), node("Mul", "b h")]),
    "softplus": ("softplus", [node("Exp", "h", "a"), node("Add", "one a", "b"), node("Log", "b")]),
    "softplus of JAX": ("softplus", [
        node("Max", "h zero", "a"), node("Abs", "h", "b"), node("Neg", "b", "c"), node("Exp", "c", "d"),
        node("Add", "d one", "e"), node("Log", "e", "f"), node("Add", "a f"),
    ]),
    "softsign": ("softsign", [node("Abs", "h", "a"), node("Add", "one a", "b"), node("Div", "h b")]),
    "relu by max": ("relu", [node("Max", "zero h")]),
    "relu by clip": ("relu", [node("Clip", "h zero")]),
    "relu by where": ("relu", [node("Greater", "h zero", "a"), node("Where", "a h zero")]),
    "leaky by max": ("leaky_relu", [node("Mul", "h leak", "a"), node("Max", "h a")]),
    "leaky by where": ("leaky_relu", [node("Mul", "h leak", "a"), node("Less", "zero h", "b"), node("Where", "b h a")]),
    "elu by where": ("elu", [node("Exp", "h", "a"), node("Sub", "a one", "b"), node("Greater", "h zero", "c"),
                             node("Where", "c h b")]),
    "elu of JAX": ("elu", [
        node("Greater", "h zero", "c"), node("Where", "c zero h", "d"), node("Exp", "d", "a"),
        node("Sub", "a one", "b"), node("Where", "c h b"),
    ]),
    "elu by halves": ("elu", [node("Relu", "h", "p"), node("Min", "h zero", "n"), node("Exp", "n", "a"),
                              node("Sub", "a one", "b"), node("Add", "p b")]),
    "hardsigmoid": ("hardsigmoid", [node("Add", "h three", "a"), node("Clip", "a zero six", "b"),
                                    node("Mul", "b sixth")]),
    "hardswish": ("hardswish", [node("Add", "h three", "a"), node("Clip", "a zero six", "b"), node("Mul", "h b", "c"),
                                node("Div", "c six")]),
    "hardswish by halves": ("hardswish", [node("Mul", "h sixth", "a"), node("Add", "a half", "b"),
                                          node("Clip", "b zero one", "c"), node("Mul", "c h")]),
    "relu6": ("Clip", [node("Relu", "h", "a"), node("Min", "a six")]),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLED)
def test_activations_in_pieces(name: str) -> None:
    """Behind a tanh, into which nothing can be folded."""
    op, nodes = SPELLED[name]
    constants = {key: np.float32(number) for key, number in NUMBERS.items()}
    before = [node("MatMul", "x w", "g"), node("Tanh", "g", "t"), node("Mul", "t big", "h")]
    constants |= {"w": values(5, 6), "big": np.asarray([4, -3, 5, 2, 6, -4], np.float32)}
    found = agreeing(by_hand([*before, *nodes], {"x": (1, 5)}, constants=constants))
    assert ops_of(found) == ["Affine", "tanh", "ScaleShift", op]


def test_operators_that_are_activations() -> None:
    nodes = [
        node("Gelu", "x", "a", approximate="tanh"), node("HardSigmoid", "a", "b", alpha=0.3, beta=0.4),
        node("ThresholdedRelu", "b", "c", alpha=0.6), node("Selu", "c", "d", alpha=1.1, gamma=0.9),
        node("Shrink", "d", "e", bias=0.1, lambd=0.3), node("Celu", "e", "f", alpha=0.4), node("Sign", "f", "g"),
        node("Mean", "f g x", "h"), node("Sum", "h x", "i"), node("Reciprocal", "i", "j"), node("Tanh", "j"),
    ]  # fmt: skip
    agreeing(by_hand(nodes, {"x": (1, 5)}, opset=20))


def test_operators_of_onnx_runtime() -> None:
    own = {"domain": "com.microsoft"}
    constants = {"w": values(8, 5), "b": values(8), "v": values(8, 8), "s": values(8), "t": values(8)}
    nodes = [
        node("FusedMatMul", "x w", "a", transB=1, alpha=0.5, **own), node("BiasGelu", "a b", "c", **own),
        node("FusedGemm", "c v b", "d", activation="Relu", **own), node("QuickGelu", "d", "e", **own),
        node("FastGelu", "e", "f", **own), node("SkipLayerNormalization", "f e s t b", **own),
    ]  # fmt: skip
    found = agreeing(by_hand(nodes, {"x": (1, 5)}, constants=constants))
    assert "LayerNorm" in ops_of(found)


def test_softmax_of_old_files_is_over_all_axes_from_one_on() -> None:
    nodes = [node("MatMul", "x w", "h"), node("Softmax", "h", axis=1)]
    agreeing(by_hand(nodes, {"x": (1, 3, 4)}, constants={"w": values(4, 2)}, opset=11))
    agreeing(by_hand([node("MatMul", "x w", "h"), node("Softmax", "h", axis=1)], {"x": (1, 3, 4)},
                     constants={"w": values(4, 2)}))  # fmt: skip


def test_heads() -> None:
    layer = [node("MatMul", "x w", "h")]
    constants = {"w": values(5, 4), "k": np.asarray([1]), "start": np.asarray(3), "axes": np.asarray([0])}
    whole = {"kinds": {"y": TensorProto.INT64}, "constants": constants}
    plain = agreeing(by_hand([*layer, node("ArgMax", "h", axis=1)], {"x": (1, 5)}, **whole))
    assert ops_of(plain) == ["Affine", "Argmax"]
    more = [node("ArgMax", "h", "i", axis=-1, keepdims=0), node("Add", "i start", "j"), node("Squeeze", "j axes")]
    found = agreeing(by_hand([*layer, *more], {"x": ("batch", 5)}, **whole))
    assert found.graph.nodes[-1].op.start == 3  # type: ignore[attr-defined]
    alone = [node("ArgMax", "h", "i", axis=1), node("Concat", "i", axis=1)]
    assert ops_of(agreeing(by_hand([*layer, *alone], {"x": (1, 5)}, **whole))) == ["Affine", "Argmax"]
    top = agreeing(by_hand([*layer, node("TopK", "h k", "v y")], {"x": (1, 5)}, **whole))
    assert ops_of(top) == ["Affine", "Argmax"]
    best = agreeing(by_hand([*layer, node("TopK", "h k", "y i")], {"x": (1, 5)}, constants=constants))
    assert ops_of(best) == ["Affine", "max"]


def test_probabilities_before_an_index_are_left_out() -> None:
    """As Stable-Baselines3 exports its discrete policies."""
    nodes = [
        node("MatMul", "x w", "h"), node("ReduceLogSumExp", "h", "l", axes=[-1]), node("Sub", "h l", "n"),
        node("Softmax", "n", "p"), node("ArgMax", "p", axis=1, keepdims=0),
    ]  # fmt: skip
    found = agreeing(by_hand(nodes, {"x": (1, 5)}, constants={"w": values(5, 4)}, kinds={"y": TensorProto.INT64}))
    assert ops_of(found) == ["Affine", "Argmax"]
    plain = agreeing(by_hand([*nodes[:3], node("Exp", "n")], {"x": (1, 5)}, constants={"w": values(5, 4)}))
    assert ops_of(plain) == ["Affine", "LogSoftmax", "exp"]


@pytest.mark.parametrize("form", ["one-hot", "embedding", "equal"])
def test_discrete_observations(form: str) -> None:
    constants = {
        "w": values(3, 4),
        "depth": np.asarray(3),
        "ends": np.float32([0.0, 1.0]),
        "k": np.asarray([[0, 1, 2]]),
    }
    nodes = {
        "one-hot": [node("OneHot", "x depth ends", "o"), node("MatMul", "o w")],
        "embedding": [node("Gather", "w x", "e"), node("Tanh", "e")],
        "equal": [node("Equal", "x k", "b"), node("Cast", "b", "o", to=TensorProto.FLOAT), node("MatMul", "o w")],
    }[form]
    kinds = {"x": TensorProto.INT64}
    content = by_hand(nodes, {"x": (1, 1) if form == "equal" else ("batch",)}, constants=constants, kinds=kinds)
    found = read_onnx_graph(content, "policy.onnx")
    session = onnxruntime.InferenceSession(content)
    for number in range(3):
        given_shape = (1, 1) if form == "equal" else (1,)
        (expected,) = session.run(None, {"x": np.full(given_shape, number, np.int64)})
        made, _ = run_step(found.graph, {"x": np.full((1, 1), number, np.float32)}, {}, np.float32)
        np.testing.assert_allclose(made["action"].ravel(), expected.ravel(), rtol=0.0, atol=1e-6)


def test_choices_of_two() -> None:
    nodes = [node("MatMul", "x w", "h"), node("Sigmoid", "h", "p"), node("Round", "p")]
    agreeing(by_hand(nodes, {"x": (1, 5)}, constants={"w": values(5, 4)}))


def test_bounds_that_differ() -> None:
    constants = {"low": np.asarray([-1, -0.5, 0], np.float32), "high": np.asarray([1, 0.5, 0.2], np.float32)}
    nodes = [node("MatMul", "x w", "h"), node("Max", "h low", "a"), node("Min", "a high")]
    found = agreeing(by_hand(nodes, {"x": (1, 5)}, constants={**constants, "w": values(5, 3)}))
    assert ops_of(found) == ["Affine", "ClipToBounds"]


@pytest.mark.parametrize("shape", [(1, 5), (1, 5, 4)])
def test_batch_norm(shape: tuple[int, ...]) -> None:
    constants = {name: values(5) for name in ("s", "t", "m")} | {"v": np.abs(values(5)) + np.float32(0.1)}
    nodes = [node("Tanh", "x", "h"), node("BatchNormalization", "h s t m v", epsilon=1e-3)]
    assert "BatchNorm" in ops_of(agreeing(by_hand(nodes, {"x": shape}, constants=constants)))


def test_weights_that_are_made_of_constants() -> None:
    """Quantized, turned, in half precision, in a Constant node, by a branch that a constant chooses."""
    whole = RANDOM.integers(-100, 100, (4, 5)).astype(np.int8)
    constants = {"q": whole, "s": np.float32(0.01), "half": values(3, 4).astype(np.float16), "yes": np.asarray(True)}
    taken = helper.make_graph([node("Mul", "h h", "t")], "then", [], [helper.make_tensor_value_info("t", 1, None)])
    other = helper.make_graph([node("Atan", "h", "o")], "else", [], [helper.make_tensor_value_info("o", 1, None)])
    nodes = [
        node("DequantizeLinear", "q s", "a"), node("Transpose", "a", "b", perm=[1, 0]), node("MatMul", "x b", "c"),
        node("Cast", "half", "d", to=TensorProto.FLOAT), node("Gemm", "c d", "h", transB=1),
        node("If", "yes", "u", then_branch=taken, else_branch=other),
        helper.make_node("Constant", [], ["k"], value_floats=[1.0, 2.0, 3.0]), node("Add", "u k"),
    ]  # fmt: skip
    assert ops_of(agreeing(by_hand(nodes, {"x": (1, 5)}, constants=constants))) == [
        "Affine", "Affine", "square", "ScaleShift",
    ]  # fmt: skip


def test_truth_values_and_integers_as_inputs() -> None:
    """A mask of actions: where it is not set, a large negative number."""
    nodes = [
        node("MatMul", "x w", "h"), node("Where", "mask h no", "masked"), node("Not", "mask", "off"),
        node("Or", "off mask", "all"), node("Cast", "all", "ones", to=TensorProto.FLOAT),
        node("Cast", "count", "n", to=TensorProto.FLOAT), node("Mul", "n ones", "more"), node("Add", "masked more"),
    ]  # fmt: skip
    kinds = {"mask": TensorProto.BOOL, "count": TensorProto.INT64}
    content = by_hand(
        nodes,
        {"x": ("batch", 5), "mask": ("batch", 3), "count": ("batch", 1)},
        constants={"w": values(5, 3), "no": np.float32(-1e4)},
        kinds=kinds,
    )
    found = agreeing(content, tolerance=1e-5)
    assert [port.name for port in found.graph.inputs] == ["x", "mask", "count"]
    assert "input 'mask' holds no floats; read as such" in found.notes


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("before", [False, True])
def test_a_state_that_is_a_constant(kind: str, before: bool) -> None:
    gates, size = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], 3
    constants = {"w": values(1, gates * size, 5), "r": values(1, gates * size, size), "b": values(1, 2 * gates * size)}
    constants |= {"h": values(1, 1, size), "c": values(1, 1, size), "zero": np.asarray([0]), "one": np.asarray([1])}
    state = f"- h{' c' if kind == 'LSTM' else ''}" if before else ""
    nodes = [
        node("Unsqueeze", "x zero", "s"), node(kind, f"s w r b {state}", "whole last", hidden_size=size),
        node("Squeeze", "whole one", "t"), node("Squeeze", "t zero", "u"), node("Squeeze", "last zero", "v"),
        node("Mul", "u v", "k"), node("Tanh", "k"),
    ]  # fmt: skip
    found = agreeing(by_hand(nodes, {"x": (1, 5)}, constants=constants))
    assert f"{kind} 'whole' has a constant state, so the policy remembers nothing" in found.notes[-1]
    if kind == "GRU":
        nodes[1] = node(kind, f"s w r b {state}", "whole last", hidden_size=size, linear_before_reset=1)
        agreeing(by_hand(nodes, {"x": (1, 5)}, constants=constants))


@pytest.mark.parametrize("reset_after", [0, 1])
@pytest.mark.parametrize("ending", ["", "_in"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_state_that_is_carried(kind: str, ending: str, reset_after: int) -> None:
    """As rsl_rl exports recurrent policies: ``h_in`` and ``c_in`` are given, ``h_out`` and ``c_out`` come back."""
    gates, size, steps = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], 3, 6
    names = ("h", "c") if kind == "LSTM" else ("h",)
    before, after = (" ".join(f"{name}{end}" for name in names) for end in (ending, "_out"))
    constants = {"w": values(1, gates * size, 5), "r": values(1, gates * size, size), "b": values(1, 2 * gates * size)}
    constants |= {"zero": np.asarray([0]), "one": np.asarray([1])}
    options = {"linear_before_reset": reset_after} if kind == "GRU" else {}
    content = by_hand(
        [
            node("Unsqueeze", "x zero", "s"),
            node(kind, f"s w r b - {before}", f"whole {after}", hidden_size=size, **options),
            node("Squeeze", "whole one", "t"), node("Squeeze", "t zero", "u"), node("Tanh", "u", "actions"),
        ],
        {"x": (1, 5), **{f"{name}{ending}": (1, 1, size) for name in names}},
        ("actions", *after.split()),
        constants,
    )  # fmt: skip
    found = read_onnx_graph(content, "policy.onnx")
    assert (found.output, sorted(port.name for port in found.graph.inputs)) == ("actions", ["x"])
    assert [state.before for state in found.graph.states] == [f"{name}{ending}" for name in names]
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    held = {f"{name}{ending}": np.zeros((1, 1, size), np.float32) for name in names}
    states = initial_states(found.graph, 1, np.float64)
    for row in 2.0 * values(steps, 1, 5):
        wanted, *left = session.run(None, {"x": row, **held})
        held = dict(zip(held, left, strict=True))
        made, states = run_step(found.graph, {"x": row}, states)
        np.testing.assert_allclose(made["outputs"], wanted, atol=1e-6)
    assert all(np.abs(state).max() > 1e-2 for state in states.values())


def test_inputs_and_outputs_that_are_left_out() -> None:
    nodes = [
        node("MatMul", "obs w", "h"), node("Tanh", "h", "output"), node("Identity", "state_ins", "state_outs"),
        node("MatMul", "other w", "value"), helper.make_node("Constant", [], ["version"], value_float=3.0),
    ]  # fmt: skip
    inputs: dict[str, Any] = {"obs": ("batch", 5), "state_ins": ("batch",), "other": ("batch", 5)}
    outputs = ("version", "value", "output", "state_outs")
    found = agreeing(by_hand(nodes, inputs, outputs, {"w": values(5, 2)}))
    assert (found.output, found.others) == ("output", ("version", "value", "state_outs"))
    assert found.notes == (
        "input 'state_ins' only passes through to 'state_outs'; both are left out",
        "input 'other' is left out: 'output' does not need it",
    )
    assert [port.name for port in found.graph.inputs] == ["obs"]
    value = agreeing(by_hand(nodes, inputs, outputs, {"w": values(5, 2)}), output="value")
    assert [port.name for port in value.graph.inputs] == ["other"]


@pytest.mark.parametrize(
    ("outputs", "chosen"),
    [
        (("mu", "log_std"), "mu"),
        (("value", "12"), "12"),
        (("mean", "std", "value"), "mean"),
        (("logits", "action"), "action"),
        (("value",), "value"),
        (("Actions", "q"), "Actions"),
    ],
)
def test_an_output_is_chosen_by_name_and_use(outputs: tuple[str, ...], chosen: str) -> None:
    nodes = [node("MatMul", "x w", "h"), *(node("Tanh", "h", name) for name in outputs)]
    found = agreeing(by_hand(nodes, {"x": (1, 5)}, outputs, {"w": values(5, 2)}))
    assert found.output == chosen


def test_only_what_the_answer_needs_is_counted() -> None:
    """Of a layer whose second half is a spread that is not used, only the first half stays."""
    nodes = [node("Gemm", "x w b", "h"), node("Split", "h", "m s", axis=1), node("Exp", "s", "e"), node("Tanh", "m")]
    found = agreeing(by_hand(nodes, {"x": (1, 5)}, ("y", "e"), {"w": values(5, 8), "b": values(8)}), output="y")
    assert ops_of(found) == ["Affine", "tanh"]
    assert found.graph.parameter_count == 5 * 4 + 4


@pytest.mark.parametrize(("operator", "count"), [("Neg", 1500), ("Mul", 60)])
def test_what_is_looked_back_through_is_bounded(operator: str, count: int) -> None:
    """Without a bound the time grows with the square of a chain of scales, and doubles with every square."""
    names = ["x", *(f"y{at}" for at in range(count)), "y"]
    nodes = [node(operator, f"{name} {name}" if operator == "Mul" else name, made) for name, made in pairwise(names)]
    began = process_time()
    read_onnx_graph(by_hand(nodes, {"x": (1, 3)}, opset=17), "chain")
    assert process_time() - began < 3.0
