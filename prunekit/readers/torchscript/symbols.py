"""Tensors that depend on the observation: every element of one names an element of a value of the graph, or a constant.

Whatever only moves elements (views, slices, concatenations, writes into a part) is done on these names and makes no
node. A ``Cell`` is the memory that a tensor and its views share, so that what is written through one of them is read
through all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunekit.graph.op import Array, Spec

Names = NDArray[np.int64]
"""Names of elements: those of values from 0 on, those of constants below."""


@final
@dataclass(eq=False, kw_only=True)
class Cell:
    """Memory: the names of its elements, int64 [n], which writes replace; ``dtype`` as the program sees it."""

    names: Names
    dtype: torch.dtype


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Symbol:
    """A tensor of the program: ``at``, int64 of its shape and strides, says where in ``cell`` its elements are."""

    cell: Cell
    at: Tensor

    @property
    def shape(self) -> torch.Size:
        """The tensor's shape, a batch axis of one observation included where it has one."""
        return self.at.shape

    @property
    def names(self) -> Names:
        """The names of the elements, in the tensor's shape."""
        return np.asarray(self.cell.names[self.at.numpy()])


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Condition:
    """Where ``symbol`` is above zero (``strict``; else above or at it): what a comparison gives."""

    symbol: Symbol
    strict: bool


@final
@dataclass(frozen=True, eq=False)
class Missing:
    """A result that has no form in a graph, which matters only where it is used."""

    reason: str


@final
@dataclass(frozen=True, kw_only=True)
class Value:
    """A value of the graph: its name, spec, and the name of its first element."""

    name: str
    spec: Spec
    first: int


@final
class Elements:
    """All values of a graph so far, and all constants, by the names of their elements."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self._firsts: list[int] = []
        self._next = 0
        self._constants = np.zeros(0)
        self._numbers: dict[float, int] = {}

    def add(self, name: str, spec: Spec) -> Value:
        """Give names to the elements of a value."""
        value = Value(name=name, spec=spec, first=self._next)
        self.values.append(value)
        self._firsts.append(value.first)
        self._next += int(np.prod(spec.shape, dtype=np.int64))
        return value

    def owner(self, name: int) -> Value:
        """Return the value that the element ``name`` belongs to."""
        return self.values[int(np.searchsorted(self._firsts, name, side="right")) - 1]

    def owners(self, names: Names) -> Names:
        """Return the index of the value that each element belongs to; -1 for constants."""
        return np.where(names < 0, -1, np.searchsorted(self._firsts, names, side="right") - 1)

    def of_constants(self, tensor: Tensor) -> Names:
        """Return names for the elements of a tensor of numbers, in its shape."""
        numbers = tensor.detach().double().numpy()
        if tensor.numel() == 1:  # a scalar, mostly the zero that a tensor is filled with
            number = float(numbers.reshape(-1)[0])
            if number not in self._numbers:
                self._numbers[number] = int(self._stored(numbers.reshape(-1))[0])
            return np.full(numbers.shape, self._numbers[number], np.int64)
        return self._stored(numbers.reshape(-1)).reshape(numbers.shape)

    def numbers(self, names: Names) -> Array:
        """Return the constants that ``names`` name, float64."""
        return np.asarray(self._constants[-1 - names])

    def _stored(self, numbers: Array) -> Names:
        first = len(self._constants)
        self._constants = np.concatenate([self._constants, numbers])
        return -1 - np.arange(first, first + len(numbers), dtype=np.int64)


def symbol_of(names: Names, dtype: torch.dtype) -> Symbol:
    """Return a tensor of its own memory with these elements."""
    flat = np.ascontiguousarray(names).reshape(-1)
    return Symbol(cell=Cell(names=flat, dtype=dtype), at=torch.arange(flat.size).view(list(names.shape)))


def within(value: Any, kind: type | UnionType) -> bool:
    """Return whether ``value`` is a ``kind``, or a list or tuple with one in it, or in a list in it."""
    if isinstance(value, list | tuple):
        return any(within(entry, kind) for entry in value)
    return isinstance(value, kind)
