"""Tensors of torch's archives, made from their bytes after checking every number that describes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol, final

import torch
from torch import Tensor

from prunekit.errors import InputError
from prunekit.formats.pickles import Name, Record

MAX_AXES = 32
_LARGEST_SIZE = 2**40
_SHARED = 4
"""How many bytes of tensors a byte of the file may stand for: tensors that share a storage are written once."""

DTYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
_REBUILT = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
_OF_TYPE = "torch._tensor._rebuild_from_type_v2"  # a tensor of a class of its own; foreign files alone may name it
# Known to torch as harmless, but no tensors of numbers in memory: kept as records for the caller to refuse.
_OTHERS = frozenset(
    {
        *(f"torch._utils._rebuild_{kind}" for kind in ("sparse_tensor", "sparse_csr_tensor", "meta_tensor_no_storage")),
        *("torch.serialization._get_layout", "torch.device", "torch.Size", "torch.storage.UntypedStorage"),
        *(f"torch.{dtype}" for dtype in ("float16", "bfloat16", "float32", "float64", "int64", "int32", "bool")),
    }
)
_PLAIN = ("collections.OrderedDict", "builtins.set", "__builtin__.set", "_codecs.encode")
NAMES = frozenset({*DTYPES, *_OTHERS, *_PLAIN, _REBUILT, _PARAMETER})
"""What a pickle of tensors and plain values names."""


@final
@dataclass(frozen=True, kw_only=True)
class Storage:
    """``count`` elements in the archive's entry ``entry``."""

    dtype: torch.dtype
    entry: str
    count: int


class Storages(Protocol):
    """The storages of tensors, ``size`` bytes in all: in a zip archive, or at the end of an old file."""

    @property
    def size(self) -> int:
        """The size of the whole file in bytes."""
        ...

    def held(self, name: str) -> int:
        """Return the size of the storage ``name`` in bytes."""
        ...

    def read(self, name: str) -> bytearray:
        """Return its bytes."""
        ...


@final
@dataclass(kw_only=True)
class TensorDecoder:
    """Makes the tensors of one pickle, whose storages are entries of ``archive`` in ``folder``."""

    archive: Storages
    folder: str
    left_bytes: int = field(init=False)
    loaded: dict[str, tuple[torch.dtype, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.left_bytes = _SHARED * self.archive.size

    def stored(self, reference: object) -> Storage:
        """Return the storage that the pickle refers to; raises InputError for anything else.

        A storage is checked against its entry, whether a tensor uses it or not.
        """
        match reference:
            case ("storage", Name(kind), str(key), str(), int(count)) if kind in DTYPES:
                storage = Storage(dtype=DTYPES[kind], entry=f"{self.folder}/{key}", count=count)
                _require_held(storage, self.archive.held(storage.entry))
                return storage
            case ("storage", Name(kind), *_):
                raise InputError(f"holds numbers of the type {kind[:60]!r}, which no policy needs")
            case _:
                raise InputError("refers to objects outside the file, so it was not loaded")

    def made(self, name: str, arguments: tuple[Any, ...]) -> object:
        """Return the tensor that a call in the pickle describes, or a ``Record`` of any other call."""
        match name, arguments:
            case (name, (Storage() as storage, offset, tuple(sizes), tuple(strides), *_)) if name == _REBUILT:
                return self._tensor(storage, offset, sizes, strides)
            case (name, (Tensor() as tensor, *_)) if name == _PARAMETER:
                return tensor
            case (name, (Name(inner), _, tuple(given), *_)) if name == _OF_TYPE and inner != _OF_TYPE:
                return self.made(inner, given)
            case (name, _) if name in (_REBUILT, _PARAMETER):
                raise InputError("describes a tensor in an unknown way; it is damaged, save it again")
        return Record(name, arguments)

    def _tensor(self, storage: Storage, offset: object, sizes: tuple[Any, ...], strides: tuple[Any, ...]) -> Tensor:
        numbers = (offset, storage.count, *sizes, *strides)
        if any(type(number) is not int or number < 0 for number in numbers) or len(sizes) != len(strides):
            raise InputError("holds a tensor whose sizes, strides or offset are not non-negative integers")
        if len(sizes) > MAX_AXES or max(sizes, default=0) > _LARGEST_SIZE:
            raise InputError(f"holds a tensor of more than {MAX_AXES} axes or {_LARGEST_SIZE:,} elements along one")
        assert isinstance(offset, int)
        count = math.prod(sizes)
        if count > storage.count:
            raise InputError(
                f"holds a tensor of {_counted(count)} over a storage of {_counted(storage.count)}, larger than itself"
            )
        last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) if count else 0
        if last >= storage.count and count:
            raise InputError(f"holds a tensor that reaches beyond its storage of {_counted(storage.count)}")
        self.left_bytes -= count * storage.dtype.itemsize
        if self.left_bytes < 0:
            raise InputError("names tensors larger than itself, so it was not loaded")
        values = self._values(storage)
        if not count:
            return torch.empty(sizes, dtype=storage.dtype)
        return values.as_strided(sizes, strides, offset)

    def _values(self, storage: Storage) -> Tensor:
        found = self.loaded.get(storage.entry)
        if found is None:
            found = self.loaded[storage.entry] = (storage.dtype, _decoded(self.archive.read(storage.entry), storage))
        dtype, values = found
        if dtype != storage.dtype or values.numel() != storage.count:
            raise InputError(f"describes its entry in two ways: {storage.entry[:100]!r}; it is damaged, save it again")
        return values


def _require_held(storage: Storage, held: int) -> None:
    if held != storage.count * storage.dtype.itemsize:
        raise InputError(
            f"its entry {storage.entry[:100]!r} has {held:,} bytes, not the {_counted(storage.count)} of "
            f"{storage.dtype.itemsize} bytes that it states, so it was not loaded"
        )


def _decoded(content: bytearray, storage: Storage) -> Tensor:
    if storage.dtype == torch.bool and len(content) != content.count(0) + content.count(1):
        raise InputError(f"its entry {storage.entry[:100]!r} holds booleans that are neither 0 nor 1")
    return torch.frombuffer(content, dtype=storage.dtype) if content else torch.empty(0, dtype=storage.dtype)


def _counted(count: int) -> str:
    return f"{count:,} elements" if count < 10**15 else "more than 10**15 elements"
