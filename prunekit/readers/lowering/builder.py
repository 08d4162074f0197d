"""The builder of a graph during reading: it adds nodes, views, moves of values, and constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.graph.graph import Node, Port
from prunekit.graph.op import Array, Op, Spec, name_of
from prunekit.ops.concat import Concat
from prunekit.ops.constant import Constant
from prunekit.ops.flatten import Flatten
from prunekit.ops.reshape import Reshape
from prunekit.ops.slice import Slice
from prunekit.ops.take import Take
from prunekit.readers.lowering.values import Data, Dims, Known, core, leading

Indices = NDArray[np.int64]
_MAX_NODES = 20_000


@final
class Builder:
    """Adds ops to a graph, one after the other; ``label`` is the name of the next nodes."""

    def __init__(self, ports: Sequence[Port]) -> None:
        self.ports = tuple(ports)
        self.nodes: list[Node] = []
        self.label = "value"
        self.specs: dict[str, Spec] = {port.name: port.spec for port in ports}
        self._shaped: dict[tuple[str, Dims], str] = {}
        self._counts: dict[str, int] = {}

    def add(self, op: Op, *names: str) -> str:
        """Add a node and return the name of its output; raises InputError if the inputs do not fit."""
        if len(self.nodes) >= _MAX_NODES:
            raise InputError(f"takes more than {_MAX_NODES:,} ops; export a smaller graph")
        try:
            (spec,) = op.shapes([self.specs[name] for name in names])
        except InputError as error:
            raise InputError(f"does not fit ({name_of(op)}: {error})") from error
        name = self._new_name()
        self.nodes.append(Node(op=op, inputs=names, outputs=(name,)))
        self.specs[name] = spec
        return name

    def _new_name(self) -> str:
        name = self.label
        while name in self.specs or name in ("", "action", "outputs"):
            self._counts[self.label] = self._counts.get(self.label, 0) + 1
            name = f"{self.label}.{self._counts[self.label]}"
        return name

    def shaped(self, x: Data, shape: Dims) -> str:
        """Return the name of ``x`` reshaped to ``shape``, which holds the same number of values."""
        if self.specs[x.name].shape == shape:
            return x.name
        key = (x.name, shape)
        if key not in self._shaped:
            self._shaped[key] = self.add(Flatten() if len(shape) == 1 else Reshape(shape=shape), x.name)
        return self._shaped[key]

    def pointwise(self, op: Op, x: Data) -> Data:
        """Apply an element-wise op to ``x`` of any shape."""
        return Data(name=self.add(op, x.name), dims=x.dims)

    def together(self, op: Op, *values: Data) -> Data:
        """Apply an element-wise op to several values after broadcasting them to one shape."""
        dims = broadcast_dims(*(value.dims for value in values))
        names = [self.shaped(self.broadcast(value, dims), core(dims)) for value in values]
        return Data(name=self.add(op, *names), dims=dims)

    def per_value(self, x: Data, arrays: Sequence[Array], op_of: Callable[..., Op]) -> Data:
        """Apply an op with constants per value; ``op_of`` takes these constants as vectors over the last axis."""
        dims = broadcast_dims(x.dims, *(array.shape for array in arrays))
        x = self.broadcast(x, dims)
        rows = [np.broadcast_to(array, dims).reshape(-1, core(dims)[-1]) for array in arrays]
        if all((row == row[:1]).all() for row in rows):
            return Data(
                name=self.add(op_of(*(as_floats(row[0]) for row in rows)), self.shaped(x, core(dims))), dims=dims
            )
        flat = self.shaped(x, (math.prod(dims),))
        return Data(name=self.add(op_of(*(as_floats(row.ravel()) for row in rows)), flat), dims=dims)

    def broadcast(self, x: Data, dims: Dims) -> Data:
        """Return ``x`` repeated along its axes of size one, so it has the shape ``dims``."""
        return x if x.dims == dims else self.moved(x, np.broadcast_to(positions(x.dims), dims))

    def moved(self, x: Data, indices: Indices) -> Data:
        """Return the values of ``x`` at the row-major positions ``indices``, in the shape of ``indices``."""
        dims, count = indices.shape, math.prod(x.dims)
        if not indices.size:
            raise InputError("gives an empty value; export the policy without it")
        flat = indices.ravel()
        if flat.size == count and (flat == np.arange(count)).all():
            return Data(name=x.name, dims=dims)
        lead, size = core(x.dims)[:-1], core(x.dims)[-1]
        rows = flat.reshape(math.prod(lead), -1) if flat.size % math.prod(lead) == 0 else flat[None]
        offsets = np.arange(len(rows))[:, None] * size
        inside = len(rows) == math.prod(lead) and (rows - offsets == rows[:1]).all() and (rows[:1] < size).all()
        if not inside:
            lead, size, rows = (), count, flat[None]
        name = self.add(_selection(rows[0], size), self.shaped(x, (*lead, size)))
        return Data(name=name, dims=dims)

    def constant(self, array: Array) -> Data:
        """Return a constant as a value of the graph."""
        value = as_floats(array).reshape(core(array.shape))
        return Data(name=self.add(Constant(value=value), self.ports[0].name), dims=array.shape)

    def data(self, value: Known | Data) -> Data:
        """Return ``value`` as a value of the graph, adding a constant if necessary."""
        return self.constant(value.array) if isinstance(value, Known) else value

    def concat(self, parts: Sequence[Known | Data], axis: int) -> Data:
        """Return ``parts`` concatenated along ``axis``."""
        values = [self.data(part) for part in parts]
        if len(values) == 1:
            return values[0]
        axis = axis % max(len(values[0].dims), 1)
        starts = np.cumsum([0, *(math.prod(value.dims) for value in values)])
        laid = [positions(value.dims) + start for value, start in zip(values, starts, strict=False)]
        try:
            order = np.concatenate(laid, axis=axis)
        except ValueError as error:
            raise InputError("concatenates values that do not fit together; export the policy again") from error
        if all(size == 1 for value in values for size in value.dims[axis + 1 :]):
            lead = leading(order.shape[: axis + 1])
            names = [self.shaped(value, (*lead, value.dims[axis])) for value in values]
            return Data(name=self.add(Concat(parts=len(names)), *names), dims=order.shape)
        names = [self.shaped(value, (math.prod(value.dims),)) for value in values]
        whole = Data(name=self.add(Concat(parts=len(names)), *names), dims=(order.size,))
        return self.moved(whole, order)


def positions(dims: Dims) -> Indices:
    """Return the row-major positions of all values, in the shape ``dims``."""
    return np.arange(math.prod(dims), dtype=np.int64).reshape(dims)


def broadcast_dims(*dims: Dims) -> Dims:
    """Return the shape to which ``dims`` broadcast; raises InputError if they do not fit."""
    try:
        return tuple(int(size) for size in np.broadcast_shapes(*dims))
    except ValueError as error:
        raise InputError(
            f"takes values of shapes {', '.join(str(list(one)) for one in dims)}, which do not fit"
        ) from error


def as_floats(array: Array) -> Array:
    """Return ``array`` as float32."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, np.float32)


def _selection(indices: Indices, size: int) -> Op:
    if (np.diff(indices) > 0).all():
        selected = np.zeros(size, bool)
        selected[indices] = True
        return Slice(selected=selected)
    return Take(indices=tuple(indices.tolist()))
