"""Representations of a foreign file's values during reading.

A file is read for one observation, so its batch axis has size one. Axes of size one change neither the order nor the
number of values. One value of the graph therefore represents all shapes that differ only in such axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from prunekit.graph.op import Array

Dims = tuple[int, ...]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """A constant, or a value that follows from constants and sizes."""

    array: Array


@final
@dataclass(frozen=True, kw_only=True)
class Data:
    """Floats that depend on the observation: the graph's value ``name`` in row-major order, with the sizes in the
    file.
    """

    name: str
    dims: Dims


@final
@dataclass(frozen=True, kw_only=True)
class Index:
    """The index of the largest value along the last axis of ``of``, plus ``start``, in any shape."""

    of: Data
    start: int
    dims: Dims


@final
@dataclass(frozen=True, kw_only=True)
class Choices:
    """Several ``Index`` values: ``of`` is split into parts of ``counts`` values, each with its own start."""

    of: Data
    counts: tuple[int, ...]
    starts: tuple[int, ...]
    dims: Dims


@final
@dataclass(frozen=True, kw_only=True)
class Truth:
    """Whether ``of`` is above zero (``strict``), or at least zero."""

    of: Data
    strict: bool


Held = Known | Data | Index | Choices | Truth


def leading(dims: Dims) -> Dims:
    """Return the axes before the last one, without axes of size one."""
    return tuple(size for size in dims[:-1] if size != 1)


def core(dims: Dims) -> Dims:
    """Return the shape that a value of ``dims`` has in the graph: without axes of size one, except the last axis."""
    return (*leading(dims), dims[-1]) if dims else (1,)
