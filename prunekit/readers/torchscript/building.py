"""The graph while a program is traced: nodes are added, and elements are brought together as values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from prunekit.errors import InputError
from prunekit.graph.graph import Node
from prunekit.graph.lifting import array_of
from prunekit.graph.op import Array, Op, Spec, name_of
from prunekit.ops.concat import Concat
from prunekit.ops.constant import Constant
from prunekit.ops.flatten import Flatten
from prunekit.ops.reshape import Reshape
from prunekit.ops.slice import Slice
from prunekit.ops.take import Take
from prunekit.readers.torchscript.symbols import Elements, Names, Symbol, Value, core_shape, symbol_of

_MAX_PIECES = 32
"""Values that a concatenation is made of before it is one of whole values and a gathering."""


@final
class Building:
    """Nodes so far. ``where`` is the path of the module whose code runs, ``doing`` the operator."""

    def __init__(self) -> None:
        self.elements = Elements()
        self.nodes: list[Node] = []
        self.where = ""
        self.doing = ""
        self.dtype = torch.float32
        self.made: dict[str, Node] = {}
        self._taken: set[str] = set()
        self._gathered: dict[tuple[tuple[int, ...], bytes], Value] = {}

    def port(self, name: str, shape: Sequence[int]) -> Symbol:
        """Add an input of the graph; returns it as a tensor of ``shape``."""
        self._taken.add(name)
        value = self.elements.add(name, Spec(core_shape(shape)))
        return self.symbol(value, shape)

    def add(self, op: Op, *inputs: Value, called: str = "") -> Value:
        """Add a node and return its value; raises InputError, naming the place, where inputs do not fit."""
        try:
            (spec,) = op.shapes([value.spec for value in inputs])
        except InputError as error:
            raise InputError(f"calls 'torch.{self.doing}'{self.place()} as no {name_of(op)} can: {error}") from error
        name = self._free(called)
        node = Node(op=op, inputs=tuple(value.name for value in inputs), outputs=(name,))
        self.nodes.append(node)
        self.made[name] = node
        return self.elements.add(name, spec)

    def symbol(self, value: Value, shape: Sequence[int], dtype: torch.dtype | None = None) -> Symbol:
        """Return ``value`` as a tensor of ``shape``, in memory of its own."""
        count = math.prod(value.spec.shape)
        names = value.first + np.arange(count, dtype=np.int64)
        return symbol_of(names.reshape(tuple(shape)), dtype or self.dtype)

    def value(self, symbol: Symbol) -> Value:
        """Return the value of the tensor, in its shape without axes of one in front."""
        return self.gathered(symbol.names, core_shape(symbol.shape))

    def vector(self, symbol: Symbol) -> Value:
        """Return the value of the tensor with all elements on one axis."""
        return self.gathered(symbol.names, (symbol.at.numel(),))

    def gathered(self, names: Names, shape: tuple[int, ...]) -> Value:
        """Return the value of ``shape`` that consists of these elements."""
        names = np.ascontiguousarray(names).reshape(shape)
        key = (shape, names.tobytes())
        if key not in self._gathered:
            self._gathered[key] = self._whole(names) or self._columns(names) or self._flat(names)
        return self._gathered[key]

    def place(self) -> str:
        """Return where the program is, for messages."""
        return f" in module '{self.where}'" if self.where else ""

    def _free(self, called: str) -> str:
        kind = called or self.doing or "value"
        name = self.where if self.where and not called else f"{self.where}.{kind}".lstrip(".")
        if name in self._taken:
            name = f"{self.where}.{kind}".lstrip(".")
        count, free = 2, name
        while free in self._taken:
            free, count = f"{name}_{count}", count + 1
        self._taken.add(free)
        return free

    def _whole(self, names: Names) -> Value | None:
        """Return a value that has these elements and no others, in this order."""
        flat = names.reshape(-1)
        if flat[0] < 0:
            return None
        value = self.elements.owner(int(flat[0]))
        count = math.prod(value.spec.shape)
        if value.first != flat[0] or count != flat.size or not (np.diff(flat) == 1).all():
            return None
        return self._shaped(value, names.shape)

    def _shaped(self, value: Value, shape: tuple[int, ...]) -> Value:
        if value.spec.shape == shape:
            return value
        if value.spec.dtype != "float32":
            raise InputError(f"gives whole numbers another shape with 'torch.{self.doing}'{self.place()}")
        if len(shape) == 1:
            return self.add(Flatten(), value, called="flatten")
        return self.add(Reshape(shape=shape), value, called="reshape")

    def _columns(self, names: Names) -> Value | None:
        """Return values side by side that have the rows in common with ``names`` [..., k], or None."""
        rows = math.prod(names.shape[:-1])
        table = names.reshape(rows, -1)
        if rows < 2 or (table < 0).any():
            return None
        owners = self.elements.owners(table)
        if not (owners == owners[0]).all():
            return None
        parts: list[tuple[Value, Array]] = []
        for stretch in np.split(np.arange(table.shape[1]), np.flatnonzero(np.diff(owners[0])) + 1):
            value = self.elements.values[int(owners[0, stretch[0]])]
            width = value.spec.shape[-1]
            columns = table[0, stretch] - value.first
            step = width * np.arange(rows, dtype=np.int64)[:, None]
            if math.prod(value.spec.shape[:-1]) != rows or columns.max() >= width:
                return None
            if not (table[:, stretch] == value.first + step + columns).all():
                return None
            parts.append((value, columns))
        lead = names.shape[:-1]
        shaped = [(self._shaped(value, (*lead, value.spec.shape[-1])), columns) for value, columns in parts]
        return self._joined([self._picked(value, columns) for value, columns in shaped])

    def _flat(self, names: Names) -> Value:
        """Return any elements as one vector, then in their shape."""
        flat = names.reshape(-1)
        owners = self.elements.owners(flat)
        used = [owner for owner in dict.fromkeys(owners.tolist()) if owner >= 0]
        if not used:
            raise InputError(f"answers the same to all observations{self.place()}")
        stretches = np.split(np.arange(flat.size), np.flatnonzero(np.diff(owners)) + 1)
        if len(stretches) <= _MAX_PIECES:
            parts = [self._stretch(int(owners[s[0]]), flat[s], used[0]) for s in stretches]
            return self._shaped(self._joined(parts), names.shape)
        places = np.zeros(flat.size, np.int64)
        vectors, start = [], 0
        for owner in (*used, *([-1] if (owners < 0).any() else [])):
            mine = owners == owner
            if owner < 0:
                vectors.append(self._stretch(-1, flat[mine], used[0]))
                places[mine] = start + np.arange(mine.sum())
            else:
                vectors.append(self._vector(owner))
                places[mine] = start + flat[mine] - self.elements.values[owner].first
            start += vectors[-1].spec.shape[0]
        return self._shaped(self._picked(self._joined(vectors), places), names.shape)

    def _stretch(self, owner: int, names: Names, beside: int) -> Value:
        """Return elements of one value, or constants, as a vector."""
        if owner < 0:
            numbers = self.elements.numbers(names)
            kind = np.float64 if self.dtype == torch.float64 else np.float32
            return self.add(Constant(value=numbers.astype(kind)), self.elements.values[beside], called="constant")
        return self._picked(self._vector(owner), names - self.elements.values[owner].first)

    def _vector(self, owner: int) -> Value:
        value = self.elements.values[owner]
        count = math.prod(value.spec.shape)
        return self.gathered(value.first + np.arange(count, dtype=np.int64), (count,))

    def _picked(self, value: Value, index: Array) -> Value:
        """Return the columns ``index`` of ``value``."""
        width = value.spec.shape[-1]
        if np.array_equal(index, np.arange(width)):
            return value
        if (np.diff(index) > 0).all():
            selected = np.zeros(width, bool)
            selected[index] = True
            return self.add(Slice(selected=selected), value, called="slice")
        return self.add(Take(indices=tuple(index.tolist())), value, called="take")

    def _joined(self, parts: Sequence[Value]) -> Value:
        return parts[0] if len(parts) == 1 else self.add(Concat(parts=len(parts)), *parts, called="cat")


def floats_of(tensor: Tensor) -> Array:
    """Return a constant of the program as an array of floats: float32, or float64 where it is that or whole numbers."""
    return array_of(tensor if tensor.is_floating_point() else tensor.double())
