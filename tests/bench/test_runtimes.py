"""ONNX Runtime as an actor, for files that prunekit did not write."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from foreign_models import DOUBLE, FLOAT, INT32, INT64, Value, write_onnx, write_product
from gymnasium import spaces as gym_spaces
from onnx import helper

from prunekit import CheckError, InputError
from prunekit.benching.models import read_model
from prunekit.benching.runtimes import OnnxRuntime
from prunekit.environments import Spaces
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions

DISCRETE = Spaces(observation=4, actions=DiscreteActions(count=3, start=10))
CONTINUOUS = Spaces(observation=4, actions=BoxActions(low=(-1.0, -math.inf, 0.0), high=(0.5, 2.0, math.inf)))
PICK = np.eye(4)[:, :3]  # the score of action k is component k of the observation
WEIGHT = {"w": PICK.astype(np.float32)}
X: Value = ("x", FLOAT, ["n", 4])


def runtime_of(path: Path, spaces: Spaces = DISCRETE) -> OnnxRuntime:
    return OnnxRuntime(read_model(path), spaces)


def argmax_model(path: Path, dtype: int = INT64, keepdims: int = 0) -> Path:
    output: Value = ("chosen", dtype, ["n", 1] if keepdims else ["n"])
    nodes = [
        ("MatMul", ["x", "w"], "s"),
        helper.make_node("ArgMax", ["s"], ["i"], axis=1, keepdims=keepdims),
        ("Add", ["i", "first"], "a"),
        helper.make_node("Cast", ["a"], ["chosen"], to=dtype),
    ]
    return write_onnx(path, nodes, [X], [output], {**WEIGHT, "first": np.asarray(10)})


def observation_for(index: int, dtype: type = np.float64) -> np.ndarray:
    return np.asarray([5.0 if component == index else 0.1 * component for component in range(4)], dtype)


@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE])
@pytest.mark.parametrize("observed", [np.float32, np.float64])
@pytest.mark.parametrize(("source", "target"), [("x", "y"), ("onnx::MatMul_0", "17"), ("obs", "action")])
def test_scores_under_any_name_are_argmaxed(
    tmp_path: Path, dtype: int, observed: type, source: str, target: str
) -> None:
    runtime = runtime_of(write_product(tmp_path / "m.onnx", PICK, dtype=dtype, source=source, target=target))
    for index in (1, 0, 2, 0):
        action = runtime.act(observation_for(index, observed))
        assert type(action) is np.int64  # as a Discrete space samples it
        assert action == 10 + index


@pytest.mark.parametrize("dtype", [INT64, INT32])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_an_integer_output_is_the_action_itself(tmp_path: Path, dtype: int, keepdims: int) -> None:
    runtime = runtime_of(argmax_model(tmp_path / "m.onnx", dtype, keepdims))
    for index in (2, 0, 1):
        action = runtime.act(observation_for(index))
        assert type(action) is np.int64  # as a Discrete space samples it
        assert action == 10 + index


@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE])
def test_float_outputs_are_clipped_for_continuous_actions(tmp_path: Path, dtype: int) -> None:
    runtime = runtime_of(write_product(tmp_path / "m.onnx", PICK, dtype=dtype), CONTINUOUS)
    for observation, expected in (
        ([0.25, 1.5, 8.0, 0.0], [0.25, 1.5, 8.0]),
        ([9.0, 9.0, -9.0, 0.0], [0.5, 2.0, 0.0]),
        ([-9.0, -9.0, 0.5, 0.0], [-1.0, -9.0, 0.5]),
    ):
        action = runtime.act(np.asarray(observation))
        assert action.dtype == np.float32
        np.testing.assert_array_equal(action, np.asarray(expected, np.float32))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_actions_are_within_their_space_to_the_last_bit(tmp_path: Path, dtype: type) -> None:
    space = gym_spaces.Box(-0.1, 0.1, (3,), dtype)
    spaces = Spaces(
        observation=4,
        actions=BoxActions(low=tuple(space.low.tolist()), high=tuple(space.high.tolist()), dtype=str(space.dtype)),
    )
    runtime = runtime_of(write_product(tmp_path / "m.onnx", PICK), spaces)
    for observation in ([9.0, -9.0, 0.1, 0.0], [0.05, 0.1, -0.1, 0.0]):
        action = runtime.act(np.asarray(observation))
        assert action.dtype == dtype
        assert space.contains(action), f"{action!r} is not in {space}"


def test_an_action_stays_what_it_was_after_the_next_one(tmp_path: Path) -> None:
    runtime = runtime_of(write_product(tmp_path / "m.onnx", PICK), CONTINUOUS)
    first = runtime.act(np.asarray([0.25, 1.0, 3.0, 0.0]))
    runtime.act(np.asarray([-0.5, -1.0, 9.0, 0.0]))
    np.testing.assert_array_equal(first, np.asarray([0.25, 1.0, 3.0], np.float32))


def test_the_output_named_action_is_chosen_among_several(tmp_path: Path) -> None:
    nodes = [("MatMul", ["x", "w"], "scores"), ("Neg", ["scores"], "action"), ("Abs", ["scores"], "value")]
    outputs: list[Value] = [(name, FLOAT, ["n", 3]) for name in ("scores", "value", "action")]
    runtime = runtime_of(write_onnx(tmp_path / "m.onnx", nodes, [X], outputs, WEIGHT), CONTINUOUS)
    np.testing.assert_array_equal(runtime.act(np.asarray([0.5, 1.0, -3.0, 0.0])), np.asarray([-0.5, -1.0, 3.0]))
    path = write_onnx(tmp_path / "none.onnx", nodes, [X], outputs[:2], WEIGHT)
    with pytest.raises(InputError, match=r"none\.onnx: has outputs scores, value; name the policy's action 'action'"):
        runtime_of(path)


def test_a_file_of_dynamic_width_is_tried_on_the_environments(tmp_path: Path) -> None:
    path = write_onnx(
        tmp_path / "m.onnx", [("MatMul", ["x", "w"], "y")], [("x", FLOAT, ["n", "d"])], [("y", FLOAT, ["n", 3])], WEIGHT
    )
    assert runtime_of(path).act(observation_for(2)) == 12
    with pytest.raises(InputError, match=r"m\.onnx: does not run on one observation of 5 values"):
        runtime_of(path, Spaces(observation=5, actions=DiscreteActions(count=3)))


def test_two_inputs_are_refused_by_name(tmp_path: Path) -> None:
    inputs: list[Value] = [X, ("hidden", FLOAT, ["n", 4])]
    nodes = [("Add", ["x", "hidden"], "sum"), ("MatMul", ["sum", "w"], "y")]
    path = write_onnx(tmp_path / "recurrent.onnx", nodes, inputs, [("y", FLOAT, ["n", 3])], WEIGHT)
    with pytest.raises(InputError, match=r"recurrent\.onnx: has 2 inputs \(x, hidden\)"):
        runtime_of(path)


def test_an_integer_input_is_refused(tmp_path: Path) -> None:
    path = write_onnx(
        tmp_path / "m.onnx", [("Identity", ["x"], "y")], [("x", INT64, ["n", 4])], [("y", INT64, ["n", 4])], {}
    )
    with pytest.raises(InputError, match=r"m\.onnx: input 'x' is tensor\(int64\)"):
        runtime_of(path)


def test_another_width_is_refused_with_both_widths(tmp_path: Path) -> None:
    path = write_product(tmp_path / "m.onnx", np.zeros((7, 3)))
    with pytest.raises(InputError, match=r"m\.onnx: takes 7 values, but the environment gives 4; .*`env`"):
        runtime_of(path)


@pytest.mark.parametrize("shape", [[4], ["n", 2, 2]])
def test_observations_that_are_no_rows_are_refused(tmp_path: Path, shape: list[int | str]) -> None:
    nodes = [("Reshape", ["x", "shape"], "rows"), ("MatMul", ["rows", "w"], "y")]
    constants = {**WEIGHT, "shape": np.asarray([-1, 4])}
    path = write_onnx(tmp_path / "m.onnx", nodes, [("x", FLOAT, shape)], [("y", FLOAT, ["n", 3])], constants)
    with pytest.raises(InputError, match=r"m\.onnx: takes observations of shape") as refused:
        runtime_of(path)
    assert ("no batch axis; export it with an input of shape ['batch', 4]" in str(refused.value)) == (shape == [4])


def test_a_fixed_batch_of_more_than_one_is_refused(tmp_path: Path) -> None:
    path = write_onnx(
        tmp_path / "m.onnx", [("MatMul", ["x", "w"], "y")], [("x", FLOAT, [8, 4])], [("y", FLOAT, [8, 3])], WEIGHT
    )
    with pytest.raises(InputError, match=r"m\.onnx: does not run on one observation of 4 values"):
        runtime_of(path)


@pytest.mark.parametrize(
    "spaces",
    [
        Spaces(observation=4, actions=DiscreteActions(count=2)),
        Spaces(observation=4, actions=BoxActions(low=(-1.0,) * 2, high=(1.0,) * 2)),
    ],
    ids=["discrete", "box"],
)
def test_another_number_of_outputs_is_refused_with_both(tmp_path: Path, spaces: Spaces) -> None:
    path = write_product(tmp_path / "m.onnx", PICK)
    with pytest.raises(InputError, match=r"m\.onnx: gives 3 values, but the environment's actions need 2"):
        runtime_of(path, spaces)


def test_an_integer_output_is_refused_for_continuous_actions(tmp_path: Path) -> None:
    path = argmax_model(tmp_path / "m.onnx")
    for spaces in (CONTINUOUS, Spaces(observation=4, actions=BoxActions(low=(-1.0,), high=(1.0,)))):
        with pytest.raises(InputError, match=r"m\.onnx: gives an action number, .* continuous"):
            runtime_of(path, spaces)


@pytest.mark.parametrize("spaces", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_an_action_that_is_not_finite_is_an_error_with_its_observation(tmp_path: Path, spaces: Spaces) -> None:
    nodes = [("MatMul", ["x", "w"], "s"), ("Log", ["s"], "y")]
    path = write_onnx(tmp_path / "m.onnx", nodes, [X], [("y", FLOAT, ["n", 3])], WEIGHT)
    runtime = runtime_of(path, spaces)
    runtime.act(np.asarray([1.0, 2.0, 3.0, 0.0]))
    for bad in (-1.0, 0.0, math.nan):
        with pytest.raises(CheckError, match=r"m\.onnx: the action is not finite for observation \[.*3\.5"):
            runtime.act(np.asarray([1.0, bad, 3.5, 0.0]))


def test_a_call_runs_the_model_on_the_last_observation(tmp_path: Path) -> None:
    runtime = runtime_of(write_product(tmp_path / "m.onnx", PICK), CONTINUOUS)
    runtime.call()
    assert runtime._output.tolist() == [[0.0, 0.0, 0.0]]
    runtime.act(np.asarray([0.25, 1.0, 3.0, 0.0]))
    runtime._output[:] = -7.0
    runtime.call()
    assert runtime._output.tolist() == [[0.25, 1.0, 3.0]]


@pytest.mark.parametrize("chosen", [-1, 2, 7])
def test_an_action_number_outside_the_space_is_an_error(tmp_path: Path, chosen: int) -> None:
    nodes = [
        ("MatMul", ["x", "w"], "s"),
        helper.make_node("ArgMax", ["s"], ["i"], axis=1, keepdims=0),
        ("Add", ["i", "chosen"], "action"),
    ]
    constants = {"w": np.zeros((4, 2), np.float32), "chosen": np.asarray(chosen)}
    path = write_onnx(tmp_path / "m.onnx", nodes, [X], [("action", INT64, ["n"])], constants)
    with pytest.raises(CheckError, match=rf"m\.onnx: action {chosen} is not one of 2 from 0"):
        runtime_of(path, Spaces(observation=4, actions=DiscreteActions(count=2))).act(np.zeros(4))
