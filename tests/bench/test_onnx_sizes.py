"""What is counted of an ONNX graph: the part that is deployed, layer by layer, whatever form its weights have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from foreign_models import FLOAT, Value, write_onnx
from onnx import helper, numpy_helper

from prunekit import Actor, ArgmaxHead, ArtifactError, export_onnx
from prunekit.benching.inspection import inspect_model, render
from prunekit.benching.models import BenchModel, read_model

node = helper.make_node
X: Value = ("x", FLOAT, ["n", 4])
GENERATOR = np.random.default_rng(0)


def matrix(*shape: int) -> np.ndarray:
    return GENERATOR.normal(size=shape).astype(np.float32)


def dense(source: str, target: str, name: str, activation: str = "Relu") -> list[Any]:
    return [node("Gemm", [source, f"w{name}", f"b{name}"], [f"h{name}"]), node(activation, [f"h{name}"], [target])]


def read(
    path: Path, nodes: list[Any], constants: dict[str, np.ndarray], outputs: dict[str, list[int | str]]
) -> BenchModel:
    values: list[Value] = [(name, FLOAT, shape) for name, shape in outputs.items()]
    return read_model(write_onnx(path / "m.onnx", nodes, [X], values, constants))


TRUNK = {"w0": matrix(4, 16), "b0": matrix(16), "w1": matrix(16, 8), "b1": matrix(8)}
HEADS = {"wm": matrix(8, 2), "bm": matrix(2), "ws": matrix(8, 2), "bs": matrix(2)}
TRUNK_COUNT, HEAD_COUNT = 4 * 16 + 16 + 16 * 8 + 8, 8 * 2 + 2


def test_heads_side_by_side_are_no_hidden_layer(tmp_path: Path) -> None:
    nodes = [
        *dense("x", "t0", "0"),
        *dense("t0", "t1", "1"),
        *dense("t1", "mean", "m", "Tanh"),
        *dense("t1", "log_std", "s"),
    ]
    model = read(tmp_path, nodes, TRUNK | HEADS, {"mean": ["n", 2], "log_std": ["n", 2]})
    assert model.hidden == (16, 8)
    assert model.parameters == TRUNK_COUNT + 2 * HEAD_COUNT
    assert model.macs == 4 * 16 + 16 * 8 + 2 * 8 * 2


def test_a_critic_that_the_action_does_not_need_is_not_counted(tmp_path: Path) -> None:
    critic = {"wc": matrix(4, 64), "bc": matrix(64), "wv": matrix(64, 1), "bv": matrix(1)}
    nodes = [
        *dense("x", "c0", "c"), *dense("x", "t0", "0"), *dense("t0", "t1", "1"),
        *dense("c0", "value", "v", "Identity"), *dense("t1", "action", "m", "Tanh"),
    ]  # fmt: skip
    constants = TRUNK | {name: HEADS[name] for name in ("wm", "bm")} | critic | {"unused": matrix(99)}
    model = read(tmp_path, nodes, constants, {"value": ["n", 1], "action": ["n", 2]})
    assert (model.hidden, model.parameters) == ((16, 8), TRUNK_COUNT + HEAD_COUNT)
    assert model.macs == 4 * 16 + 16 * 8 + 8 * 2


def test_layers_after_each_other_and_beside_each_other_are_told_apart(tmp_path: Path) -> None:
    nodes = [
        *dense("x", "t0", "0"),
        *dense("t0", "t1", "1"),
        *dense("t0", "t2", "2"),
        node("Add", ["t1", "t2"], ["t"]),
        *dense("t", "y", "m"),
    ]
    constants = TRUNK | HEADS | {"w2": matrix(16, 8), "b2": matrix(8)}
    assert read(tmp_path, nodes, constants, {"y": ["n", 2]}).hidden == (16, 8, 8)


@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_weights_are_counted(tmp_path: Path, operator: str, gates: int) -> None:
    nodes = [
        node("Unsqueeze", ["x", "zero"], ["steps"]),
        node(operator, ["steps", "w", "r", "b"], ["", "h"], hidden_size=5),
        node("Squeeze", ["h", "zero"], ["flat"]),
        *dense("flat", "y", "m", "Tanh"),
    ]
    constants = {
        "zero": np.asarray([0]), "w": matrix(1, gates * 5, 4), "r": matrix(1, gates * 5, 5),
        "b": matrix(1, 2 * gates * 5), "wm": matrix(5, 2), "bm": matrix(2),
    }  # fmt: skip
    model = read(tmp_path, nodes, constants, {"y": ["n", 2]})
    cells = gates * 5 * (4 + 5)
    assert (model.hidden, model.parameters, model.macs) == ((5,), cells + 10 * gates + 12, cells + 10)


def test_convolutions_are_counted_with_their_places(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", ["x", "image"], ["i"]),
        node("Conv", ["i", "wc", "bc"], ["c"]),
        node("Reshape", ["c", "row"], ["f"]),
        node("Gemm", ["f", "wm", "bm"], ["y"]),
    ]
    constants = {
        "image": np.asarray([-1, 1, 2, 2]), "wc": matrix(3, 1, 1, 2), "bc": matrix(3), "row": np.asarray([-1, 6]),
        "wm": matrix(6, 2), "bm": matrix(2),
    }  # fmt: skip
    model = read(tmp_path, nodes, constants, {"y": ["n", 2]})
    assert (model.hidden, model.parameters, model.macs) == ((3,), 6 + 3 + 12 + 2, 2 * 6 + 12)


def test_weights_in_constant_nodes_turned_or_taken_apart_are_counted(tmp_path: Path) -> None:
    nodes = [
        node("Constant", [], ["w"], value=numpy_helper.from_array(matrix(7, 4))),
        node("Transpose", ["w"], ["turned"]),
        node("MatMul", ["x", "turned"], ["h"]),
        node("Constant", [], ["half"], value_float=0.5),
        node("Mul", ["h", "half"], ["s"]),
        node("MatMul", ["s", "v"], ["y"]),
    ]
    model = read(tmp_path, nodes, {"v": matrix(7, 2)}, {"y": ["n", 2]})
    assert (model.hidden, model.parameters, model.macs) == ((7,), 28 + 14, 28 + 14)


def test_quantized_weights_are_counted_and_their_scales_are_not(tmp_path: Path) -> None:
    nodes = [
        node("DequantizeLinear", ["q", "scale", "zero"], ["w"], axis=1),
        node("Gemm", ["x", "w", "b"], ["h"]),
        node("DynamicQuantizeLinear", ["h"], ["hq", "hs", "hz"]),
        node("MatMulInteger", ["hq", "v", "hz"], ["i"]),
        node("Cast", ["i"], ["y"], to=FLOAT),
    ]
    constants = {
        "q": np.ones((4, 6), np.int8), "scale": matrix(6), "zero": np.zeros(6, np.int8), "b": matrix(6),
        "v": np.ones((6, 2), np.int8),
    }  # fmt: skip
    model = read(tmp_path, nodes, constants, {"y": ["n", 2]})
    assert (model.hidden, model.parameters, model.macs) == ((6,), 24 + 6 + 12, 24 + 12)


def exported(path: Path) -> Path:
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    export_onnx(Actor(network, ArgmaxHead()), path / "model.onnx", {"env": {"id": "CartPole-v1"}})
    return path / "model.onnx"


@pytest.mark.parametrize(
    "told",
    [
        '{"hidden": [8], "macs": 48, "parameters": -5}',
        '{"hidden": [8], "macs": 48, "parameters": 58.5}',
        '{"hidden": [8], "macs": 48, "parameters": 57}',
        '{"hidden": [8], "macs": 48}',
    ],
)
def test_a_number_of_parameters_that_the_graph_does_not_have_is_refused(tmp_path: Path, told: str) -> None:
    path = exported(tmp_path)
    model = onnx.load(path)
    next(entry for entry in model.metadata_props if entry.key == "prunekit.sizes").value = told
    onnx.save(model, path)
    with pytest.raises(
        ArtifactError, match=r"its prunekit metadata is damaged \(parameters .*, but the graph has 58\)"
    ):
        read_model(path)


def test_nothing_that_a_file_says_takes_the_place_of_what_is_measured(tmp_path: Path) -> None:
    path = exported(tmp_path)
    model = onnx.load(path)
    for key in ("file", "size_bytes", "units", "parameters", "onnx_bytes", "living_units", "sampled_outputs"):
        entry = model.metadata_props.add()
        entry.key, entry.value = f"prunekit.{key}", '"a lie"'
    onnx.save(model, path)
    facts = inspect_model(path)
    assert "a lie" not in str(facts)
    assert (facts["file"], facts["parameters"], facts["units"]) == (str(path), 58, 8)
    assert facts["env"] == {"id": "CartPole-v1"}
    shown = [str(cell) for cell in render(facts).columns[0].cells]
    assert shown.index("multiply-accumulates") < shown.index("the file says") < shown.index("environment")
