"""What a file is, told by its content whatever it is called, and what to do with it."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from pickled import torch_saved
from torch import nn

from prunekit.benching.models import read_model
from prunekit.errors import ArtifactError, InputError
from prunekit.formats.kinds import Kind, kind_of
from prunekit.policy.artifact import load


def torchscript(path: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: Any = torch.jit.script(nn.Linear(2, 1))
        module.save(str(path))


def sb3(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data", "policy.pth", "policy.optimizer.pth"):
            archive.writestr(name, b"")


def onnx_file(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
    graph = helper.make_graph([helper.make_node("Tanh", ["a"], ["b"])], "g", ports[:1], ports[1:])
    path.write_bytes(helper.make_model(graph, opset_imports=[onnx.OperatorSetIdProto(version=17)]).SerializeToString())


WRITERS: dict[Kind, Any] = {
    "torchscript": torchscript,
    "sb3": sb3,
    "onnx": onnx_file,
    "torch": lambda path: path.write_bytes(torch_saved(nn.Linear(2, 1).state_dict())),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
    "old_torch": lambda path: path.write_bytes(torch_saved([], _use_new_zipfile_serialization=False)),
    "safetensors": lambda path: path.write_bytes(b"\x02" + bytes(7) + b"{}"),
    "hdf5": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(60)),
    "tflite": lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(60)),
    "msgpack": lambda path: path.write_bytes(b"\x82\xa6params\x81\xa1a" + bytes(60)),
    "tensorflow": lambda path: (path.mkdir(), (path / "saved_model.pb").write_bytes(b"")),
    "unknown": lambda path: path.write_bytes(b"a text"),
}
SAID: dict[Kind, str] = {
    "torchscript": "is TorchScript, but a model.pt is needed",
    "sb3": "is a zip of Stable-Baselines3, but a model.pt is needed",
    "onnx": "is an ONNX file, but a model.pt is needed",
    "torch": "a torch file, but not a prunekit model; weights alone do not say which network",
    "pickle": "is a pickle, but a model.pt is needed",
    "old_torch": "is an old torch file, but a model.pt is needed",
    "safetensors": "is a safetensors file, but a model.pt is needed",
    "hdf5": "is an HDF5 file, but a model.pt is needed",
    "tflite": "is a TensorFlow Lite file, but a model.pt is needed",
    "msgpack": "is a msgpack file, but a model.pt is needed",
    "tensorflow": "is a folder; name the model file in it",
    "unknown": "is damaged, or not a torch file; save it again .docs/readers.md lists",
}
READ: dict[Kind, str | None] = {
    **SAID,
    "torchscript": None,
    "onnx": None,
    "torch": None,
    "pickle": "is a pickle without arrays of layers",
    "old_torch": "is an old torch file without layers",
    "safetensors": "is a safetensors file without layers",
    "hdf5": "HDF5 file, which ends within one of its parts",
    "tflite": "is a TensorFlow Lite file, which is not read; convert it to ONNX",
    "msgpack": "was written by flax.serialization .* which is not read",
    "tensorflow": "is a TensorFlow SavedModel, which is not read; convert it to ONNX",
    "sb3": "does not say whether .*no normalizer is next to it",
}


@pytest.mark.parametrize("kind", WRITERS)
def test_files_are_told_apart_by_their_content(kind: Kind, tmp_path: Path) -> None:
    WRITERS[kind](tmp_path / "model.bin")
    assert kind_of(tmp_path / "model.bin") == kind


@pytest.mark.parametrize("kind", WRITERS)
def test_other_files_called_pt_are_said_to_be_what_they_are(kind: Kind, tmp_path: Path) -> None:
    WRITERS[kind](tmp_path / "model.pt")
    with pytest.raises(ArtifactError, match=rf"model\.pt: {SAID[kind]}"):
        load(tmp_path / "model.pt")


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("suffix", ["pt", "zip", "onnx", "jit", "pth"])
def test_policies_are_read_whatever_they_are_called(suffix: str, kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / f"model.{suffix}"
    WRITERS[kind](path)
    reason = READ[kind]
    if kind == "unknown" and suffix != "pt":
        damaged = {"zip": "damaged or not a zip", "onnx": "is damaged, or not an ONNX file"}
        reason = damaged.get(suffix, "unknown kind of file")
    if reason is None:
        assert read_model(path).graph is not None
        return
    with pytest.raises(InputError, match=rf"model\.{suffix}: {reason}"):
        read_model(path)
