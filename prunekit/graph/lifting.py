"""The registry that maps torch to ops: by type of module, and by function or tensor method.

The files of ops fill both tables. Anything that is in neither is refused by name during tracing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, final

import numpy as np

from prunekit.errors import CouplingError
from prunekit.graph.op import Array, Op, Spec
from prunekit.lazy import nn, torch

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Traced:
    """A value during tracing: its name in the graph, and its spec."""

    name: str
    spec: Spec


@final
@dataclass(frozen=True, kw_only=True)
class Lifted:
    """An op read from torch, its inputs (values or other ops), and the module attribute behind each of its fields."""

    op: Op
    inputs: tuple[Traced | Lifted, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)


Result = Lifted | Traced | tuple[Lifted, ...] | None
"""An op; or the value that comes out as it went in; or an op per value; or None where it is no op that is known."""

_Reader = TypeVar("_Reader", bound=Callable[..., Result])
_Resize = TypeVar("_Resize", bound=Callable[[Any], "nn.Module"])


@final
@dataclass(frozen=True, kw_only=True)
class Resize:
    """How to adapt a module after its tensors have lost units: ``function`` returns the module to use.

    ``replaces`` says whether that is a new module. Otherwise the object stays the same.
    """

    function: Callable[[Any], nn.Module]
    replaces: bool


Kinds = Callable[[], tuple["type[nn.Module]", ...]]
"""Gives types of modules; a function, so that ops are registered without importing torch."""

_MODULES: dict[type[nn.Module], Callable[..., Result]] = {}
_FUNCTIONS: dict[object, Callable[..., Result]] = {}
_RESIZED: dict[type[nn.Module], Resize] = {}
_waiting: list[Callable[[], None]] = []


def modules() -> dict[type[nn.Module], Callable[..., Result]]:
    """Return the functions that read modules, keyed by type; each is called with (module, *arguments of the call)."""
    _settle()
    return _MODULES


def functions() -> dict[object, Callable[..., Result]]:
    """Return the functions that read calls, keyed by function or method name; each is called with the arguments, values
    as ``Traced``.
    """
    _settle()
    return _FUNCTIONS


def resizes() -> dict[type[nn.Module], Resize]:
    """Return the ``Resize`` of each module type that can lose units physically."""
    _settle()
    return _RESIZED


def resized(kinds: Kinds, *, replaces: bool = False) -> Callable[[_Resize], _Resize]:
    """Return a decorator that registers its function as the ``Resize`` of exactly the module types in ``kinds()``."""

    def keep(function: _Resize) -> _Resize:
        _waiting.append(lambda: _RESIZED.update(dict.fromkeys(kinds(), Resize(function=function, replaces=replaces))))
        return function

    return keep


def from_module(kinds: Kinds) -> Callable[[_Reader], _Reader]:
    """Return a decorator that registers its function for modules of exactly the types in ``kinds()``."""

    def keep(function: _Reader) -> _Reader:
        _waiting.append(lambda: _MODULES.update(dict.fromkeys(kinds(), function)))
        return function

    return keep


def from_function(targets: Callable[[], tuple[object, ...]]) -> Callable[[_Reader], _Reader]:
    """Return a decorator that registers its function for calls of ``targets()``: functions, or names of tensor
    methods.
    """

    def keep(function: _Reader) -> _Reader:
        _waiting.append(lambda: _FUNCTIONS.update(dict.fromkeys(targets(), function)))
        return function

    return keep


def _settle() -> None:
    """Evaluate all pending registrations. Without torch they stay pending."""
    while _waiting:
        _waiting[0]()
        del _waiting[0]


def array_of(tensor: Tensor) -> Array:
    """Return a copy of ``tensor`` as float32, or float64 if it is float64; raises CouplingError for other dtypes."""
    if tensor.is_meta or not tensor.is_floating_point():
        told = "on the device 'meta'" if tensor.is_meta else str(tensor.dtype).removeprefix("torch.")
        raise CouplingError(f"its weights are {told}, but only real floating-point values in memory can be read")
    kind = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    return np.array(tensor.detach().cpu().to(kind).numpy())


def constant_of(value: object, size: int) -> Array | None:
    """Return a number, or a tensor with one number or one per value of the last axis, as a vector [size]; otherwise
    None.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return np.full(size, value, np.float32)
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return None
    if value.numel() not in (1, size) or (value.dim() and value.shape[-1] != value.numel()):
        return None
    return np.ascontiguousarray(np.broadcast_to(array_of(value).reshape(-1), (size,)))


def is_last(dimension: object, value: Traced) -> bool:
    """Return whether ``dimension`` (with batch axis) is the last axis of ``value``."""
    return isinstance(dimension, int) and dimension in (-1, len(value.spec.shape)) and len(value.spec.shape) > 0
