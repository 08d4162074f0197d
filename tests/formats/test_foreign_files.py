"""Files of other libraries: nothing in them runs, no size in them is believed."""

from __future__ import annotations

import argparse
import collections
import json
import os
import pickle
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pickled import torch_saved

from prunekit.errors import InputError
from prunekit.formats.array_pickles import read_array_pickle
from prunekit.formats.pickles import MODULES, Record, decode_foreign_pickle
from prunekit.formats.safetensors_file import read_safetensors
from prunekit.formats.torch_file import read_torch
from prunekit.formats.torch_legacy import read_legacy_file


class Runs:
    """Unpickled by Python, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


class Own(dict[str, Any]):
    """A class of dictionaries with a state."""


def written(content: bytes, folder: Path) -> Path:
    (folder / "file").write_bytes(content)
    return folder / "file"


def read(kind: str, content: Any, folder: Path) -> Any:
    if kind == "torch":
        return read_torch(torch_saved(content), foreign=True)
    if kind == "old":
        return read_legacy_file(written(torch_saved(content, _use_new_zipfile_serialization=False), folder))
    return read_array_pickle(written(pickle.dumps(content), folder))


@pytest.mark.parametrize("kind", ["torch", "old", "pickle"])
def test_objects_stay_opaque_and_nothing_runs(kind: str, tmp_path: Path) -> None:
    owned = Own(a=1)
    owned.extra = 3  # type: ignore[attr-defined]
    content = {
        "runs": Runs(tmp_path / "made"),
        "names": argparse.Namespace(lr=1e-3),
        "default": collections.defaultdict(list, {"a": [1]}),
        "own": owned,
        "odd": {("a", 1): 2, 1.5: 3},
        "function": os.system,
        "set": {(1, 2)},
        "weights": np.ones((2, 3)) if kind == "pickle" else torch.ones(2, 3),
    }
    found = read(kind, content, tmp_path)
    assert not (tmp_path / "made").exists()
    assert found["weights"].shape == (2, 3)
    assert isinstance(found["runs"], Record)
    assert found["runs"].arguments == (str(tmp_path / "made"),)
    assert found["names"].state == {"lr": 1e-3}
    assert found["default"] == {"a": [1]}
    assert found["own"].items == {"a": 1}
    assert len(found["odd"]) == 2


def test_what_is_no_data_at_all_is_still_refused() -> None:
    for content, reason in (
        (b"\x80\x02\x82\xf0.", "could run code"),
        (b"\x80\x05\x97.", "instruction NEXT_BUFFER"),
        (b"\x80\x02NQ.", "outside the file"),
        (b"\x80\x02]q\x00h\x00a.", "nested deeper"),
    ):
        with pytest.raises(InputError, match=reason):
            decode_foreign_pickle(content)


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<i8", "?", "<u2"])
def test_arrays_of_numpy(dtype: str, protocol: int, tmp_path: Path) -> None:
    values = (np.arange(12).reshape(3, 4) % 2).astype(dtype)
    for array in (values, np.asfortranarray(values), values[1], np.zeros((0, 2), dtype), np.asarray(values[0, 1])):
        found = read_array_pickle(written(pickle.dumps({"it": array}, protocol=protocol), tmp_path))["it"]
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype
    scalar = read_array_pickle(written(pickle.dumps([values[0, 1]], protocol=protocol), tmp_path))[0]
    assert scalar == values[0, 1]


def test_arrays_whose_size_is_a_lie(tmp_path: Path) -> None:
    content = pickle.dumps(np.ones(4, np.float32), protocol=2)
    assert b"K\x04\x85" in content
    for lie in (b"K\x05\x85", b"J\xff\xff\xff\x7f\x85", b"J\xff\xff\xff\xff\x85"):
        with pytest.raises(InputError, match=r"shorter or longer than it says|not non-negative integers"):
            read_array_pickle(written(content.replace(b"K\x04\x85", lie), tmp_path))
    texts = read_array_pickle(written(pickle.dumps(np.array(["a", None], object)), tmp_path))
    assert isinstance(texts, Record)


def test_the_modules_of_a_state_dict(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Tanh())
    for found in (
        read_torch(torch_saved(network.state_dict()), foreign=True),
        read_legacy_file(written(torch_saved(network.state_dict(), _use_new_zipfile_serialization=False), tmp_path)),
    ):
        assert list(found[MODULES]) == ["", "0", "1"]
        assert torch.equal(found["0.weight"], network[0].weight)
    assert MODULES not in read_torch(torch_saved(network.state_dict()))


def test_old_files_whose_storages_lie(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    content = torch_saved({"a": shared, "b": shared[2:], "c": torch.ones(2, dtype=torch.float64)},
                          _use_new_zipfile_serialization=False)  # fmt: skip
    found = read_legacy_file(written(content, tmp_path))
    assert torch.equal(found["b"], shared[2:])
    assert found["a"].untyped_storage().data_ptr() == found["b"].untyped_storage().data_ptr()
    assert found["c"].dtype == torch.float64
    for damaged in (content[:-1], content[:-60], content[:100]):
        with pytest.raises(InputError):
            read_legacy_file(written(damaged, tmp_path))
    numbers = content.rindex(struct.pack("<q", 2))
    for lie in (-1, 3, 2**62):
        changed = content[:numbers] + struct.pack("<q", lie) + content[numbers + 8 :]
        with pytest.raises(InputError, match="not have the size that it states"):
            read_legacy_file(written(changed, tmp_path))


def safetensors(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(start: int, stop: int, shape: list[Any], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def test_safetensors(tmp_path: Path) -> None:
    values = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(2, np.int64)}
    header = {"b": entry(0, 24, [2, 3]), "a": entry(24, 40, [2], "I64"), "__metadata__": {"format": "pt"}}
    found = read_safetensors(written(safetensors(header, b"".join(map(bytes, values.values()))), tmp_path))
    assert list(found) == ["b", "a"]
    for name, array in values.items():
        np.testing.assert_array_equal(found[name], array)
    half = torch.tensor([1.5, -2.25, 3e38], dtype=torch.bfloat16)
    raw = half.view(torch.int16).numpy().tobytes()
    found = read_safetensors(written(safetensors({"x": entry(0, 6, [3], "BF16")}, raw), tmp_path))
    np.testing.assert_array_equal(found["x"], half.float().numpy())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (safetensors({}, length=2**63), "header is longer"),
        (safetensors({}, length=3), "header is longer"),
        (b"\x02\0\0", "header is longer"),
        (safetensors(b"[1]"), "not a table of tensors"),
        (safetensors(b"{x}"), "not JSON"),
        (safetensors(b"\xff\xff"), "not JSON"),
        (safetensors(b"[" * 100_000), "not JSON"),
        (safetensors(b'{"a":1,"a":1}'), "not JSON"),
        (safetensors({"a": entry(0, 4, [2])}, bytes(8)), "not have the size"),
        (safetensors({"a": entry(0, 8, [2])}, bytes(4)), "reaches beyond"),
        (safetensors({"a": entry(-4, 4, [2])}, bytes(8)), "reaches beyond"),
        (safetensors({"a": entry(8, 0, [2])}, bytes(8)), "reaches beyond"),
        (safetensors({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)), "does not begin where"),
        (safetensors({"a": entry(4, 12, [2])}, bytes(12)), "does not begin where"),
        (safetensors({"a": entry(0, 8, [2])}, bytes(12)), "belong to no tensor"),
        (safetensors({"a": entry(0, 8, [2], "F8")}, bytes(8)), "in an unknown way"),
        (safetensors({"a": entry(0, 8, [2.0])}, bytes(8)), "in an unknown way"),
        (safetensors({"a": entry(0, 0, [0, 2**50])}), "in an unknown way"),
        (safetensors({"a": entry(0, 4, [True])}, bytes(4)), "in an unknown way"),
        (safetensors({"a": {"dtype": "F32"}}), "in an unknown way"),
    ],
)
def test_safetensors_that_lie(content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        read_safetensors(written(content, tmp_path))


def test_many_opcodes_end_soon(tmp_path: Path) -> None:
    head = torch_saved([], _use_new_zipfile_serialization=False)
    started = time.monotonic()
    for content in (head[:-3] + b"\x80\x02N" + b"0N" * 600_000 + b".", head[:18] + b"\x80\x02N" + b"0N" * 600_000):
        with pytest.raises(InputError):
            read_legacy_file(written(content, tmp_path))
    assert time.monotonic() - started < 10.0


def test_old_files_of_another_byte_order_are_refused(tmp_path: Path) -> None:
    content = torch_saved({"a": torch.ones(2)}, _use_new_zipfile_serialization=False)
    entry = b"little_endian"
    at = content.index(b"\x88", content.index(entry))  # pickle's True
    swapped = content[:at] + b"\x89" + content[at + 1 :]
    with pytest.raises(InputError, match="another byte order"):
        read_legacy_file(written(swapped, tmp_path))
