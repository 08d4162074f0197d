"""What kind of policy file a path leads to, by its content."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

Kind = Literal["torchscript", "sb3", "torch", "onnx", "pickle", "unknown"]

_ADVICE: dict[Kind, str] = {
    "torchscript": "is TorchScript, but a model.pt is needed here; 'prunekit compress' makes one of it",
    "sb3": "is a zip of Stable-Baselines3, but a model.pt is needed here; 'prunekit compress' makes one of it",
    "onnx": "is an ONNX file, but a model.pt is needed here; 'prunekit compress' makes one of it",
    "pickle": "is a pickle or a file of an old torch; only a model.pt written by prunekit is read",
}
# ONNX begins with its version, a small number, and its next field: the producer, the opsets or the graph.
_ONNX_FIELDS = b"\x12\x1a\x22\x28\x32\x3a\x42"
_PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def kind_of(path: Path) -> Kind:
    """Return what the file at ``path`` is; of a zip archive only the names of its entries are looked at."""
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
    return "torch" if "data.pkl" in inner else "unknown"


def foreign_advice(path: Path) -> str | None:
    """Return what a file is that cannot be a ``model.pt``, in words that follow its name; None of one that may be."""
    kind = kind_of(path)
    return None if kind in ("torch", "unknown") else _ADVICE[kind]


def _kind_of_start(path: Path) -> Kind:
    try:
        with path.open("rb") as stream:
            start = stream.read(3)
    except OSError:
        return "unknown"
    if start[:1] == b"\x08" and start[1:2] < b"\x20" and start[2:3] and start[2:3] in _ONNX_FIELDS:
        return "onnx"
    return "pickle" if start[:2] in _PICKLE else "unknown"
