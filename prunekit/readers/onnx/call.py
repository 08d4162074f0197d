"""One call of an ONNX operator with what is known about its inputs, and the table of supported operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, final

import onnx
from onnx import TensorProto

from prunekit.errors import InputError
from prunekit.graph.op import Array
from prunekit.readers.lowering.builder import Builder
from prunekit.readers.lowering.layers import normal_axes
from prunekit.readers.lowering.values import Choices, Data, Held, Index, Known, Truth

FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """A node with its inputs. Messages of InputError continue after operator and name: "Gemm 'x' multiplies ..."."""

    node: onnx.NodeProto
    version: int
    attributes: dict[str, Any]
    inputs: list[Held | None]
    kinds: list[int]  # ONNX types of the inputs
    build: Builder
    notes: list[str] = field(default_factory=list)

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute; text is returned as str."""
        value = self.attributes.get(name, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def has(self, at: int) -> bool:
        """Return whether input ``at`` is given."""
        return at < len(self.inputs) and self.inputs[at] is not None

    def held(self, at: int) -> Held:
        """Return input ``at``; raises InputError if it is not given."""
        value = self.inputs[at] if at < len(self.inputs) else None
        if value is None:
            raise InputError(f"lacks its input {at}; export the policy again")
        return value

    def floats(self, at: int) -> Known | Data:
        """Return input ``at`` as a constant or as computed floats; raises InputError for anything else."""
        value = self.held(at)
        if isinstance(value, Index | Choices):
            raise InputError(
                "computes with the result of an argmax, which must be the last step of a policy; "
                "export the values "
                "before it, or choose them with `output`"
            )
        if isinstance(value, Truth):
            raise InputError("computes with booleans that depend on the observation; export the policy without it")
        return value

    def data(self, at: int = 0) -> Data:
        """Return input ``at`` as floats of the graph."""
        return self.build.data(self.floats(at))

    def known(self, at: int) -> Array:
        """Return the constant input ``at``; raises InputError if it depends on the observation."""
        value = self.held(at)
        if not isinstance(value, Known):
            raise InputError(f"depends on the observation in its input {at}, which has to be a constant here")
        return value.array

    def number(self, at: int, default: float) -> float:
        """Return the constant input ``at`` as one number."""
        if not self.has(at):
            return default
        array = self.known(at)
        if array.size != 1:
            raise InputError(f"takes {array.size} numbers as its input {at}, not one; export the policy again")
        return float(array.reshape(()))

    def axes(self, rank: int, at: int = 1) -> tuple[int, ...]:
        """Return the axes of a reduction, from an attribute or from input ``at``; all axes if none are named."""
        given = self.attributes.get("axes")
        if given is None and self.has(at):
            given = self.known(at).ravel().tolist()
        if not given:
            return () if self.attribute("noop_with_empty_axes", 0) else normal_axes(None, rank)
        return normal_axes(given, rank)

    def axis(self, default: int, rank: int, name: str = "axis") -> int:
        """Return the attribute ``axis``, counted from 0."""
        return normal_axes([int(self.attribute(name, default))], rank)[0]

    def whole(self, at: int) -> bool:
        """Return whether input ``at`` holds integers or truth values."""
        return at < len(self.kinds) and self.kinds[at] not in FLOATS


Handler = Callable[[Call], Sequence[Held]]
_Function = TypeVar("_Function", bound=Handler)

OPERATORS: dict[str, Handler] = {}
"""By name: (call of which an input at least depends on the observation) -> outputs, in their order."""


def operator(*names: str) -> Callable[[_Function], _Function]:
    """Return a decorator that registers its function for the operators ``names``."""

    def keep(function: _Function) -> _Function:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return keep
