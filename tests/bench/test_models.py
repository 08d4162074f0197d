"""Reading model files: what is counted, what is believed, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from foreign_models import FLOAT, INT64, Node, Value, write_onnx, write_product
from onnx import helper
from torch import nn

from prunekit import Actor, ArgmaxHead, ArtifactError, Normalizer, export_onnx, make_artifact, save
from prunekit.benching.models import read_model
from prunekit.export.session import tuned_session

ENV: dict[str, Any] = {"env": {"id": "CartPole-v1", "kwargs": {"sutton_barto_reward": True}}}
X: Value = ("x", FLOAT, ["n", 4])
Y: Value = ("y", FLOAT, ["n", 2])


def policy() -> Actor:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    return Actor(network, ArgmaxHead(), Normalizer([0.0] * 4, [1.0] * 4, 10.0))


def test_a_model_and_its_export_count_alike(tmp_path: Path) -> None:
    save(make_artifact(policy(), None, ENV), tmp_path / "model.pt")
    export_onnx(policy(), tmp_path / "model.onnx", ENV)
    for name in ("model.pt", "model.onnx"):
        model = read_model(tmp_path / name)
        assert model.hidden == (8, 6)
        assert model.units == 14
        assert model.parameters == 4 * 8 + 8 + 8 * 6 + 6 + 6 * 2 + 2
        assert model.macs == 4 * 8 + 8 * 6 + 6 * 2
        assert model.weight_bytes == 4 * model.parameters
        assert model.size_bytes == (tmp_path / name).stat().st_size
        assert model.environment == ("CartPole-v1", {"sutton_barto_reward": True})
    assert read_model(tmp_path / "model.pt").content == (tmp_path / "model.onnx").read_bytes()


def test_the_case_of_a_suffix_makes_no_difference(tmp_path: Path) -> None:
    save(make_artifact(policy(), None, ENV), tmp_path / "MODEL.PT")
    export_onnx(policy(), tmp_path / "MODEL.ONNX", ENV)
    assert [read_model(tmp_path / name).hidden for name in ("MODEL.PT", "MODEL.ONNX")] == [(8, 6), (8, 6)]


@pytest.mark.parametrize("env_id", ["CartPole-v1", "json:CartPole-v1", "CartPole", "json:CartPole"])
def test_arguments_are_those_of_the_environment_however_it_is_written(env_id: str, tmp_path: Path) -> None:
    save(make_artifact(policy(), None, ENV), tmp_path / "model.pt")
    model = read_model(tmp_path / "model.pt")
    assert model.arguments_of(env_id) == ENV["env"]["kwargs"]
    assert model.arguments_of("json:CartPole-v0") is None


def test_what_runs_for_a_pt_is_its_export(tmp_path: Path) -> None:
    save(make_artifact(policy(), None, ENV), tmp_path / "model.pt")
    session = tuned_session(read_model(tmp_path / "model.pt").content)
    observations = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    expected = policy()(torch.from_numpy(observations)).numpy()
    np.testing.assert_array_equal(session.run(["action"], {"obs": observations})[0], expected)


def test_gemm_layers_of_a_foreign_file_are_counted_in_either_layout(tmp_path: Path) -> None:
    gemm = helper.make_node
    nodes = [
        gemm("Gemm", ["x", "w0", "b0"], ["h0"], transB=1),
        gemm("Relu", ["h0"], ["a0"]),
        gemm("Gemm", ["a0", "w1", "b1"], ["h1"]),
        gemm("Tanh", ["h1"], ["a1"]),
        gemm("Gemm", ["a1", "w2"], ["y"], transB=1),
    ]
    constants = {"w0": (5, 4), "b0": (5,), "w1": (5, 3), "b1": (3,), "w2": (2, 3)}
    arrays = {name: np.ones(shape, np.float32) for name, shape in constants.items()}
    model = read_model(write_onnx(tmp_path / "gemm.onnx", nodes, [X], [Y], arrays))
    assert (model.hidden, model.macs) == ((5, 3), 20 + 15 + 6)
    assert model.parameters == 20 + 5 + 15 + 3 + 6
    assert model.environment is None
    assert model.metadata == {}


def test_products_of_a_foreign_file_are_counted_with_every_float_constant(tmp_path: Path) -> None:
    nodes: list[Node] = [
        ("Sub", ["x", "mean"], "c"),
        ("MatMul", ["c", "w0"], "h"),
        ("Add", ["h", "b0"], "s"),
        ("Relu", ["s"], "a"),
        ("MatMul", ["a", "w1"], "f"),
        ("Reshape", ["f", "shape"], "y"),
    ]
    floats = {"mean": (4,), "w0": (4, 7), "b0": (7,), "w1": (7, 2)}
    constants = {name: np.ones(shape, np.float32) for name, shape in floats.items()}
    path = write_onnx(tmp_path / "matmul.onnx", nodes, [X], [Y], {**constants, "shape": np.asarray([-1, 2])})
    model = read_model(path)
    assert (model.hidden, model.macs) == ((7,), 28 + 14)
    assert model.parameters == 4 + 28 + 7 + 14


def test_a_linear_foreign_file_has_no_hidden_units(tmp_path: Path) -> None:
    model = read_model(write_product(tmp_path / "linear.onnx", np.zeros((4, 2))))
    assert (model.hidden, model.units, model.parameters, model.macs) == ((), 0, 8, 8)


def test_a_product_of_two_computed_values_is_no_layer(tmp_path: Path) -> None:
    nodes: list[Node] = [("MatMul", ["x", "w"], "a"), ("Transpose", ["a"], "t"), ("MatMul", ["a", "t"], "y")]
    path = write_onnx(tmp_path / "m.onnx", nodes, [X], [("y", FLOAT, ["n", "n"])], {"w": np.zeros((4, 3), np.float32)})
    assert read_model(path).macs == 12


def test_metadata_of_other_programs_is_left_alone(tmp_path: Path) -> None:
    properties = {"env": "not json", "sizes": "[", "other.sizes": "{", "prunekit": "x"}
    model = read_model(write_product(tmp_path / "m.onnx", np.zeros((4, 2)), properties=properties))
    assert (model.metadata, model.parameters) == ({}, 8)


@pytest.mark.parametrize(
    "sizes",
    ["{", "", "3", '"text"', "[1]", '{"hidden": [8]}', '{"hidden": 8, "parameters": 1, "macs": 1}',
     '{"hidden": ["a"], "parameters": 1, "macs": 1}', '{"hidden": [8], "parameters": null, "macs": 1}'],
)  # fmt: skip
def test_damaged_metadata_is_refused(tmp_path: Path, sizes: str) -> None:
    path = write_product(tmp_path / "m.onnx", np.zeros((4, 2)), properties={"prunekit.sizes": sizes})
    with pytest.raises(ArtifactError, match=r"m\.onnx: its prunekit metadata is damaged .*export the model again"):
        read_model(path)


def test_an_environment_without_arguments_has_none(tmp_path: Path) -> None:
    properties = {"prunekit.env": json.dumps({"id": "Hopper-v5"})}
    model = read_model(write_product(tmp_path / "m.onnx", np.zeros((4, 2)), properties=properties))
    assert model.environment == ("Hopper-v5", {})


@pytest.mark.parametrize("name", ["model", "model.PTH", "model.onnx.data"])
def test_other_kinds_of_file_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ArtifactError, match=rf"{name}: unknown kind of file; a policy is a \.pt, \.zip, \.onnx or"):
        read_model(tmp_path / name)


@pytest.mark.parametrize("name", ["a.pt", "a.onnx", "a.zip"])
def test_missing_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match=rf"{name}: no such file"):
        read_model(tmp_path / name)


@pytest.mark.parametrize("name", ["a.pt", "a.onnx"])
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match=rf"{name}: "):
        read_model(tmp_path / name)


@pytest.mark.parametrize("properties", [{}, {"prunekit.note": "1"}])
def test_weights_in_a_file_beside_are_read_and_counted(tmp_path: Path, properties: dict[str, str]) -> None:
    weight = np.random.default_rng(0).normal(size=(4, 2))
    inside = write_product(tmp_path / "inside.onnx", weight, properties=properties)
    beside = tmp_path / "beside.onnx"
    onnx.save(onnx.load(str(inside)), str(beside), save_as_external_data=True, location="beside.data", size_threshold=0)
    model = read_model(beside)
    assert model.parameters == 8
    assert model.size_bytes == beside.stat().st_size + (tmp_path / "beside.data").stat().st_size
    x = np.ones((1, 4), np.float32)
    expected = tuned_session(read_model(inside).content).run(None, {"x": x})[0]
    np.testing.assert_array_equal(tuned_session(model.content).run(None, {"x": x})[0], expected)
    (tmp_path / "beside.data").unlink()
    with pytest.raises(ArtifactError, match=r"beside\.onnx: the weights that it keeps in another file"):
        read_model(beside)


def test_integer_constants_are_no_parameters(tmp_path: Path) -> None:
    nodes = [
        ("MatMul", ["x", "w"], "s"),
        helper.make_node("ArgMax", ["s"], ["i"], axis=1, keepdims=0),
        ("Add", ["i", "one"], "y"),
    ]
    constants = {"w": np.zeros((4, 2), np.float32), "one": np.asarray(1, np.int64)}
    model = read_model(write_onnx(tmp_path / "m.onnx", nodes, [X], [("y", INT64, ["n"])], constants))
    assert model.parameters == 8


@pytest.mark.parametrize(("key", "value"), [("hidden", [4, 3]), ("macs", 5)])
def test_sizes_that_the_graph_does_not_have_are_refused(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(policy(), path, ENV)
    model = onnx.load(path)
    entry = next(entry for entry in model.metadata_props if entry.key == "prunekit.sizes")
    entry.value = json.dumps({**json.loads(entry.value), key: value})
    onnx.save(model, path)
    with pytest.raises(ArtifactError, match=rf"model\.onnx: its prunekit metadata is damaged \({key} "):
        read_model(path)
