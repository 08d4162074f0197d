"""How ops are recognised in torch: by the type of a module, or by a function or tensor method that is called.

Both are allow-lists, filled in by the ops' own files. What is in neither is refused by name when a network is traced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, final

import numpy as np
import torch
from torch import Tensor, nn

from prunekit.errors import CouplingError
from prunekit.graph.op import Array, Op, Spec


@final
@dataclass(frozen=True, kw_only=True)
class Traced:
    """A value while a network is traced: its name in the graph, and its spec."""

    name: str
    spec: Spec


@final
@dataclass(frozen=True, kw_only=True)
class Lifted:
    """An op read from torch, what it reads (ops too), and by which attribute of the module its fields go."""

    op: Op
    inputs: tuple[Traced | Lifted, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)


Result = Lifted | Traced | tuple[Lifted, ...] | None
"""An op; or the value that comes out as it went in; or an op per value; or None where it is no op that is known."""

_Reader = TypeVar("_Reader", bound=Callable[..., Result])
_Resize = TypeVar("_Resize", bound=Callable[[Any], nn.Module])

MODULES: dict[type[nn.Module], Callable[..., Result]] = {}
"""(module, *what it is called with)."""

FUNCTIONS: dict[object, Callable[..., Result]] = {}
"""(*arguments of the torch function, values being ``Traced``); a tensor method is known by its name."""


@final
@dataclass(frozen=True, kw_only=True)
class Resize:
    """How a module works on after its tensors have lost units: ``function`` returns it, or one in its place.

    It stays the object that it is unless it ``replaces``.
    """

    function: Callable[[Any], nn.Module]
    replaces: bool


RESIZED: dict[type[nn.Module], Resize] = {}
"""Modules that can lose units physically."""


def resized(*kinds: type[nn.Module], replaces: bool = False) -> Callable[[_Resize], _Resize]:
    """Return a decorator that makes its function resize modules of exactly the types ``kinds``."""

    def keep(function: _Resize) -> _Resize:
        RESIZED.update(dict.fromkeys(kinds, Resize(function=function, replaces=replaces)))
        return function

    return keep


def from_module(*kinds: type[nn.Module]) -> Callable[[_Reader], _Reader]:
    """Return a decorator that makes its function read modules of exactly the types ``kinds``."""

    def keep(function: _Reader) -> _Reader:
        MODULES.update(dict.fromkeys(kinds, function))
        return function

    return keep


def from_function(*targets: object) -> Callable[[_Reader], _Reader]:
    """Return a decorator that makes its function read calls of ``targets``: functions, or names of tensor methods."""

    def keep(function: _Reader) -> _Reader:
        FUNCTIONS.update(dict.fromkeys(targets, function))
        return function

    return keep


def array_of(tensor: Tensor) -> Array:
    """Return a copy of ``tensor`` as float32, or as float64 where it is that; CouplingError for other types."""
    if tensor.is_meta or not tensor.is_floating_point():
        told = "on the device 'meta'" if tensor.is_meta else str(tensor.dtype).removeprefix("torch.")
        raise CouplingError(f"its weights are {told}, but only real floating-point values in memory can be read")
    kind = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    return np.array(tensor.detach().cpu().to(kind).numpy())


def constant_of(value: object, size: int) -> Array | None:
    """Return a number, or a tensor of one number or of one per value of the last axis, as a vector; else None."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return np.full(size, value, np.float32)
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return None
    if value.numel() not in (1, size) or (value.dim() and value.shape[-1] != value.numel()):
        return None
    return np.ascontiguousarray(np.broadcast_to(array_of(value).reshape(-1), (size,)))


def is_last(dimension: object, value: Traced) -> bool:
    """Return whether ``dimension`` (batch counted) is the last one of ``value``."""
    return isinstance(dimension, int) and dimension in (-1, len(value.spec.shape)) and len(value.spec.shape) > 0
