"""ONNX graphs made node by node, sound and hostile ones, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

node = helper.make_node
X = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])


def graph_of(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Any] | None = None,
    outputs: Sequence[str] = ("y",),
    inputs: Sequence[onnx.ValueInfoProto] = (X,),
) -> onnx.GraphProto:
    """Return a graph whose outputs are floats of unknown shape, its float constants in float32."""
    arrays = {name: np.asarray(values) for name, values in (constants or {}).items()}
    tensors = [
        numpy_helper.from_array(values.astype(np.float32) if values.dtype == np.float64 else values, name)
        for name, values in arrays.items()
    ]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    return helper.make_graph(list(nodes), "g", list(inputs), results, tensors)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Any] | None = None,
    outputs: Sequence[str] = ("y",),
    inputs: Sequence[onnx.ValueInfoProto] = (X,),
    *,
    functions: Sequence[onnx.FunctionProto] = (),
    domains: Sequence[str] = (),
    opset: int = 17,
) -> onnx.ModelProto:
    """Return a model of ``graph_of``."""
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    graph = graph_of(nodes, constants, outputs, inputs)
    return helper.make_model(graph, opset_imports=imports, ir_version=8, functions=list(functions))


def function_of(name: str, nodes: Sequence[onnx.NodeProto]) -> onnx.FunctionProto:
    """Return a function of the file's own domain ``f``, from ``a`` to ``b``."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    return helper.make_function("f", name, ["a"], ["b"], list(nodes), imports)


def branch(nodes: Sequence[onnx.NodeProto], output: str = "z", constants: Mapping[str, Any] | None = None) -> Any:
    """Return a graph for a branch of If."""
    return graph_of(nodes, constants, (output,), ())


def if_node(condition: str, then: onnx.GraphProto, other: onnx.GraphProto, output: str = "y") -> onnx.NodeProto:
    """Return an If of two graphs."""
    return node("If", [condition], [output], then_branch=then, else_branch=other)
