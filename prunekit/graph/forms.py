"""Backends of ops: one table per backend, which the files of the ops fill.

An op that is not in a table is refused, with the names of op and backend (law 9).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, final

from prunekit.errors import InputError
from prunekit.graph.op import Array, Op, name_of

Result = TypeVar("Result")
_Function = TypeVar("_Function", bound=Callable[..., Any])


@final
class Forms(Generic[Result]):
    """A table of functions keyed by op class. Each takes the op and the backend's arguments, and returns ``Result``."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self._functions: dict[type, Callable[..., Result]] = {}

    def register(self, kind: type) -> Callable[[_Function], _Function]:
        """Return a decorator that registers its function as the form of ``kind``."""

        def keep(function: _Function) -> _Function:
            self._functions[kind] = function
            return function

        return keep

    def find(self, op: Op) -> Callable[..., Result] | None:
        """Return the form of ``op``, or None."""
        return self._functions.get(type(op))

    def of(self, op: Op, node: str) -> Callable[..., Result]:
        """Return the form of ``op``; raises InputError, naming node, op and backend, if there is none."""
        found = self.find(op)
        if found is None:
            raise InputError(f"node '{node}': {name_of(op)} has no form for {self.backend}; register one in its file")
        return found


ONNX: Forms[tuple[str, ...]] = Forms("ONNX")
"""(op, writer, *names of inputs) -> names of outputs."""

TORCH: Forms[tuple[Any, ...]] = Forms("torch")
"""(op, parameters as tensors by name, *inputs [batch, ...]) -> outputs."""

MACS: Forms[int] = Forms("cost")
"""(op, specs of inputs) -> multiply-accumulates for one observation."""

MARGIN: Forms[Array] = Forms("margins of choices")
"""(head, outputs [batch, ...]) -> by how much two outputs of each choice differ; of heads that give integers alone."""

KNOWN: Forms[tuple[Array, ...]] = Forms("constants")
"""(op, *inputs float64 [1, ...], NaN where a value varies) -> outputs likewise; not needed where ``reference`` does."""

FOLD: Forms[Op] = Forms("folding of constants")
"""(op, name of an input, constants float64 [n]) -> the op that adds by itself what it read from these constants."""

C: Forms[tuple[Any, ...]] = Forms("C")
"""(op, writer ``CWriter``, *inputs as ``CValue``) -> outputs likewise (``graph/c/writer.py``)."""

TWIN: Forms[tuple[Array, ...]] = Forms("the twin of C")
"""(op, *inputs float32 [batch, ...]) -> outputs, to the bit that the C gives: every operation rounds, in its order."""
