"""The definition of an op: shapes, a NumPy reference, and couplings, which say which axes carry the same units.

An op is a final frozen dataclass in a file of ``prunekit/ops/``. Its fields are its constants: arrays and numbers.
Values have a leading batch axis, which specs, axes and couplings leave out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import CouplingError, InputError

Array = NDArray[Any]
Bools = NDArray[np.bool_]
DType = Literal["float32", "int64"]


class Spec(NamedTuple):
    """Shape (without batch axis) and dtype of a value; "float32" stands for the float type in which the graph is
    run.
    """

    shape: tuple[int, ...]
    dtype: DType = "float32"


class Axis(NamedTuple):
    """One axis of a parameter, input or output of an op, given by its local name.

    The axis holds ``blocks`` consecutive copies of the units, starting at ``start``. Each copy has ``width`` units;
    None means as many as fit. Negative axes count from the end.
    """

    of: str
    axis: int = -1
    blocks: int = 1
    start: int = 0
    width: int | None = None

    def positions(self, size: int) -> NDArray[np.int64]:
        """Return the positions of the units on an axis of ``size``, int64 [blocks, width]."""
        room = size - self.start
        width = room // self.blocks if self.width is None else self.width
        used = width * self.blocks
        if self.start < 0 or used > room or (self.width is None and used != room):
            raise CouplingError(f"'{self.of}' has {size} entries, which are not {self.blocks} blocks of units")
        return self.start + np.arange(used, dtype=np.int64).reshape(self.blocks, width)


class Coupling(NamedTuple):
    """Axes that carry the same units, which live or die together.

    Without ``across``, a unit of an output depends on no other unit of the coupling. With ``across`` the op reads all
    of them, and units that are zero must not change the result. An example is a norm that knows over how many values it
    averages.
    """

    axes: tuple[Axis, ...]
    across: bool = False


class Op(Protocol):
    """An op of the graph. An axis of a value that no coupling names keeps all its units: they are never pruned."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Local names of the inputs."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Local names of the outputs."""

    def shapes(self, given: Sequence[Spec], /) -> tuple[Spec, ...]:
        """Return the specs of the outputs; raises InputError if the inputs do not fit."""

    def couplings(self, given: Sequence[Spec], /) -> tuple[Coupling, ...]:
        """Return which axes carry the same units."""

    def reference(self, values: Sequence[Array], /) -> tuple[Array, ...]:
        """Return the outputs [batch, ...] in the dtype of the inputs. NaN must propagate to every result that depends
        on it.
        """


OPS: dict[str, type] = {}
"""All ops by the name of their class."""

_Kind = TypeVar("_Kind", bound=type)


def register_op(kind: _Kind) -> _Kind:
    """Register the op class ``kind`` under its name; raises InputError if the name is taken."""
    if OPS.setdefault(kind.__name__, kind) is not kind:
        raise InputError(f"an op named {kind.__name__} is registered already; give yours another name")
    return kind


def name_of(op: object) -> str:
    """Return the name of an op in messages."""
    return type(op).__name__


def parameters(op: Op) -> dict[str, Array]:
    """Return the arrays among the fields of ``op``."""
    values = {entry.name: getattr(op, entry.name) for entry in fields(op)}  # type: ignore[arg-type]
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def like(parameter: Array, value: Array) -> Array:
    """Return ``parameter`` in the dtype in which ``value`` is computed, without a copy if it already has it."""
    return parameter.astype(value.dtype, copy=False)


def of_one_shape(given: Sequence[Spec]) -> tuple[Spec, ...]:
    """Return the common spec of two float values; raises InputError if their shapes differ."""
    require_floats(given)
    if given[0] != given[1]:
        raise InputError(f"it takes two values of one shape, not {list(given[0].shape)} and {list(given[1].shape)}")
    return (given[0],)


def unitwise(
    spec: Spec, values: Sequence[str], parameters: Sequence[str] = (), *, across: bool = False
) -> tuple[Coupling, ...]:
    """Return one coupling per axis of the ``values``, which all have the shape ``spec``.

    ``parameters`` are arrays over the last axis. ``across`` applies to the coupling of the last axis.
    """
    last = len(spec.shape) - 1
    return tuple(
        Coupling(
            (*(Axis(name, k) for name in values), *(Axis(name, 0) for name in parameters if k == last)),
            across and k == last,
        )
        for k in range(len(spec.shape))
    )


def require_floats(given: Sequence[Spec], *, last: int | None = None) -> None:
    """Raise InputError unless all of ``given`` are floats with at least one axis, and the last axis has the size
    ``last``.
    """
    for spec in given:
        if spec.dtype != "float32":
            raise InputError(f"it reads {spec.dtype}, but computes with floats")
        if not spec.shape:
            raise InputError("it reads a single number, but needs an axis of values")
        if last is not None and spec.shape[-1] != last:
            raise InputError(f"it reads {spec.shape[-1]} values, but its constants are for {last}")


def require_vectors(**constants: Array) -> int:
    """Return the common length of ``constants``; raises InputError unless they are vectors of the same length."""
    shapes = {name: value.shape for name, value in constants.items()}
    if len(set(shapes.values())) != 1 or next(iter(constants.values())).ndim != 1:
        told = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise InputError(f"its constants must be vectors of one length, not {told}")
    return len(next(iter(constants.values())))
