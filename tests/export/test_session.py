"""ONNX Runtime's session: how it is tuned, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx_graphs import model_of, node

from prunekit import ArtifactError
from prunekit.export import session as session_module
from prunekit.export.session import tuned_session


def identity_model(operator: str = "Identity") -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [1, 2])],
        [value("y", TensorProto.FLOAT, [1, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_one_thread_that_does_not_spin() -> None:
    session = tuned_session(identity_model())
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    for pool in ("intra", "inter"):
        assert options.get_session_config_entry(f"session.{pool}_op.allow_spinning") == "0"
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_all_sessions_together_may_allocate_a_gibibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "work_of", lambda *_, **__: None)  # which would refuse it before
    nodes = [
        node("ReduceSum", ["x"], ["one"]),
        node("Expand", ["one", "s"], ["big"]),
        node("ReduceMax", ["big"], ["y"]),
    ]
    session = tuned_session(model_of(nodes, {"s": np.asarray([40_000, 40_000])}).SerializeToString())
    with pytest.raises(Exception, match="Available memory of"):
        session.run(None, {"x": np.ones((1, 4), np.float32)})


def test_bytes_and_paths_are_the_same_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(identity_model())
    x = np.asarray([[1.0, -2.0]], np.float32)
    for model in (identity_model(), tmp_path / "m.onnx"):
        np.testing.assert_array_equal(tuned_session(model).run(None, {"x": x})[0], x)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "nowhere.onnx", "no such file"), (tmp_path, "is a folder")):
        with pytest.raises(ArtifactError, match=f"{path.name}: {reason}"):
            tuned_session(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a model", identity_model()[:-20], identity_model("NoSuchOperator")],
    ids=["empty", "text", "truncated", "unknown-operator"],
)
def test_what_is_no_model_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(
        ArtifactError, match=r"bad\.onnx: (is damaged, or not an ONNX file.*; export|has the operator NoSuchOperator)"
    ) as refusal:
        tuned_session(path)
    assert "\n" not in str(refusal.value)
    with pytest.raises(ArtifactError, match=r"^model: (is damaged, or not an ONNX file|has the operator)"):
        tuned_session(content)
    with pytest.raises(ArtifactError, match=r"^given\.onnx: "):
        tuned_session(content, "given.onnx")


def test_a_newer_format_than_the_runtime_reads_is_refused() -> None:
    model = onnx.load_from_string(identity_model())
    model.ir_version = 999
    with pytest.raises(ArtifactError, match="cannot run it"):
        tuned_session(model.SerializeToString())


@pytest.mark.parametrize(("text", "reason"), [("first line\nsecond", "first line"), ("", "RuntimeError")])
def test_long_reasons_are_cut_to_a_line_and_missing_ones_named(
    monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(ArtifactError) as refusal:
        tuned_session(identity_model())
    assert str(refusal.value) == f"model: ONNX Runtime cannot run it ({reason})"
