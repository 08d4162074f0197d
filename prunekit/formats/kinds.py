"""The kind of a policy file, by its content."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

Kind = Literal[
    "torchscript", "sb3", "sbx", "torch", "onnx", "old_torch", "pickle", "safetensors", "hdf5", "msgpack", "tflite",
    "tensorflow", "unknown",
]  # fmt: skip

_ADVICE: dict[Kind, str] = {
    "torchscript": "is TorchScript, but a model.pt is needed here; 'prunekit compress' makes one from it",
    "sb3": "is a zip of Stable-Baselines3, but a model.pt is needed here; 'prunekit compress' makes one from it",
    "sbx": "is a zip of SBX, but a model.pt is needed here; 'prunekit compress' makes one from it",
    "onnx": "is an ONNX file, but a model.pt is needed here; 'prunekit compress' makes one from it",
    "pickle": "is a pickle, but a model.pt is needed here; 'prunekit shrink' makes one from it if it holds a policy",
    "old_torch": "is an old torch file, but a model.pt is needed here; 'prunekit shrink' makes one from it",
    "safetensors": "is a safetensors file, but a model.pt is needed here; 'prunekit export' reads it",
    "hdf5": "is an HDF5 file, but a model.pt is needed here",
    "msgpack": "is a msgpack file, but a model.pt is needed here",
    "tflite": "is a TensorFlow Lite file, but a model.pt is needed here",
    "tensorflow": "is a TensorFlow folder, but a model.pt is needed here",
}
# ONNX begins with its version, a small number, and its next field: the producer, the opsets or the graph.
_ONNX_FIELDS = b"\x12\x1a\x22\x28\x32\x3a\x42"
_PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_HDF5 = b"\x89HDF\r\n\x1a\n"
# flax writes a list or a map of its trees, by the names of their parts.
_PACKED = bytes(range(0x81, 0xA0))
_PACKED_TEXT = bytes(range(0xA1, 0xC0))
_LONGEST_START = 32


def kind_of(path: Path) -> Kind:
    """Return the kind of the file at ``path``; of a zip archive only the names of its entries are read."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # zipfile raises many types for what is no zip, or a damaged one
        return _kind_of_start(path)
    inner = {name.split("/", 1)[-1] for name in names}
    if any(name.startswith("code/") for name in inner) or "constants.pkl" in inner:
        return "torchscript"
    if "policy.pth" in names:
        return "sb3"
    if {"data", "pytorch_variables.pth"} <= set(names):
        return "sbx"
    return "torch" if "data.pkl" in inner else "unknown"


def foreign_advice(path: Path) -> str | None:
    """Return what a file is, in words that follow its name, if it cannot be a ``model.pt``; otherwise None."""
    kind = kind_of(path)
    return None if kind in ("torch", "unknown") else _ADVICE[kind]


def _kind_of_start(path: Path) -> Kind:
    try:
        if path.is_dir():
            return "tensorflow" if (path / "saved_model.pb").is_file() else "unknown"
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(_LONGEST_START)
    except OSError:
        return "unknown"
    if start.startswith(_HDF5):
        return "hdf5"
    if start[4:8] == b"TFL3":
        return "tflite"
    if start.startswith(_OLD_TORCH):
        return "old_torch"
    if start[8:9] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= size - 8:
        return "safetensors"
    if start[:1] == b"\x08" and start[1:2] < b"\x20" and start[2:3] and start[2:3] in _ONNX_FIELDS:
        return "onnx"
    if start[:2] in _PICKLE:
        return "pickle"
    packed = len(start) == _LONGEST_START and start[0] in _PACKED and start[1] in _PACKED_TEXT + _PACKED
    return "msgpack" if packed else "unknown"
