"""Conversion between elements of traced tensors and values of the graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from prunekit.errors import InputError
from prunekit.graph.graph import Port
from prunekit.graph.op import Spec
from prunekit.readers.lowering.builder import Builder
from prunekit.readers.lowering.values import Data, Dims, Index, Known, core
from prunekit.readers.torchscript.symbols import Elements, Names, Symbol, Value, symbol_of

_MAX_PIECES = 32
"""Values that a concatenation is made of; beyond that it is one of whole values, out of which elements are taken."""


@final
class Building:
    """The graph so far. ``where`` is the path of the running module, ``doing`` the current operator."""

    def __init__(self, ports: Sequence[Port], dtype: torch.dtype) -> None:
        self.build = Builder(ports)
        self.elements = Elements()
        self.dtype = dtype
        self.where = ""
        self.doing = ""
        self.indices: dict[str, Index] = {}
        self._values: dict[str, Value] = {}
        self._gathered: dict[tuple[Dims, bytes], Data] = {}
        for port in ports:
            self._value(port.name)

    def symbol(self, data: Data) -> Symbol:
        """Return a value of the graph as a tensor with its own memory."""
        names = self._value(data.name).first + np.arange(math.prod(data.dims), dtype=np.int64)
        return symbol_of(names.reshape(data.dims), self.dtype)

    def data(self, symbol: Symbol) -> Data:
        """Return a tensor as a value of the graph."""
        return self.gathered(symbol.names)

    def index(self, of: Data, start: int, dims: Dims) -> Symbol:
        """Return the argmax of a vector plus ``start`` as a tensor; no arithmetic on it is supported."""
        name = f"index {len(self.indices)}"
        self.indices[name] = Index(of=of, start=start, dims=dims)
        names = np.full(dims, self.elements.add(name, Spec((), "int64")).first, np.int64)
        return symbol_of(names, torch.int64)

    def shifted(self, index: Symbol, number: int) -> Symbol:
        """Return an index plus an integer."""
        found = self.index_of(index)
        return self.index(found.of, found.start + number, tuple(index.shape))

    def index_of(self, index: Symbol) -> Index:
        """Return the ``Index`` behind the tensor ``index``."""
        return self.indices[self.elements.owner(int(index.names.reshape(-1)[0])).name]

    def operand(self, value: Any) -> Known | Data:
        """Return a traced tensor, a real tensor or a number as an operand of the graph."""
        if isinstance(value, Symbol):
            return self.data(value)
        return Known(array=np.asarray(floats_of(value)))

    def gathered(self, names: Names) -> Data:
        """Return a value of the graph with these elements, in their shape."""
        if not names.size:
            raise InputError(f"makes a tensor of no elements{self.place()}, which a graph cannot express")
        key = (names.shape, names.tobytes())
        if key not in self._gathered:
            self.label()
            self._gathered[key] = self._one(names) or self._columns(names) or self._flat(names)
        return self._gathered[key]

    def label(self, called: str = "") -> None:
        """Name the next nodes after the running module, or after the operator in the outermost module."""
        self.build.label = called or self.where or self.doing or "value"

    def place(self) -> str:
        """Return where in the program the run is, for messages."""
        return f" in module '{self.where}'" if self.where else ""

    def _value(self, name: str) -> Value:
        if name not in self._values:
            self._values[name] = self.elements.add(name, self.build.specs[name])
        return self._values[name]

    def _one(self, names: Names) -> Data | None:
        """Return elements that all belong to one value, or None."""
        owners = self.elements.owners(names)
        first = int(owners.reshape(-1)[0])
        if first < 0 or not (owners == first).all():
            return None
        value = self.elements.values[first]
        return self.build.moved(Data(name=value.name, dims=value.spec.shape), names - value.first)

    def _columns(self, names: Names) -> Data | None:
        """Return a concatenation of values if every row has the same parts; otherwise None."""
        shape = core(names.shape)
        table = names.reshape(math.prod(shape[:-1]), shape[-1])
        owners = self.elements.owners(table)
        if len(table) < 2 or not (owners == owners[:1]).all() or (owners < 0).any():
            return None
        stretches = np.split(np.arange(shape[-1]), np.flatnonzero(np.diff(owners[0])) + 1)
        if len(stretches) > _MAX_PIECES:
            return None
        parts = [self.gathered(table[:, stretch].reshape(*shape[:-1], -1)) for stretch in stretches]
        return Data(name=self.build.concat(parts, -1).name, dims=names.shape)

    def _flat(self, names: Names) -> Data:
        """Return any elements: concatenated as one vector, and then reshaped."""
        flat = names.reshape(-1)
        owners = self.elements.owners(flat)
        if (owners < 0).all():
            return self.build.constant(self.elements.numbers(names))
        stretches = np.split(np.arange(flat.size), np.flatnonzero(np.diff(owners)) + 1)
        if len(stretches) <= _MAX_PIECES:
            parts = [self.gathered(flat[stretch]) for stretch in stretches]
            return Data(name=self.build.concat(parts, 0).name, dims=names.shape)
        places, wholes, start = np.zeros(flat.size, np.int64), [], 0
        for owner in dict.fromkeys(owners.tolist()):
            mine = owners == owner
            if owner < 0:
                wholes.append(self.build.constant(self.elements.numbers(flat[mine])))
                places[mine] = start + np.arange(mine.sum())
            else:
                value = self.elements.values[owner]
                wholes.append(Data(name=value.name, dims=(math.prod(value.spec.shape),)))
                places[mine] = start + flat[mine] - value.first
            start += wholes[-1].dims[0]
        return self.build.moved(self.build.concat(wholes, 0), places.reshape(names.shape))


def floats_of(value: Any) -> Any:
    """Return a real tensor or a number as float64."""
    return value.detach().double().numpy() if isinstance(value, Tensor) else float(value)
