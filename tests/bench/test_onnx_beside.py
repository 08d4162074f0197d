"""Weights in files beside an ONNX file: which are read, and which are refused by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from foreign_models import write_product

from prunekit import ArtifactError
from prunekit.benching.models import read_model
from prunekit.export.session import tuned_session

Change = Callable[[onnx.TensorProto, Path], None]


def written(folder: Path, change: Change | None = None) -> Path:
    """Write a model with its weights beside it, in ``folder``, and its tensor changed."""
    inside = write_product(folder / "inside.onnx", np.arange(8.0).reshape(4, 2))
    path = folder / "m.onnx"
    onnx.save(onnx.load(inside), path, save_as_external_data=True, location="m.data", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    if change is not None:
        change(model.graph.initializer[0], folder)
        path.write_bytes(model.SerializeToString())
    return path


def entry(key: str, value: str) -> Change:
    def change(tensor: onnx.TensorProto, _: Path) -> None:
        kept = [one for one in tensor.external_data if one.key != key]
        found = [onnx.StringStringEntryProto(key=key, value=value), *kept]
        del tensor.external_data[:]
        tensor.external_data.extend(found)

    return change


def no_location(tensor: onnx.TensorProto, _: Path) -> None:
    del tensor.external_data[:]


def out_by_link(tensor: onnx.TensorProto, folder: Path) -> None:
    (folder.parent / "secret").write_bytes(bytes(32))
    (folder / "m.data").unlink()
    (folder / "m.data").symlink_to(folder.parent / "secret")


def a_pipe(tensor: onnx.TensorProto, folder: Path) -> None:
    (folder / "m.data").unlink()
    os.mkfifo(folder / "m.data")


def wrong_sizes(tensor: onnx.TensorProto, _: Path) -> None:
    tensor.dims[0] = 2**30


def negative_sizes(tensor: onnx.TensorProto, _: Path) -> None:
    tensor.dims[0], tensor.dims[1] = -4, -2


REFUSED: dict[str, tuple[Change, str]] = {
    "no location": (no_location, "'w' does not say in which"),
    "an empty location": (entry("location", ""), "'w' does not say in which"),
    "an absolute one": (entry("location", "/etc/passwd"), "'/etc/passwd' is not in its folder"),
    "one of Windows": (entry("location", "C:\\secret"), "is not in its folder"),
    "a folder above": (entry("location", "../secret"), "'../secret' is not in its folder"),
    "a folder above, in between": (entry("location", "a/../../secret"), "is not in its folder"),
    "a link that leads out": (out_by_link, "leads out of its folder"),
    "a pipe": (a_pipe, "there is no file 'm.data'"),
    "a folder": (entry("location", "."), "there is no file"),
    "a file that is not there": (entry("location", "\x1b[31mx"), r"there is no file '\x1b[31mx'"),
    "a very long name": (entry("location", "x" * 5000), "there is no file"),
    "an offset beyond the end": (entry("offset", "999999999999"), "lies beyond the end of m.data"),
    "a negative offset": (entry("offset", "-1"), "'-1' is not a position"),
    "no offset": (entry("offset", "x"), "'x' is not a position"),
    "a huge offset": (entry("offset", "9" * 5000), "is not a position"),
    "another length": (entry("length", "16"), "'w' takes 32 bytes, but 16 are named"),
    "other sizes": (wrong_sizes, "bytes, but 32 are named"),
    "negative sizes": (negative_sizes, "impossible sizes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_weights_that_are_not_beside_the_file_are_refused(name: str, tmp_path: Path) -> None:
    change, reason = REFUSED[name]
    folder = tmp_path / "folder"
    folder.mkdir()
    path = written(folder, change)
    with pytest.raises(ArtifactError) as refusal:
        read_model(path)
    assert str(refusal.value).startswith(f"{path}: the weights that it keeps in another file cannot be read (")
    assert reason in str(refusal.value)
    assert str(refusal.value).isprintable()


def test_the_same_place_named_many_times_does_not_multiply(tmp_path: Path) -> None:
    path = written(tmp_path)
    model = onnx.load(path, load_external_data=False)
    for number in range(100):
        model.graph.initializer.add().CopyFrom(model.graph.initializer[0])
        model.graph.initializer[-1].name = f"w{number}"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="larger than what lies there"):
        read_model(path)


def test_a_constant_s_weights_beside_are_read_too(tmp_path: Path) -> None:
    path = written(tmp_path)
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer.pop()
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w"], value=tensor))
    path.write_bytes(model.SerializeToString())
    found = read_model(path)
    assert (found.parameters, found.macs) == (8, 8)
    x = np.ones((1, 4), np.float32)
    np.testing.assert_array_equal(tuned_session(found.content).run(None, {"x": x})[0], [[12.0, 16.0]])
