"""What a value of a foreign file is while it is read.

Files are read for one observation: a batch axis has the size of one, as any other axis may. Axes of one change neither
the order nor the number of values, so that a value of the graph stands for all ways to write it with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from prunekit.graph.op import Array

Dims = tuple[int, ...]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """A constant, or what follows from constants and sizes."""

    array: Array


@final
@dataclass(frozen=True, kw_only=True)
class Data:
    """Floats that depend on the observation: the graph's value ``name`` in row-major order, with the file's sizes."""

    name: str
    dims: Dims


@final
@dataclass(frozen=True, kw_only=True)
class Index:
    """Where the largest value of the last axis of ``of`` is, plus ``start``; in any shape."""

    of: Data
    start: int
    dims: Dims


@final
@dataclass(frozen=True, kw_only=True)
class Choices:
    """Several of them, side by side: in each part of ``counts`` values of ``of``, plus that part's start."""

    of: Data
    counts: tuple[int, ...]
    starts: tuple[int, ...]
    dims: Dims


@final
@dataclass(frozen=True, kw_only=True)
class Truth:
    """Whether ``of`` is above zero (``strict``), or not below it."""

    of: Data
    strict: bool


Held = Known | Data | Index | Choices | Truth


def leading(dims: Dims) -> Dims:
    """Return the axes before the last one, without those of one."""
    return tuple(size for size in dims[:-1] if size != 1)


def core(dims: Dims) -> Dims:
    """Return the shape that a value of ``dims`` has in the graph: without axes of one, but for the last."""
    return (*leading(dims), dims[-1]) if dims else (1,)
