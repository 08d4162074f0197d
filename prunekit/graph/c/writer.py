"""The writer that the C forms of ops use: it collects statements, constants and functions, and allocates arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.graph.c.layers import LayerCall
from prunekit.graph.c.literals import LARGEST, Constant, array, c_float
from prunekit.graph.c.names import buffer_name, unique
from prunekit.graph.op import Spec

DEFINED_EVERYWHERE: set[type] = set()
"""Ops that make finite values of any, NaN too; an input that nothing else reads goes to them as it is."""


@final
@dataclass(frozen=True, kw_only=True)
class CValue:
    """A value in C: the floats of the array ``base`` from ``offset`` on, row by row; ``buffer`` is the array's index,
    if it is one of the policy's.

    ``length`` is its number of floats as a C expression. If ``returned``, the value is the function's result and not an
    array.
    """

    base: str
    spec: Spec
    offset: int = 0
    buffer: int | None = None
    length: str = ""
    returned: bool = False

    @property
    def text(self) -> str:
        """The C expression of the array."""
        return f"({self.base} + {self.offset})" if self.offset else self.base

    @property
    def size(self) -> int:
        """How many numbers the value has."""
        return math.prod(self.spec.shape)

    @property
    def count(self) -> str:
        """How many numbers the value has, as a C expression."""
        return self.length or str(self.size)

    @property
    def width(self) -> int:
        """The size of the last axis."""
        return self.spec.shape[-1] if self.spec.shape else 1

    @property
    def rows(self) -> int:
        """How many rows of the last axis the value has."""
        return self.size // self.width

    @property
    def unit(self) -> str:
        """The C expression of the position on the last axis of the number ``i``."""
        return "i" if self.rows == 1 else f"i % {self.width}"


@final
class CWriter:
    """Collects the C of one graph in the order of its ops. All names begin with ``name``; the writer makes local names.

    Statements may use ``i``, an int. Fields that forms do not use are for the function that writes the file.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.statements: list[str | LayerCall] = []
        self.constants: list[Constant] = []
        self.functions: list[str] = []  # of numbers
        self.loops: list[str] = []  # of arrays
        self.layers: list[LayerCall] = []
        self.sizes: list[int] = []  # of buffers, in floats
        self.made: tuple[Spec, ...] = ()  # by the node that is being written
        self.action: CValue | None = None  # where that node's output is to go
        self._pending: list[int] = []  # reads to come, per buffer
        self._reading: dict[int, int] = {}  # of them, those of the node that is being written
        self._constant_names: list[str] = []
        self._own_names: dict[object, str] = {}

    def add(self, *lines: str) -> None:
        """Add lines to the policy's function."""
        self.statements += lines

    def each(self, y: CValue, expression: str) -> None:
        """Add a loop over ``i`` that fills ``y`` with ``expression``."""
        self.add(f"    for (i = 0; i < {y.count}; ++i)", f"        {y.text}[i] = {expression};")

    def per_row(self, call: str, *values: CValue) -> None:
        """Add one statement per row of ``values``; ``call`` refers to pointers to their rows as {0}, {1}, ...."""
        if values[0].rows == 1:
            self.add(f"    {call.format(*(value.text for value in values))};")
        else:
            pointers = (f"{value.text} + i * {value.width}" for value in values)
            self.add(f"    for (i = 0; i < {values[0].rows}; ++i)", f"        {call.format(*pointers)};")

    def layer(self, x: CValue, y: CValue, weight: NDArray[Any], bias: NDArray[Any]) -> None:
        """Add y = x @ weight.T + bias over the last axis; weight [out, in], bias [out]."""
        at = len(self.layers)
        names = [self.constant(f"weight_{at}", weight.T), self.constant(f"bias_{at}", bias)]
        outputs, inputs = weight.shape
        given = {"source": x.text, "target": y.text, "weight": names[0], "bias": names[1]}
        self.layers.append(LayerCall(**given, inputs=inputs, outputs=outputs, rows=x.rows))
        self.statements.append(self.layers[-1])

    def constant(self, called: str, values: NDArray[Any]) -> str:
        """Add an array of floats and return its name; raises InputError if float32 cannot hold a value."""
        with np.errstate(over="ignore"):
            floats = np.asarray(values).astype(np.float32, copy=False)
        if not np.isfinite(floats).all():
            raise InputError(f"'{called}' is beyond float32, which is what the C computes in")
        self._constant_names.append(unique(called, self._constant_names))
        self.constants.append(array("float", self.name, self._constant_names[-1], floats))
        return f"{self.name}_{self._constant_names[-1]}"

    def load(self, constant: str, index: str = "i") -> str:
        """Return the C expression that reads an element of a constant array, on any core."""
        return f"{self.name.upper()}_FLOAT(&{constant}[{index}])"

    def vector(self, called: str, values: NDArray[np.float32], index: str = "i") -> str:
        """Return the C expression of ``values[index]``: an array element, or a literal if all values are the same."""
        if len(set(values.tolist())) == 1:
            return c_float(float(values[0]))
        return self.load(self.constant(called, values), index)

    def number(self, value: float, called: str) -> str:
        """Return ``value`` as a literal; raises InputError if float32 cannot hold it."""
        if not abs(value) <= LARGEST:
            raise InputError(f"{called} is beyond float32: {value:g}")
        return c_float(value)

    def own_name(self, called: str, key: object) -> str:
        """Return the name for ``key``: ``called``, with a number appended if another key has that name."""
        if key not in self._own_names:
            self._own_names[key] = unique(called, list(self._own_names.values()))
        return self._own_names[key]

    def make(self, at: int = 0) -> CValue:
        """Return an array for output ``at`` of the node that overlaps none of its inputs.

        Raises InputError for an integer output (int64) that is not the policy's action, or is more than one number.
        """
        spec = self.made[at]
        if spec.dtype == "int64":
            if self.action is None or not self.action.returned:
                raise InputError("C gives numbers (int64) only as the policy's action, and one of them")
            return self.action
        return self.scratch(spec) if self.action is None or at else self.action

    def numbers(self, maximum: int) -> CValue:
        """Return an array for several integers of up to ``maximum``; they are the action, and floats in C.

        Raises InputError if float32 cannot distinguish them, or if they are not the action.
        """
        if self.action is None or self.action.returned or len(self.made[0].shape) != 1:
            raise InputError("C gives numbers (int64) only as the policy's action")
        if maximum >= 2**24:
            raise InputError(
                f"actions are numbered up to {maximum}, but C gives several as floats, exact below {2**24}"
            )
        return self.action

    def over(self, *inputs: CValue) -> CValue:
        """Return an array for the output: that of the first of ``inputs`` that no later node reads, or else a new one.

        The form must read each number before it writes to the same place.
        """
        if self.action is None:
            for x in inputs:
                overlap = any(other.buffer == x.buffer and other.offset != x.offset for other in inputs)
                if x.buffer is not None and not overlap and self._pending[x.buffer] == self._reading[x.buffer]:
                    return replace(x, spec=self.made[0])
        return self.make()

    def scratch(self, spec: Spec) -> CValue:
        """Return an unused array. It is free again after the node, unless it becomes the node's output."""
        size = math.prod(spec.shape)
        free = [at for at, pending in enumerate(self._pending) if not pending]
        best = min(free, key=lambda at: (max(size - self.sizes[at], 0), self.sizes[at]), default=None)
        if best is None:
            best = len(self.sizes)
            self.sizes.append(0)
            self._pending.append(0)
        self.sizes[best] = max(self.sizes[best], size)
        self._pending[best] = 1
        self._reading[best] = self._reading.get(best, 0) + 1
        return CValue(base=buffer_name(best), spec=spec, buffer=best)

    def begin(self, made: tuple[Spec, ...], inputs: tuple[CValue, ...], action: CValue | None = None) -> None:
        """Begin a node that makes ``made`` from ``inputs``. Its output is written to ``action``, if given."""
        self.made, self.action, self._reading = made, action, {}
        for x in inputs:
            if x.buffer is not None:
                self._reading[x.buffer] = self._reading.get(x.buffer, 0) + 1

    def end(self, outputs: tuple[CValue, ...], reads: tuple[int, ...]) -> None:
        """End the node: count its inputs as read, and note how often each of ``outputs`` will be read (``reads``)."""
        for buffer, count in self._reading.items():
            self._pending[buffer] -= count
        for value, count in zip(outputs, reads, strict=True):
            if value.buffer is not None:
                self._pending[value.buffer] += count
        self._reading = {}
