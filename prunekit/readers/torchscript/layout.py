"""Operators that only move elements, ask for shapes, or write elements. They make no node.

They run as torch's own operators on the names of the elements, so they give views or copies exactly where torch does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prunekit.readers.torchscript.operators import Values
from prunekit.readers.torchscript.symbols import Condition, Names, Symbol, symbol_of, within
from prunekit.readers.torchscript.tracer import FORMS, Call, form_of, names_of, write_of
from prunekit.readers.torchscript.values import DTYPE_NUMBERS, number, typed

_MOVING = """
broadcast_to chunk clone contiguous diagonal expand expand_as expand_copy flatten flip gather index index_select movedim
narrow numpy_T permute ravel repeat reshape reshape_as roll select slice split split_with_sizes squeeze swapaxes t
take_along_dim tile transpose unbind unflatten unsafe_chunk unsqueeze view view_as
"""
_JOINING = "cat concat concatenate hstack stack vstack"
_LIKE = "empty_like full_like new_full new_ones new_zeros ones_like zeros_like"


def _moving(name: str) -> None:
    @form_of(name)
    def _(call: Call, x: object, *rest: Any, **options: Any) -> Any:
        if not isinstance(x, Symbol):
            return None
        if within(list(rest), Symbol) and name not in ("expand_as", "reshape_as", "view_as"):
            raise call.refused(" at places that depend on the observation, which a graph cannot express")
        places = [entry.at if isinstance(entry, Symbol) else entry for entry in rest]
        return _moved(x, call.operator([x.at, *places], options, call.run))


def _moved(x: Symbol, places: Any) -> Any:
    if isinstance(places, list | tuple):
        return [_moved(x, entry) for entry in places]
    if places.untyped_storage().data_ptr() == x.at.untyped_storage().data_ptr():
        return Symbol(cell=x.cell, at=places)
    return symbol_of(x.cell.names[places.numpy()], x.cell.dtype)


def _joining(name: str) -> None:
    @form_of(name)
    def _(call: Call, parts: Sequence[Any], *rest: Any) -> Symbol:
        names = [torch.from_numpy(np.ascontiguousarray(names_of(call.building, part))) for part in parts]
        return symbol_of(call.operator([names, *rest], {}, call.run).numpy(), _common(call, parts))


def _common(call: Call, parts: Sequence[Any]) -> torch.dtype:
    dtypes = [part.cell.dtype for part in parts if isinstance(part, Symbol)]
    if not all(dtype.is_floating_point for dtype in dtypes):
        raise call.refused(" on integers that depend on the observation, which a graph cannot express")
    return dtypes[0]


def _like(name: str) -> None:
    @form_of(name)
    def _(call: Call, x: object, *rest: Any, **options: Any) -> Any:
        if not isinstance(x, Symbol):
            return None
        return call.operator([torch.zeros(x.shape, dtype=x.cell.dtype), *rest], options, call.run)


for _name in _MOVING.split():
    _moving(_name)
for _name in _JOINING.split():
    _joining(_name)
for _name in _LIKE.split():
    _like(_name)


@form_of("size", "shape")
def _size(_: Call, x: Symbol, axis: int | None = None) -> Any:
    return list(x.shape) if axis is None else x.shape[axis]


@form_of("dim", "ndimension", "ndim")
def _dim(_: Call, x: Symbol) -> int:
    return x.at.dim()


@form_of("len")
def _len(_: Call, x: Symbol) -> int:
    return len(x.at)


@form_of("numel")
def _numel(_: Call, x: Symbol) -> int:
    return x.at.numel()


@form_of("dtype")
def _dtype(_: Call, x: Symbol) -> int:
    return DTYPE_NUMBERS[x.cell.dtype]


@form_of("device", "layout", "is_cuda", "requires_grad", "type")
def _place(call: Call, x: Symbol) -> Any:
    return call.operator([torch.zeros(0, dtype=x.cell.dtype)], {}, call.run)


@form_of("is_floating_point")
def _is_floating_point(_: Call, x: Symbol) -> bool:
    return x.cell.dtype.is_floating_point


@form_of("detach", "alias", "cpu", "data", "positive", "unchecked_unwrap_optional")
def _as_it_is(_: Call, x: Any) -> Any:
    return x


@form_of("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout")
def _dropout(call: Call, *values: Any, **options: Any) -> Any:
    return call.operator(list(values), options, call.run)


@form_of("to", "type_as")
def _to(call: Call, x: Any, *others: Any, **options: Any) -> Any:
    if others and isinstance(others[0], Symbol):
        wanted: torch.dtype | None = others[0].cell.dtype
    elif others and isinstance(others[0], Tensor):
        wanted = others[0].dtype
    else:
        wanted = typed(options.get("dtype", next((other for other in others if type(other) is int), None)))
    if isinstance(x, Tensor):
        return x if wanted is None else x.to(wanted)
    if isinstance(x, Condition):
        return _chosen(call, x, wanted)
    if wanted is None or wanted == x.cell.dtype:
        return x
    if wanted not in (torch.float32, torch.float64) or not x.cell.dtype.is_floating_point:
        told = str(wanted).removeprefix("torch.")
        raise call.refused(f", which makes {told} of a value that depends on the observation")
    return symbol_of(x.names, wanted)


def _chosen(call: Call, condition: Condition, wanted: torch.dtype | None) -> Any:
    """Return a condition as floats: 1 where it is true, 0 elsewhere."""
    if wanted is None or not wanted.is_floating_point:
        return None
    return FORMS["where"](call, condition, torch.tensor(1.0), torch.tensor(0.0))


@form_of("constant_pad_nd")
def _padded(call: Call, x: Symbol, pads: list[int], value: Any = 0.0) -> Symbol:
    filler = int(names_of(call.building, float(number(value) or 0.0)).reshape(-1)[0])
    names = torch.ops.aten.constant_pad_nd(torch.from_numpy(np.ascontiguousarray(x.names)), pads, filler)
    return symbol_of(names.numpy(), x.cell.dtype)


@form_of("pad")
def _pad(call: Call, x: Symbol, pads: list[int], mode: str = "constant", value: Any = None) -> Symbol | None:
    return _padded(call, x, pads, value) if mode == "constant" else None


def _broadcast(call: Call, source: Any, shape: Sequence[int]) -> Names:
    return np.broadcast_to(names_of(call.building, source), tuple(shape))


@write_of("copy", "fill")
def _copy(call: Call, x: Symbol, source: Any, *_: Any) -> Names:
    return _broadcast(call, source, x.shape)


@write_of("zero")
def _zero(call: Call, x: Symbol) -> Names:
    return _broadcast(call, 0.0, x.shape)


@write_of("masked_fill")
def _masked_fill(call: Call, x: Symbol, mask: Any, value: Any) -> Names | None:
    if not isinstance(mask, Tensor):
        return None
    return np.where(np.broadcast_to(mask.numpy(), tuple(x.shape)), _broadcast(call, value, x.shape), x.names)


@write_of("index_put")
def _index_put(call: Call, x: Symbol, indices: Values, source: Any, accumulate: bool = False) -> Names | None:
    if accumulate or not all(index is None or isinstance(index, Tensor) for index in indices):
        return None
    places = torch.ops.aten.index(torch.arange(x.at.numel()).view(list(x.shape)), indices)
    names = np.array(x.names).reshape(-1)
    names[places.numpy()] = _broadcast(call, source, places.shape)
    return names.reshape(tuple(x.shape))
