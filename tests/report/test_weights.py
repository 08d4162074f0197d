"""The weights that are drawn are those of the file, whatever its form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from prunekit.benching.models import read_model
from prunekit.report.weights import layers_of

MODELS = Path(__file__).parents[2] / "models"


@pytest.mark.parametrize("name", ["CartPole-v1-ppo/dense", "LunarLander-v3-ppo/compact", "Walker2d-v5-ppo/compact"])
def test_both_forms_of_a_policy_have_the_same_weights(name: str) -> None:
    first, second = (layers_of(read_model(MODELS / f"{name}{suffix}")) for suffix in (".pt", ".onnx"))
    assert first is not None
    assert second is not None
    assert [one.tolist() for one in first] == [other.tolist() for other in second]


def foreign(path: Path, weights: list[np.ndarray], feeds: list[str]) -> Path:
    """Write products of ``feeds`` with ``weights`` [in, out], the last of which is the action."""
    names = [*(f"h{index}" for index in range(len(weights) - 1)), "action"]
    nodes = [
        helper.make_node("MatMul", [feed, f"w{index}"], [name])
        for index, (feed, name) in enumerate(zip(feeds, names, strict=True))
    ]
    stored = [numpy_helper.from_array(weight, f"w{index}") for index, weight in enumerate(weights)]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in (("obs", weights[0].shape[0]), ("action", weights[-1].shape[1]))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_products_with_the_weight_at_the_right_are_turned(tmp_path: Path) -> None:
    weights = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((3, 1), np.float32)]
    found = layers_of(read_model(foreign(tmp_path / "m.onnx", weights, ["obs", "h0"])))
    assert found is not None
    assert [layer.tolist() for layer in found] == [weights[0].T.tolist(), weights[1].T.tolist()]


def test_what_is_no_chain_is_not_drawn(tmp_path: Path) -> None:
    square = np.ones((2, 2), np.float32)
    unread = replace(read_model(foreign(tmp_path / "m.onnx", [square, square], ["obs", "obs"])), graph=None)
    assert layers_of(unread) is None
    chain = read_model(foreign(tmp_path / "c.onnx", [square, square], ["obs", "h0"]))
    assert layers_of(chain) is not None
    assert layers_of(replace(chain, hidden=(2, 2))) is None
