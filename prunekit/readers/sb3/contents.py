"""The content of a Stable-Baselines3 zip: text, JSON and named tensors.

The zip's ``data`` is JSON. Values that JSON cannot hold are base64 pickles with readable text next to them. Nothing is
unpickled: spaces and activation come from the text, and layers and widths from the tensors in ``policy.pth``.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from torch import Tensor

from prunekit.errors import InputError
from prunekit.formats.text import shown
from prunekit.formats.torch_file import read_torch

MAX_ENTRY = 2**28
"""Bytes of one unpacked entry: 64 million weights, beyond any policy over vectors, and not yet a danger to the host."""
_MAX_DATA = 2**24
"""Bytes of the JSON beside weights."""
_MAX_VALUES = 2**20
"""Values in the JSON, each of which takes tens of bytes."""
_FREE, _UNPACKED = 2**20, 16
"""Bytes that an entry may unpack to, and how many more for each of the file: weights hardly shrink, bombs do."""
_VERSION_ENTRY = "_stable_baselines3_version"
_VERSION = re.compile(r"[012]\.\d{1,3}[\w.+]{0,20}")


@final
@dataclass(frozen=True, kw_only=True)
class Contents:
    """The plain parts of a zip. ``version`` is that of Stable-Baselines3, None if the file does not say it.

    ``weights`` are the bytes of ``policy.pth``, empty if there is none.
    """

    version: str | None
    data: Mapping[str, Any]
    weights: bytes

    def section(self, name: str) -> dict[str, Any]:
        """Return the part ``name`` of ``data``; raises InputError if it is missing."""
        section = self.data.get(name)
        if not isinstance(section, dict):
            raise InputError(f"its 'data' does not describe '{name}'; save the whole model")
        return section


def quoted(value: object) -> str:
    """Return ``value`` from a file as text that fits into one line of an error."""
    return repr(value)[:100]


def read_contents(path: Path, *, max_bytes: int = MAX_ENTRY) -> Contents:
    """Return the content of the zip at ``path``; each entry may unpack to at most ``max_bytes``.

    Raises InputError, and whatever zipfile and json raise for damaged files.
    """
    unpacked = _FREE + _UNPACKED * path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        version = _version_in(archive, min(unpacked, _MAX_DATA, max_bytes))
        weights = b""
        largest = max_bytes  # SBX, which has no such entry, keeps its weights in the JSON
        if "policy.pth" in archive.namelist():
            weights, largest = _entry(archive, "policy.pth", min(unpacked, max_bytes)), min(_MAX_DATA, max_bytes)
        text = _entry(archive, "data", min(unpacked, largest))
    if sum(map(text.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        raise InputError(f"its 'data' has more than {_MAX_VALUES:,} values, more than any policy over vectors needs")
    data = json.loads(text)
    if not isinstance(data, dict):
        raise InputError("its 'data' is not a JSON object")
    return Contents(version=version, data=data, weights=weights)


def _version_in(archive: zipfile.ZipFile, largest: int) -> str | None:
    if _VERSION_ENTRY not in archive.namelist():  # before 0.9
        return None
    version = _entry(archive, _VERSION_ENTRY, largest).decode().strip()
    if not _VERSION.fullmatch(version):
        raise InputError(f"was written by Stable-Baselines3 {quoted(version)}; only 1.x and 2.x are read")
    return version


def _entry(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    if name not in archive.namelist():
        raise InputError(f"holds no '{name}'; only a zip that Stable-Baselines3's save wrote is read")
    if archive.getinfo(name).file_size > largest:
        raise InputError(f"its '{name}' unpacks to more than {largest} bytes, more than any policy over vectors needs")
    return archive.read(name)


def tensors_in(content: bytes) -> dict[str, Tensor]:
    """Return the tensors in ``policy.pth``, keyed by name; raises InputError if it contains anything else."""
    if not content:
        raise InputError("holds no 'policy.pth'; only a zip that Stable-Baselines3's save wrote is read")
    try:
        state = read_torch(content)
    except InputError as error:
        raise InputError(f"its 'policy.pth' {error}") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    ):
        raise InputError("its 'policy.pth' is not a dictionary of named tensors")
    return dict(state)


def told(text: object) -> str:
    """Return the class name in the text that Python printed for a class, or the text itself with unsafe characters
    escaped.
    """
    found = re.fullmatch(r"<class '([\w.]+)'>", text) if isinstance(text, str) else None
    return shown(found[1] if found else text, 100)
