"""What a teacher is given and what it may answer: copies, bounds, the order of axes, and who is to blame for a NaN."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import onnx
import onnxruntime
import pytest
from gymnasium import spaces as gym_spaces
from onnx import TensorProto, helper, numpy_helper

from prunekit.compression.read import read_teacher
from prunekit.compression.teacher import Teacher
from prunekit.environments import Spaces, spaces_of
from prunekit.errors import ArtifactError, InputError, UnusableEnvironmentError
from prunekit.readers.policy_file import PolicyOptions
from prunekit.spaces.box import BoxActions

CONTINUOUS = Spaces(observation=4, actions=BoxActions(low=(-1.0, -0.5), high=(1.0, 0.5)))
PICK = np.eye(4, dtype=np.float32)[:, :2]


def observations(count: int = 50) -> Any:
    return np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32) * 3.0


def policy(path: Path, shape: list[int | str], *more: str) -> Path:
    """Write an ONNX policy that picks two of four numbers of ``shape``, after which come the operators ``more``."""
    names = ["h", *(f"h{index}" for index in range(len(more)))]
    nodes = [helper.make_node("MatMul", ["obs", "w"], ["h"])]
    nodes += [helper.make_node(kind, [names[at]], [names[at + 1]]) for at, kind in enumerate(more)]
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(PICK, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_teacher_that_works_in_place_changes_nobody_s_observations() -> None:
    def centred(seen: Any) -> Any:
        seen -= 3.0
        return seen[:, :2]

    teacher, seen = Teacher(name="mine", spaces=CONTINUOUS, respond=centred), observations()
    first = teacher.responses(seen)
    np.testing.assert_array_equal(seen, observations())
    np.testing.assert_array_equal(teacher.responses(seen), first)
    np.testing.assert_array_equal(teacher.act(seen[0]), first[0].astype(np.float32))
    np.testing.assert_array_equal(seen, observations())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bound", [0.1, 0.3, 0.7])
def test_actions_are_within_their_space_to_the_last_bit(bound: float, dtype: Any) -> None:
    class Narrow(gym.Env[Any, Any]):
        observation_space = gym_spaces.Box(-np.inf, np.inf, (4,), np.float32)
        action_space = gym_spaces.Box(-bound, bound, (2,), dtype)

    teacher = Teacher(name="mine", spaces=spaces_of(Narrow()), respond=lambda seen: seen[:, :2] * 100.0)
    for row in observations():
        action = teacher.act(row)
        assert action.dtype == dtype
        assert Narrow.action_space.contains(action), f"{action!r} is not in {Narrow.action_space}"


@pytest.mark.parametrize("shape", [(1, 50, 2), (50, 1, 2), (50, 2, 1)])
def test_axes_of_length_one_make_no_difference(shape: tuple[int, ...]) -> None:
    teacher = Teacher(name="mine", spaces=CONTINUOUS, respond=lambda seen: (seen[:, :2] / 100.0).reshape(shape))
    np.testing.assert_allclose(teacher.responses(observations()), observations()[:, :2].astype(np.float64) / 100.0)


@pytest.mark.parametrize("turned", [lambda found: found.T, np.ravel], ids=["turned", "flat"])
def test_answers_in_another_order_are_refused(turned: Any) -> None:
    teacher = Teacher(name="mine", spaces=CONTINUOUS, respond=lambda seen: turned(seen[:, :2]))
    with pytest.raises(InputError, match=r"mine: answers 50 observations .* needs floats of shape \[50, 2\]"):
        teacher.responses(observations())


def test_an_onnx_file_that_answers_in_columns_is_refused(tmp_path: Path) -> None:
    path = policy(tmp_path / "turned.onnx", ["batch", 4], "Transpose")
    with pytest.raises(InputError, match=r"turned\.onnx: answers 3 observations with float32 of shape \[2, 3\]"):
        read_teacher(path, CONTINUOUS)


def test_an_answer_that_is_not_finite_only_to_zeros_is_no_reason_to_refuse(tmp_path: Path) -> None:
    teacher = read_teacher(policy(tmp_path / "m.onnx", ["batch", 4], "Abs", "Log"), CONTINUOUS)
    assert np.isfinite(teacher.responses(observations())).all()


def test_an_onnx_file_without_a_batch_axis_is_asked_as_it_was_read(tmp_path: Path) -> None:
    path, actions = policy(tmp_path / "flat.onnx", [4]), BoxActions(low=(-1.0, -0.5), high=(1.0, 0.5))
    teacher = read_teacher(path, Spaces(observation=4, actions=actions))
    session = onnxruntime.InferenceSession(path.read_bytes())
    expected = [session.run(None, {session.get_inputs()[0].name: row})[0].ravel() for row in observations(5)]
    np.testing.assert_allclose(
        teacher.responses(observations(5)), np.clip(expected, *([-1, -0.5], [1, 0.5])), atol=1e-6
    )
    with pytest.raises(InputError, match=r"flat\.onnx: .*shape \[4\], .*no batch axis; .*\['batch', 4\]"):
        read_teacher(path, Spaces(observation=6, actions=actions))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_observation_that_is_not_finite_is_the_environment_s_fault(bad: float) -> None:
    teacher, seen = Teacher(name="mine", spaces=CONTINUOUS, respond=lambda seen: seen[:, :2] * 2.0), observations(5)
    seen[3, 1] = bad
    with pytest.raises(UnusableEnvironmentError, match=rf"the environment gave the observation \[.*{bad}.*so mine"):
        teacher.responses(seen)


def test_the_case_of_a_suffix_makes_no_difference(tmp_path: Path) -> None:
    assert read_teacher(policy(tmp_path / "P.ONNX", ["batch", 4]), CONTINUOUS).size is not None
    for name in ("P.ZIP", "P.PT", "P.TS"):
        (tmp_path / name).write_bytes(b"damaged")
        with pytest.raises(
            ArtifactError, match=rf"{re.escape(name)}: (is damaged|damaged|its TorchScript|holds objects)"
        ):
            read_teacher(tmp_path / name, CONTINUOUS, PolicyOptions(without_normalizer=name == "P.ZIP"))
