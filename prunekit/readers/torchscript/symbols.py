"""Tensors that depend on the observation. Each element is the name of an element of a graph value, or of a constant.

Operators that only move elements (views, slices, concatenations, writes into a part) work on these names and make no
node. A ``Cell`` is the memory that a tensor shares with its views, so a write through one of them is visible through
all.
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
    """The memory of a tensor: the names of its elements, int64 [n], which writes replace; ``dtype`` as the program sees
    it.
    """

    names: Names
    dtype: torch.dtype


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Symbol:
    """A traced tensor: ``at`` (int64, in its shape and strides) gives the positions of its elements in ``cell``."""

    cell: Cell
    at: Tensor

    @property
    def shape(self) -> torch.Size:
        """The tensor's shape, including a batch axis of size one if the program has one."""
        return self.at.shape

    @property
    def names(self) -> Names:
        """The names of the elements, in the tensor's shape."""
        return np.asarray(self.cell.names[self.at.numpy()])


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Condition:
    """The result of a comparison: ``symbol`` > 0 (``strict``), or ``symbol`` >= 0."""

    symbol: Symbol
    strict: bool


@final
@dataclass(frozen=True, eq=False)
class Missing:
    """A result without a form in a graph. It is an error only if it is used."""

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
    """The names of all elements of the graph's values and constants."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self._firsts: list[int] = []
        self._next = 0
        self._constants = np.zeros(0)
        self._numbers: dict[float, int] = {}

    def add(self, name: str, spec: Spec) -> Value:
        """Assign names to the elements of a value."""
        value = Value(name=name, spec=spec, first=self._next)
        self.values.append(value)
        self._firsts.append(value.first)
        self._next += int(np.prod(spec.shape, dtype=np.int64))
        return value

    def owner(self, name: int) -> Value:
        """Return the value to which the element ``name`` belongs."""
        return self.values[int(np.searchsorted(self._firsts, name, side="right")) - 1]

    def owners(self, names: Names) -> Names:
        """Return the index of the value to which each element belongs; -1 for constants."""
        return np.where(names < 0, -1, np.searchsorted(self._firsts, names, side="right") - 1)

    def of_constants(self, tensor: Tensor) -> Names:
        """Return names for the elements of a real tensor, in its shape."""
        numbers = tensor.detach().double().numpy()
        if tensor.numel() == 1:  # a scalar, mostly the zero that a tensor is filled with
            number = float(numbers.reshape(-1)[0])
            if number not in self._numbers:
                self._numbers[number] = int(self._stored(numbers.reshape(-1))[0])
            return np.full(numbers.shape, self._numbers[number], np.int64)
        return self._stored(numbers.reshape(-1)).reshape(numbers.shape)

    def numbers(self, names: Names) -> Array:
        """Return the values of the constants ``names``, float64."""
        return np.asarray(self._constants[-1 - names])

    def _stored(self, numbers: Array) -> Names:
        first = len(self._constants)
        self._constants = np.concatenate([self._constants, numbers])
        return -1 - np.arange(first, first + len(numbers), dtype=np.int64)


def symbol_of(names: Names, dtype: torch.dtype) -> Symbol:
    """Return a tensor with these elements and its own memory."""
    flat = np.ascontiguousarray(names).reshape(-1)
    return Symbol(cell=Cell(names=flat, dtype=dtype), at=torch.arange(flat.size).view(list(names.shape)))


def within(value: Any, kind: type | UnionType) -> bool:
    """Return whether ``value`` is a ``kind``, or a list or tuple that contains one at most two levels deep."""
    if isinstance(value, list | tuple):
        return any(within(entry, kind) for entry in value)
    return isinstance(value, kind)
