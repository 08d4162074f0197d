"""Layers, reductions, and other ops over axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.op import Array, Op
from prunekit.ops.affine import Affine
from prunekit.ops.reduce import Reduce
from prunekit.readers.lowering.builder import Builder, as_floats, positions
from prunekit.readers.lowering.values import Data, Dims, leading


def affine(build: Builder, x: Data, weight: Array, bias: Array | None = None) -> Data:
    """Return x @ weight.T + bias over the last axis; weight [out, in], bias [out]."""
    if not x.dims or x.dims[-1] != weight.shape[1]:
        raise InputError(f"multiplies values of shape {list(x.dims)} by weights for {weight.shape[1]}")
    shift = np.zeros(len(weight)) if bias is None else bias
    op = Affine(weight=as_floats(weight), bias=as_floats(np.broadcast_to(shift, (len(weight),))))
    name = build.add(op, build.shaped(x, (*leading(x.dims), x.dims[-1])))
    return Data(name=name, dims=(*x.dims[:-1], len(weight)))


def transposed(build: Builder, x: Data) -> Data:
    """Return ``x`` with its last two axes swapped."""
    return build.moved(x, np.swapaxes(positions(x.dims), -1, -2))


def normal_axes(axes: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Return ``axes`` counted from 0 and sorted, or all axes for None; raises InputError for an axis that does not
    exist.
    """
    found = sorted({int(axis) for axis in axes}) if axes is not None else list(range(rank))
    if not all(-rank <= axis < rank for axis in found):
        raise InputError(f"names axes {found} of a value of {rank}; export the policy again")
    return tuple(sorted({axis % rank for axis in found}))


def over_axes(build: Builder, x: Data, axes: Sequence[int], op_of: Callable[[int], Op]) -> Data:
    """Apply an op over ``axes``, joined into one; the result has the shape of ``x``.

    ``op_of`` takes the number of values along the joined axis.
    """
    order, last = _order(x.dims, axes)
    size = math.prod(x.dims[axis] for axis in axes)
    turned = build.moved(x, last)
    lead = tuple(n for axis, n in enumerate(x.dims) if axis not in axes and n != 1)
    name = build.add(op_of(size), build.shaped(turned, (*lead, size)))
    made = Data(name=name, dims=last.shape)
    return build.moved(made, positions(last.shape).transpose(np.argsort(order)))


def reduced(build: Builder, x: Data, axes: Sequence[int], kind: str, *, keep: bool) -> Data:
    """Reduce ``axes`` with the ``kind`` of ``Reduce``; ``keep`` leaves them with size one."""
    dims = tuple(1 if axis in axes else size for axis, size in enumerate(x.dims))
    after = dims if keep else tuple(size for axis, size in enumerate(x.dims) if axis not in axes)
    size = math.prod(x.dims[axis] for axis in axes)
    if size == 1:
        return Data(name=x.name, dims=after)
    _, last = _order(x.dims, axes)
    lead = tuple(n for axis, n in enumerate(x.dims) if axis not in axes and n != 1)
    name = build.add(Reduce(kind=kind), build.shaped(build.moved(x, last), (*lead, size)))  # type: ignore[arg-type]
    return Data(name=name, dims=after)


def _order(dims: Dims, axes: Sequence[int]) -> tuple[list[int], Array]:
    """Return the order of axes that puts ``axes`` last, and the positions of all values in that order."""
    order = [axis for axis in range(len(dims)) if axis not in axes] + list(axes)
    return order, positions(dims).transpose(order)
