"""Teachers whose answer is no function of what they see: refused by name, and what may be chosen in their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from prunekit import InputError
from prunekit.compression.onnx_teacher import read_onnx_teacher
from prunekit.compression.teacher import Teacher
from prunekit.environments import Spaces
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions

node = helper.make_node
BOX = Spaces(observation=4, actions=BoxActions(low=(-1.0,) * 2, high=(1.0,) * 2))
DISCRETE = Spaces(observation=4, actions=DiscreteActions(count=2))


def write(path: Path, nodes: list[onnx.NodeProto], outputs: dict[str, int], wide: bool = False) -> Path:
    """Write a file whose ``outputs`` are floats [n, 2], or numbers."""
    values = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])]
    weight = np.eye(4)[:, :2].astype(np.float32)
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.asarray([-1]), "flat")]
    graph = helper.make_graph(nodes, "g", inputs, values, constants)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    return path


def ml_agents(path: Path, *, deterministic: bool = True) -> Path:
    """Write what Unity's ML-Agents writes: a drawn action, and in newer versions the deterministic one beside it."""
    nodes = [
        node("MatMul", ["x", "w"], ["mean"]),
        node("RandomNormalLike", ["mean"], ["noise"]),
        node("Add", ["mean", "noise"], ["continuous_actions"]),
    ]
    outputs = {"continuous_actions": TensorProto.FLOAT}
    if deterministic:
        nodes.append(node("Tanh", ["mean"], ["deterministic_continuous_actions"]))
        outputs["deterministic_continuous_actions"] = TensorProto.FLOAT
    return write(path, nodes, outputs)


def test_a_drawn_action_is_refused_and_the_other_one_named(tmp_path: Path) -> None:
    path = ml_agents(tmp_path / "m.onnx")
    words = (
        r"m\.onnx: samples its action \(output 'continuous_actions' depends on RandomNormalLike\).*choose an "
        r"output that is not sampled \(deterministic_continuous_actions\) with `output`"
    )
    for target in (None, "continuous_actions"):
        with pytest.raises(InputError, match=words):
            read_onnx_teacher(path, BOX, target)


def test_the_deterministic_action_may_be_chosen(tmp_path: Path) -> None:
    path = ml_agents(tmp_path / "m.onnx")
    teacher = read_onnx_teacher(path, BOX, "deterministic_continuous_actions")
    seen = np.random.default_rng(0).normal(size=(3000, 4)).astype(np.float32)
    np.testing.assert_allclose(teacher.responses(seen), np.tanh(seen[:, :2]), rtol=1e-5)


def test_without_a_deterministic_action_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"samples its action .*; export its deterministic action$"):
        read_onnx_teacher(ml_agents(tmp_path / "m.onnx", deterministic=False), BOX)


def test_scores_are_taken_beside_a_drawn_number(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["scores"]),
        node("Multinomial", ["scores"], ["drawn"], sample_size=1, dtype=7),
        node("Reshape", ["drawn", "flat"], ["action"]),
    ]
    path = write(tmp_path / "m.onnx", nodes, {"action": TensorProto.INT64, "scores": TensorProto.FLOAT})
    assert read_onnx_teacher(path, DISCRETE).responses(np.eye(4, dtype=np.float32)[:2]).tolist() == np.eye(2).tolist()
    with pytest.raises(InputError, match=r"'action' depends on Multinomial.* output that is not sampled \(scores\)"):
        read_onnx_teacher(path, DISCRETE, "action")


def test_the_size_is_that_of_the_chosen_output(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["mean"]),
        node("Tanh", ["mean"], ["first"]),
        node("Constant", [], ["v"], value=numpy_helper.from_array(np.ones((2, 2), np.float32))),
        node("MatMul", ["first", "v"], ["second"]),
    ]
    path = write(tmp_path / "m.onnx", nodes, {"first": TensorProto.FLOAT, "second": TensorProto.FLOAT})
    for target, hidden, parameters in (("first", (), 8), ("second", (2,), 12)):
        size = read_onnx_teacher(path, BOX, target).size
        assert size is not None
        assert (size.hidden, size.parameters) == (hidden, parameters)


def test_work_that_grows_with_the_square_of_the_observations_is_done_in_parts(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["mean"]),
        node("Transpose", ["mean"], ["turned"]),
        node("MatMul", ["mean", "turned"], ["all"]),
        node("ReduceMax", ["all"], ["m"], keepdims=0),
        node("Mul", ["m", "mean"], ["n"]),
        node("Tanh", ["mean"], ["y"]),
    ]
    path = write(tmp_path / "m.onnx", nodes, {"y": TensorProto.FLOAT})
    seen = np.random.default_rng(0).normal(size=(60_000, 4)).astype(np.float32)  # all at once would take 14 GB
    found = read_onnx_teacher(path, BOX, "y").responses(seen)
    np.testing.assert_allclose(found, np.tanh(seen[:, :2]), rtol=1e-5)


@pytest.mark.parametrize("spaces", [BOX, DISCRETE], ids=["box", "discrete"])
def test_a_function_that_draws_is_no_teacher(spaces: Spaces) -> None:
    generator = np.random.default_rng(0)

    def respond(seen: Any) -> Any:
        return generator.normal(size=(len(seen), 2))

    with pytest.raises(InputError, match=r"^mine: gives different answers to the same observation, so it samples"):
        Teacher(name="mine", spaces=spaces, respond=respond).probe()


def test_a_function_that_draws_where_it_sees_something_is_no_teacher() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(InputError, match="gives different answers"):
        Teacher(name="mine", spaces=BOX, respond=lambda seen: seen[:, :2] * generator.normal()).probe()


def test_a_function_that_keeps_a_state_is_no_teacher() -> None:
    calls: list[int] = []

    def respond(seen: Any) -> Any:
        calls.append(1)
        return seen[:, :2] + float(len(calls))

    with pytest.raises(InputError, match="gives different answers"):
        Teacher(name="mine", spaces=BOX, respond=respond).probe()


def test_no_number_is_the_same_answer() -> None:
    Teacher(name="mine", spaces=BOX, respond=lambda seen: seen[:, :2] * np.nan).probe()
