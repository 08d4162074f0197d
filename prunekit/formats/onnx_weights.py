"""Weights that an ONNX file stores in separate files, loaded into the model."""

from __future__ import annotations

import math
import os
from pathlib import Path, PureWindowsPath

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from prunekit.errors import ArtifactError
from prunekit.formats.onnx_file import NUMBERS, all_tensors
from prunekit.formats.text import shown

_LARGEST = 2**31 - 2**20  # what one protobuf message can hold, the graph beside the weights
_SHARED = 4  # how often, on average, a byte beside may be read: tied weights are, bombs are


def self_contained(path: Path) -> tuple[bytes, int]:
    """Return (the model at ``path`` with all its weights inside, bytes on disk).

    Only files in the folder of ``path`` or below it are read, even through links. Raises ArtifactError, naming
    ``path``, if the file or its weights cannot be read, or are not as large as the file says.
    """
    try:
        content = path.read_bytes()
        model = onnx.ModelProto.FromString(content)
        outside = [tensor for tensor in all_tensors(model) if _is_outside(tensor)]
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (DecodeError, RecursionError) as error:
        raise ArtifactError(f"{path}: is damaged, or not an ONNX file; export it again") from error
    if not outside:
        return content, len(content)
    sizes: dict[Path, int] = {}
    total = 0
    for tensor in outside:
        file, offset, length = _place_of(tensor, path)
        sizes[file] = file.stat().st_size
        total += length
        if offset + length > sizes[file]:
            raise _refusal(path, f"'{shown(tensor.name)}' lies beyond the end of {shown(file.name)}")
        if total > min(_SHARED * sum(sizes.values()), _LARGEST):
            raise _refusal(path, "they are larger than what lies there")
        try:
            with file.open("rb") as stream:
                stream.seek(offset)
                tensor.raw_data = stream.read(length)
        except OSError as error:
            raise _refusal(path, f"{shown(file.name)}: {error.strerror or error}") from error
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT
    return model.SerializeToString(), len(content) + sum(sizes.values())


def weights_beside(path: Path) -> list[Path]:
    """Return the existing weight files of the ONNX file at ``path``, as far as it can be read.

    Files of other kinds have none. ``self_contained`` reports errors.
    """
    if path.suffix.lower() != ".onnx":
        return []
    try:
        tensors = [one for one in all_tensors(onnx.ModelProto.FromString(path.read_bytes())) if _is_outside(one)]
        return sorted({_place_of(tensor, path)[0] for tensor in tensors})
    except (OSError, DecodeError, RecursionError, ArtifactError):
        return []


def _is_outside(tensor: TensorProto) -> bool:
    return tensor.data_location == TensorProto.EXTERNAL or bool(tensor.external_data)


def _place_of(tensor: TensorProto, path: Path) -> tuple[Path, int, int]:
    """Return (file, offset, length) of the weights of ``tensor``, checked against its stated size."""
    entries = {shown(entry.key): entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if not isinstance(location, str) or not location or "\0" in location:
        raise _refusal(path, f"'{shown(tensor.name)}' does not say in which")
    if Path(location).is_absolute() or PureWindowsPath(location).anchor or ".." in PureWindowsPath(location).parts:
        raise _refusal(path, f"'{shown(location)}' is not in its folder")
    folder, file = Path(os.path.realpath(path.parent)), Path(os.path.realpath(path.parent / location))
    if not file.is_relative_to(folder):
        raise _refusal(path, f"'{shown(location)}' leads out of its folder")
    if not _is_file(file):
        raise _refusal(path, f"there is no file '{shown(location)}'")
    wanted = _bytes_of(tensor, path)
    offset, length = _number(entries.get("offset", "0"), path), _number(entries.get("length", str(wanted)), path)
    if length != wanted:
        raise _refusal(path, f"'{shown(tensor.name)}' takes {wanted} bytes, but {length} are named")
    return file, offset, length


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _bytes_of(tensor: TensorProto, path: Path) -> int:
    if tensor.data_type not in NUMBERS or any(not 0 <= size < 2**31 for size in tensor.dims):
        raise _refusal(path, f"'{shown(tensor.name)}' holds no plain numbers or has impossible sizes")
    count: int = math.prod(tensor.dims)
    return count * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _number(text: str | bytes, path: Path) -> int:
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 18:
        raise _refusal(path, f"'{shown(text)}' is not a position in a file")
    return int(text)


def _refusal(path: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"{path}: the weights that it keeps in another file cannot be read ({reason}); export it as one file"
    )
