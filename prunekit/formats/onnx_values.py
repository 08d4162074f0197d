"""What is known about a value of an ONNX graph before it runs, and rules for the size and work of a node."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, TypeProto, helper, numpy_helper

from prunekit.formats.onnx_file import attributes_of
from prunekit.formats.onnx_ops import (
    BROADCASTING,
    CONVOLUTIONS,
    MATRIX_PRODUCTS,
    NOT_LARGER,
    POOLS,
    PROXIES,
    RECURRENT,
)

SMALL = 1024
"""Numbers of a value are followed where it holds at most so many: shapes, axes, bounds."""
Dims = tuple[int | None, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Value:
    """What is known about a value.

    ``dims`` are its sizes (None if unknown), ``limit`` is an upper bound of its number of elements (None if unknown),
    and ``kind`` its ONNX element type. A ``fixed`` value depends on no input; ``numbers`` are its elements if they are
    few and known.
    """

    kind: int
    dims: Dims | None
    limit: int | None
    fixed: bool
    numbers: NDArray[Any] | None = None
    sequence: bool = False

    @property
    def type(self) -> TypeProto:
        """The type in ONNX's form."""
        one = helper.make_tensor_type_proto(self.kind, None if self.dims is None else list(self.dims))
        return helper.make_sequence_type_proto(one) if self.sequence else one


def count_of(dims: Dims | None) -> int | None:
    """Return the number of elements of a value with ``dims``; None if a size is open."""
    if dims is None or any(size is None for size in dims):
        return None
    return math.prod(size for size in dims if size is not None)


def value_of_tensor(tensor: TensorProto) -> Value:
    """Return what is known about a stored tensor."""
    dims = tuple(tensor.dims)
    count = math.prod(dims)
    numbers = numpy_helper.to_array(tensor) if count <= SMALL else None
    return Value(kind=tensor.data_type, dims=dims, limit=count, fixed=True, numbers=numbers)


def value_of_type(found: TypeProto | None, fixed: bool) -> Value:
    """Return what is known about a value of an inferred type; ``found`` is None if nothing was inferred."""
    sequence = found is not None and found.WhichOneof("value") == "sequence_type"
    if found is None or found.WhichOneof("value") not in ("tensor_type", "sequence_type"):
        return Value(kind=TensorProto.FLOAT, dims=None, limit=None, fixed=fixed)
    tensor = found.sequence_type.elem_type.tensor_type if sequence else found.tensor_type
    if sequence or not tensor.HasField("shape"):
        return Value(kind=tensor.elem_type, dims=None, limit=None, fixed=fixed, sequence=sequence)
    dims = tuple(size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim)
    return Value(kind=tensor.elem_type, dims=dims, limit=count_of(dims), fixed=fixed)


def either(first: Value, second: Value) -> Value:
    """Return what is known about a value that is one of two."""
    dims = first.dims if first.dims == second.dims else None
    limit = None if first.limit is None or second.limit is None else max(first.limit, second.limit)
    sequence = first.sequence and second.sequence
    return Value(kind=first.kind, dims=dims, limit=limit, fixed=first.fixed and second.fixed, sequence=sequence)


def limit_of(node: onnx.NodeProto, inputs: list[Value]) -> int | None:
    """Return an upper bound of the elements in an output of ``node`` with open sizes; None if there is none."""
    limits = [value.limit for value in inputs]
    known = [limit for limit in limits if limit is not None]
    if len(known) != len(limits):
        return None
    if node.op_type == "SequenceEmpty":
        return 0
    if node.op_type in NOT_LARGER:
        return sum(known)
    if node.op_type == "NonZero" and inputs[0].dims is not None:
        return known[0] * len(inputs[0].dims)
    return math.prod(max(limit, 1) for limit in known) if node.op_type in BROADCASTING else None


def sizes_of(node: onnx.NodeProto, source: Value) -> NDArray[np.int64] | None:
    """Return the result of Shape or Size of ``source``; None if it is unknown."""
    if source.dims is None:
        return None
    if node.op_type == "Size":
        return None if source.limit is None else np.asarray(source.limit, np.int64)
    given = attributes_of(node)
    part = source.dims[slice(given.get("start"), given.get("end"))]
    return None if any(size is None for size in part) else np.asarray(part, np.int64).reshape(-1)


def products_of(node: onnx.NodeProto, inputs: list[Value | None], outputs: list[Value]) -> int:
    """Return the multiply-accumulates of ``node``, or an upper bound; 0 for operators that only move or map values."""
    held = [(value.limit or 0) if value is not None else 0 for value in inputs]
    made = max((value.limit or 0 for value in outputs), default=0)
    operator, positions = PROXIES.get(node.op_type, (node.op_type, (0, 3 if node.op_type.startswith("QLinear") else 1)))
    operands = [inputs[position] if position < len(inputs) else None for position in positions]
    if operator in POOLS:
        return made * math.prod(int(size) for size in attributes_of(node).get("kernel_shape", ()))
    if operator == "Einsum":
        return _products_of_einsum(node, inputs)
    if operator not in MATRIX_PRODUCTS | CONVOLUTIONS | RECURRENT:
        return 0
    first, second = operands
    if first is None or second is None or not first.dims or not second.dims or first.limit is None:
        return math.prod(max(count, 1) for count in held[:4])
    if operator in RECURRENT:
        cells = held[1] + (held[2] if len(held) > 2 else 0)
        return cells * math.prod(size or 1 for size in first.dims[:2])
    if operator in CONVOLUTIONS:
        taps = (second.limit or 0) // max(second.dims[0] or 1, 1)
        return taps * (first.limit if operator == "ConvTranspose" else made)
    turned = attributes_of(node).get("transA", 0) and len(first.dims) > 1
    return made * (first.dims[-2 if turned else -1] or 1)


def _products_of_einsum(node: onnx.NodeProto, inputs: list[Value | None]) -> int:
    terms = attributes_of(node).get("equation", b"").decode("ascii", "replace").replace(" ", "").split("->")[0]
    sizes: dict[str, int] = {}
    for term, value in zip(terms.split(","), inputs, strict=False):
        if value is None or value.dims is None or "." in term or len(term) != len(value.dims):
            return math.prod(max(entry.limit or 1, 1) for entry in inputs if entry is not None)
        sizes |= {letter: max(sizes.get(letter, 1), size or 1) for letter, size in zip(term, value.dims, strict=True)}
    return math.prod(sizes.values())
