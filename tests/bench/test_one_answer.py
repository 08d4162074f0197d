"""A policy whose answer is no function of what it sees is refused by name, and so is one that fails while it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from foreign_models import FLOAT, Value, write_onnx, write_product
from onnx import helper

from prunekit import CheckError, InputError
from prunekit.benching.inspection import inspect_model
from prunekit.benching.models import read_model
from prunekit.benching.runtimes import OnnxRuntime
from prunekit.environments import Spaces
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions

node = helper.make_node
X: Value = ("x", FLOAT, ["n", 4])
BOX = Spaces(observation=4, actions=BoxActions(low=(-1.0,) * 2, high=(1.0,) * 2))
WEIGHT = np.eye(4)[:, :2].astype(np.float32)
NOISE = {
    "RandomNormalLike": [node("RandomNormalLike", ["mean"], ["noise"])],
    "RandomUniformLike": [node("RandomUniformLike", ["mean"], ["noise"])],
    "RandomNormal": [node("RandomNormal", [], ["noise"], shape=[1, 2], seed=1.0)],
    "Bernoulli": [node("Sigmoid", ["mean"], ["chance"]), node("Bernoulli", ["chance"], ["noise"])],
    "Dropout": [node("Dropout", ["mean", "ratio", "training"], ["noise"])],
}


def sampling(path: Path, operator: str = "RandomNormalLike", deterministic: bool = False) -> Path:
    nodes = [node("MatMul", ["x", "w"], ["mean"]), *NOISE[operator], node("Add", ["mean", "noise"], ["action"])]
    outputs: list[Value] = [("action", FLOAT, ["n", 2])]
    if deterministic:
        nodes.append(node("Tanh", ["mean"], ["deterministic_action"]))
        nodes.append(node("ReduceSum", ["x"], ["narrow"]))
        nodes.append(node("Identity", ["w"], ["stored"]))
        outputs += [("deterministic_action", FLOAT, ["n", 2]), ("narrow", FLOAT, [1, 1]), ("stored", FLOAT, [4, 2])]
    constants = {"w": WEIGHT, "ratio": np.asarray(0.5, np.float32), "training": np.asarray(True)}
    return write_onnx(path, nodes, [X], outputs, constants)


@pytest.mark.parametrize("operator", NOISE)
def test_a_policy_that_samples_is_refused_by_name(tmp_path: Path, operator: str) -> None:
    model = read_model(sampling(tmp_path / "m.onnx", operator))
    with pytest.raises(InputError, match=rf"m\.onnx: samples its action \(output 'action' depends on {operator}\)"):
        OnnxRuntime(model, BOX)


def test_the_output_that_is_not_drawn_is_named(tmp_path: Path) -> None:
    path = sampling(tmp_path / "m.onnx", deterministic=True)
    with pytest.raises(InputError, match="choose an output that is not sampled \\(deterministic_action\\) with `outp"):
        OnnxRuntime(read_model(path), BOX)
    assert inspect_model(path)["sampled_outputs"] == ["action"]


def test_a_discrete_choice_that_is_drawn_is_refused(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["scores"]),
        node("Multinomial", ["scores"], ["drawn"], sample_size=1, dtype=7),
        node("Reshape", ["drawn", "flat"], ["action"]),
    ]
    outputs: list[Value] = [("action", 7, ["n"])]
    path = write_onnx(tmp_path / "m.onnx", nodes, [X], outputs, {"w": WEIGHT, "flat": np.asarray([-1])})
    with pytest.raises(InputError, match=r"samples its action \(output 'action' depends on Multinomial\)"):
        OnnxRuntime(read_model(path), Spaces(observation=4, actions=DiscreteActions(count=2)))


def test_noise_in_a_branch_is_found(tmp_path: Path) -> None:
    outputs = [helper.make_tensor_value_info("z", FLOAT, None)]
    drawn = helper.make_graph([node("RandomNormalLike", ["x"], ["z"])], "a", [], outputs)
    plain = helper.make_graph([node("Identity", ["x"], ["z"])], "b", [], outputs)
    nodes = [
        node("If", ["no"], ["noise"], then_branch=drawn, else_branch=plain),
        node("MatMul", ["noise", "w"], ["y"]),
    ]
    path = write_onnx(tmp_path / "m.onnx", nodes, [X], [("y", FLOAT, ["n", 2])], {"w": WEIGHT, "no": np.asarray(False)})
    with pytest.raises(InputError, match="depends on RandomNormalLike"):
        OnnxRuntime(read_model(path), BOX)


def test_dropout_out_of_training_and_noise_that_is_not_used_are_no_sampling(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["mean"]),
        node("Dropout", ["mean", "ratio", "training"], ["kept"]),
        node("Tanh", ["kept"], ["action"]),
        node("RandomNormalLike", ["mean"], ["noise"]),
    ]
    constants = {"w": WEIGHT, "ratio": np.asarray(0.5, np.float32), "training": np.asarray(False)}
    path = write_onnx(
        tmp_path / "m.onnx", nodes, [X], [("action", FLOAT, ["n", 2]), ("noise", FLOAT, ["n", 2])], constants
    )
    action = OnnxRuntime(read_model(path), BOX).act(np.asarray([0.5, 0.0, 0.0, 0.0]))
    np.testing.assert_allclose(action, np.tanh([0.5, 0.0]), rtol=1e-6)


def test_an_answer_that_changes_is_refused_whatever_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read_model(sampling(tmp_path / "m.onnx"))
    object.__setattr__(model, "sampled", {})  # as if no operator were known that draws
    with pytest.raises(InputError, match=r"m\.onnx: gives different answers to the same observation"):
        OnnxRuntime(model, BOX)


def test_noise_that_zeros_do_not_show_is_found(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["mean"]),
        node("RandomNormalLike", ["mean"], ["noise"]),
        node("Mul", ["mean", "noise"], ["y"]),
    ]
    model = read_model(write_onnx(tmp_path / "m.onnx", nodes, [X], [("y", FLOAT, ["n", 2])], {"w": WEIGHT}))
    object.__setattr__(model, "sampled", {})
    with pytest.raises(InputError, match="gives different answers"):
        OnnxRuntime(model, BOX)


def test_the_same_answer_may_be_no_number(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["s"]), node("Div", ["s", "s"], ["y"])]
    model = read_model(write_onnx(tmp_path / "m.onnx", nodes, [X], [("y", FLOAT, ["n", 2])], {"w": WEIGHT}))
    runtime = OnnxRuntime(model, BOX)
    assert runtime.act(np.ones(4)).tolist() == [1.0, 1.0]
    with pytest.raises(CheckError, match="not finite"):
        runtime.act(np.zeros(4))


def test_a_failure_at_a_later_call_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    nodes = [
        node("Cast", ["x"], ["i"], to=7),
        node("Gather", ["table", "i"], ["rows"]),
        node("MatMul", ["rows", "w"], ["y"]),
    ]
    constants = {"w": WEIGHT, "table": np.asarray([1.0, 2.0], np.float32)}
    runtime = OnnxRuntime(
        read_model(write_onnx(tmp_path / "m.onnx", nodes, [X], [("y", FLOAT, ["n", 2])], constants)), BOX
    )
    assert runtime.act(np.zeros(4)).tolist() == [1.0, 1.0]
    with pytest.raises(InputError, match=r"m\.onnx: does not run on one observation of 4 values \(.+\)") as refusal:
        runtime.act(np.full(4, 9.0))
    assert str(refusal.value).isprintable()


def test_a_long_observation_without_an_action_is_told_in_one_line(tmp_path: Path) -> None:
    weight = np.ones((60, 2), np.float32)
    nodes = [node("MatMul", ["x", "w"], ["s"]), node("Log", ["s"], ["y"])]
    wide: Value = ("x", FLOAT, ["n", 60])
    model = read_model(write_onnx(tmp_path / "m.onnx", nodes, [wide], [("y", FLOAT, ["n", 2])], {"w": weight}))
    with pytest.raises(CheckError, match="the action is not finite for observation") as refusal:
        OnnxRuntime(model, Spaces(observation=60, actions=BoxActions(low=(-1.0,) * 2, high=(1.0,) * 2))).act(
            np.full(60, -1.0)
        )
    assert str(refusal.value).isprintable()


def test_names_with_brackets_are_told_as_they_are(tmp_path: Path) -> None:
    path = write_product(tmp_path / "m.onnx", np.zeros((4, 3)), target="[/red]")
    with pytest.raises(InputError, match="gives 3 values"):
        OnnxRuntime(read_model(path), BOX)


def test_work_that_the_observation_tells_is_refused_before_it_runs(tmp_path: Path) -> None:
    nodes = [
        node("ReduceMax", ["x"], ["end"], keepdims=0),
        node("Range", ["zero", "end", "step"], ["many"]),
        node("ReduceSum", ["many"], ["sum"], keepdims=0),
        node("MatMul", ["x", "w"], ["s"]),
        node("Add", ["s", "sum"], ["y"]),
    ]
    constants = {"w": WEIGHT, "zero": np.asarray(0.0, np.float32), "step": np.asarray(1e-9, np.float32)}
    model = read_model(write_onnx(tmp_path / "m.onnx", nodes, [X], [("y", FLOAT, ["n", 2])], constants))
    words = (
        r"m\.onnx: does not run on one observation of 4 values \(Range 'many' gives a value whose size nothing bounds"
    )
    with pytest.raises(InputError, match=words):
        OnnxRuntime(model, BOX)
