"""Kinds of files that are recognised but not read; each error says how to convert them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from prunekit.environments import Spaces
from prunekit.errors import ArtifactError
from prunekit.formats.kinds import Kind
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyOptions
from prunekit.readers.registry import Reader
from prunekit.readers.weights.policy import OPTIONS

_SAID: dict[Kind, tuple[str, str]] = {
    "tflite": (
        "tensorflow_lite",
        "is a TensorFlow Lite file, which is not read; convert it to ONNX with 'python -m tf2onnx.convert "
        "--tflite FILE "
        "--output policy.onnx'",
    ),
    "msgpack": (
        "flax",
        "was written by flax.serialization (msgpack), which is not read; write its parameters with "
        "safetensors.flax.save_file and name them with `layers`",
    ),
    "pickle": (
        "pickle",
        "is a pickle without arrays of layers; no policy was found in it, and its objects are not unpickled",
    ),
    "old_torch": ("old_torch", "is an old torch file without layers; no policy was found in it"),
    "safetensors": ("no_layers", "is a safetensors file without layers; no policy was found in it"),
    "torch": ("torch", "is a torch file without weights of layers; no policy was found in it"),
}


def _refusing(kind: Kind, name: str, words: str) -> Reader:
    return Reader(name=name, called="files", recognises=_of(kind), read=_refuse(words), options=OPTIONS)


def _of(kind: Kind) -> Callable[[Opened], bool]:
    return lambda opened: opened.container == kind


def _refuse(words: str) -> Callable[[Opened, PolicyOptions, Spaces | None], NoReturn]:
    def read(opened: Opened, _: PolicyOptions, __: Spaces | None) -> NoReturn:
        raise ArtifactError(f"{opened.path}: {words}")

    return read


READERS = tuple(_refusing(kind, name, words) for kind, (name, words) in _SAID.items())
