"""The types of one ONNX node's outputs, inferred from its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, TypeProto, defs, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from prunekit.formats.onnx_file import attributes_of
from prunekit.formats.onnx_ops import (
    EVALUATED,
    MACHINE_LEARNING,
    MICROSOFT,
    PROXIES,
    SHARED_ATTRIBUTES,
    STANDARD_DOMAINS,
)
from prunekit.formats.onnx_values import SMALL, Value, sizes_of
from prunekit.formats.text import reason_of

_FIRST_REFERENCE = {"DequantizeLinear": 19, "QuantizeLinear": 19}  # of what came before there is no reference
Inputs = list[Value | None]
"""What a node reads, in its order; None for an optional input that is left out."""


def inferred_types(node: onnx.NodeProto, inputs: Inputs, version: int, ir_version: int) -> dict[str, TypeProto]:
    """Return the outputs' types by name, as ONNX infers them from the inputs' types and known values.

    ``version`` is the model's version of the standard operators. Raises ValueError, in one line, if the inputs do not
    fit.
    """
    if node.domain not in STANDARD_DOMAINS:
        alike = {**MACHINE_LEARNING, **MICROSOFT}.get(node.op_type)
        if alike is not None:
            source = inputs[alike] if alike < len(inputs) else None
            return {} if source is None or not node.output else {node.output[0]: source.type}
        node, inputs = _proxy(node, inputs)
    given = {name: value for name, value in zip(node.input, inputs, strict=True) if value is not None}
    numbers = {name: value.numbers for name, value in given.items() if value.numbers is not None}
    try:
        return dict(
            shape_inference.infer_node_outputs(
                defs.get_schema(node.op_type, version, ""),
                node,
                {name: value.type for name, value in given.items()},
                {name: numpy_helper.from_array(values, name) for name, values in numbers.items()},
                opset_imports=[helper.make_opsetid("", version)],
                ir_version=ir_version,
            )
        )
    except Exception as error:  # onnx raises many types for what does not fit
        raise ValueError(reason_of(error)) from error


def with_numbers(node: onnx.NodeProto, inputs: Inputs, outputs: list[Value], version: int) -> list[Value]:
    """Return ``outputs`` with their values, if these are few and follow from known values or sizes."""
    if node.domain not in STANDARD_DOMAINS or any(value.limit is None or value.limit > SMALL for value in outputs):
        return outputs
    numbers: list[NDArray[Any] | None] = [None] * len(outputs)
    source = inputs[0] if inputs else None
    if node.op_type in ("Shape", "Size") and source is not None:
        numbers = [sizes_of(node, source)]
    elif node.op_type in EVALUATED and all(value is None or value.numbers is not None for value in inputs):
        pairs = zip(node.input, inputs, strict=True)
        numbers = _evaluated(node, {name: value.numbers for name, value in pairs if value is not None}, version)
    return [
        value if found is None else replace(value, dims=found.shape, limit=found.size, numbers=found)
        for value, found in zip(outputs, numbers, strict=True)
    ]


def _proxy(node: onnx.NodeProto, inputs: Inputs) -> tuple[onnx.NodeProto, Inputs]:
    """Return a standard operator with the same sizes as one of ONNX Runtime's own, and its inputs."""
    operator, positions = PROXIES[node.op_type]
    if max(positions) >= len(inputs) or not node.output:
        raise ValueError("too few inputs or outputs")
    given = attributes_of(node)
    shared = {name: value for name, value in given.items() if name in SHARED_ATTRIBUTES[operator]}
    operands: Inputs = []
    for position, flag in zip(positions, ("transA", "transB"), strict=True):
        value = inputs[position]
        if value is not None:
            dims = value.dims
            if operator == "MatMul" and given.get(flag, 0) and dims is not None and len(dims) > 1:
                dims = (*dims[:-2], dims[-1], dims[-2])
            value = replace(value, kind=TensorProto.FLOAT, dims=dims, numbers=None)
        operands.append(value)
    return helper.make_node(operator, ["first", "second"], [node.output[0]], **shared), operands


def run_node(node: onnx.NodeProto, numbers: Mapping[str, NDArray[Any]], version: int) -> list[NDArray[Any]]:
    """Return the results of ``node`` on ``numbers`` by name, from ONNX's reference implementation in ``version``.

    Raises ValueError, in one line, if the inputs do not fit.
    """
    version = max(version, _FIRST_REFERENCE.get(node.op_type, 0))
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), None)
        for name, array in numbers.items()
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.output if name]
    try:
        with np.errstate(all="ignore"):
            graph = helper.make_graph([node], "node", values, ends)
            found = ReferenceEvaluator(graph, opsets={"": version}).run(None, dict(numbers))
    except Exception as error:  # onnx and NumPy raise many types for what does not fit
        raise ValueError(reason_of(error)) from error
    named = iter(found)
    return [np.asarray(next(named)) if name else np.zeros(0) for name in node.output]


def _evaluated(node: onnx.NodeProto, numbers: dict[str, Any], version: int) -> list[NDArray[Any] | None]:
    try:
        return list(run_node(node, numbers, version))
    except ValueError:  # what cannot be computed is not known, and is refused where a size depends on it
        return [None] * len(node.output)
