"""ONNX files as other programs write them, built node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FLOAT, DOUBLE, INT32, INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64
Value = tuple[str, int, list[int | str]]
Node = tuple[str, list[str], str]


def write_onnx(
    path: Path,
    nodes: Sequence[Node | onnx.NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    constants: Mapping[str, NDArray[np.generic]],
    properties: Mapping[str, str] | None = None,
) -> Path:
    """Write a model of ``nodes`` (operator, inputs, output) and return its path."""
    graph = helper.make_graph(
        [helper.make_node(*node[:2], [node[2]]) if isinstance(node, tuple) else node for node in nodes],
        "foreign",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(properties or {}))
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


def write_product(
    path: Path,
    weight: NDArray[np.generic],
    *,
    dtype: int = FLOAT,
    source: str = "x",
    target: str = "y",
    properties: Mapping[str, str] | None = None,
) -> Path:
    """Write ``target = source @ weight`` with ``weight`` [in, out] and a named batch dimension."""
    inputs, outputs = weight.shape
    return write_onnx(
        path,
        [("MatMul", [source, "w"], target)],
        [(source, dtype, ["n", inputs])],
        [(target, dtype, ["n", outputs])],
        {"w": weight.astype(helper.tensor_dtype_to_np_dtype(dtype))},
        properties,
    )
