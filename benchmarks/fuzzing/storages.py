"""What the tensors of a torch archive claim, against what the archive holds.

A reader that accepts a tensor beyond its record reads memory that is not the file's, which need not crash. So what a
reader has accepted is judged here once more, from the pickle alone and without torch.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import zipfile
from typing import Any

_MOST = 2**24
_SIZES = {
    "Float": 4,
    "Double": 8,
    "Half": 2,
    "BFloat16": 2,
    "Long": 8,
    "Int": 4,
    "Short": 2,
    "Char": 1,
    "Byte": 1,
    "Bool": 1,
    "ComplexFloat": 8,
    "ComplexDouble": 16,
    "QInt8": 1,
    "QUInt8": 1,
    "QInt32": 4,
}


class _Anything:
    """Stands for every object that a pickle makes; keeps nothing."""

    def __new__(cls, *_: object, **__: object) -> _Anything:
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None:
        pass

    def __setitem__(self, _: object, __: object) -> None:
        pass

    def append(self, _: object) -> None:
        """Take an item of a list."""

    def extend(self, _: object) -> None:
        """Take items of a list."""

    def __hash__(self) -> int:
        return id(self)


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self.tensors: list[tuple[Any, ...]] = []
        self.storages: list[tuple[Any, ...]] = []

    def find_class(self, module: str, name: str, /) -> Any:
        if name.endswith("Storage"):
            return name.removesuffix("Storage")
        if module == "torch._utils" and name.startswith("_rebuild_tensor"):
            return self._tensor
        return _Anything

    def persistent_load(self, reference: Any, /) -> Any:
        self.storages.append(reference)
        return reference

    def _tensor(self, *arguments: Any) -> _Anything:
        self.tensors.append(arguments)
        return _Anything()


def beyond(content: bytes) -> str | None:
    """Return the first claim of an archive that goes beyond its records; None where none does, or none can be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            names = [name for name in sizes if name.endswith(("/data.pkl", "/constants.pkl"))]
            pickles = {name: archive.read(name) for name in names if sizes[name] < _MOST}
    except Exception:  # what is no archive makes no claims
        return None
    for name, packed in pickles.items():
        unpickler = _Unpickler(packed)
        with contextlib.suppress(Exception):  # cut off, or of opcodes that torch alone knows: judge what was read
            unpickler.load()
        folder = name.removesuffix(".pkl")
        for claim in (
            *map(_tensor_beyond, unpickler.tensors),
            *(_beyond(one, sizes, folder) for one in unpickler.storages),
        ):
            if claim is not None:
                return f"{name}: {claim}"
    return None


def _beyond(storage: tuple[Any, ...], sizes: dict[str, int], folder: str) -> str | None:
    try:
        _, kind, key, _, count, *_ = storage
        held = sizes.get(f"{folder}/{key}")
        if held is not None and count * _SIZES[kind] > held:
            return f"storage {key!r} of {count} elements of {kind} over {held} bytes"
    except (ValueError, TypeError, KeyError):
        return None
    return None


def _tensor_beyond(arguments: tuple[Any, ...]) -> str | None:
    try:
        storage, offset, size, stride, *_ = arguments
        count = storage[4]
        if 0 in size:
            return None
        ends = [(axis - 1) * step for axis, step in zip(size, stride, strict=True)]
        last, first = offset + sum(max(end, 0) for end in ends), offset + sum(min(end, 0) for end in ends)
        if first < 0 or last >= count:
            return f"tensor of sizes {size}, strides {stride}, offset {offset} over {count} elements"
    except (ValueError, TypeError, IndexError):
        return None
    return None
