"""ONNX files made by torch or by hand, and what ONNX Runtime makes of them, beside the graph that is read."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from prunekit.export.session import onnxruntime
from prunekit.graph.op import name_of
from prunekit.graph.reference import run_step
from prunekit.readers.foreign import ForeignGraph
from prunekit.readers.onnx_graph import read_onnx_graph

ROWS = 6
Array = NDArray[Any]


def exported(
    module: nn.Module, *shapes: Sequence[int], dynamo: bool = False, opset: int = 17, batch: bool = True
) -> bytes:
    """Return ``module`` as torch exports it, for inputs of ``shapes`` with a batch of 1; ``batch`` leaves that open."""
    names = [f"in_{at}" if at else "obs" for at in range(len(shapes))]
    given = tuple(torch.zeros(*shape) for shape in shapes)
    options: dict[str, Any] = {
        "dynamo": dynamo,
        "input_names": names,
        "output_names": ["actions"],
        "opset_version": opset,
    }
    if batch and dynamo:
        given = tuple(torch.zeros(2, *shape[1:]) for shape in shapes)
        options["dynamic_shapes"] = tuple({0: torch.export.Dim("batch")} for _ in shapes)
    elif batch:
        options["dynamic_axes"] = {name: {0: "batch"} for name in (*names, "actions")}
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(), given, **({"f": stream} if not dynamo else {"verbose": False}), **options
        )
    if dynamo:
        return bytes(program.model_proto.SerializeToString())
    return stream.getvalue()


def by_hand(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[int | str | None]],
    outputs: Sequence[str] = ("y",),
    constants: dict[str, Array] | None = None,
    *,
    opset: int = 17,
    kinds: dict[str, int] | None = None,
) -> bytes:
    """Return a file of ``nodes``; inputs are floats where ``kinds`` does not say otherwise."""
    kinds = kinds or {}
    graph = helper.make_graph(
        list(nodes),
        "policy",
        [
            helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shape)
            for name, shape in inputs.items()
        ],
        [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    domains = [helper.make_opsetid("", opset)]
    if any(node.domain == "com.microsoft" for node in nodes):
        domains.append(helper.make_opsetid("com.microsoft", 1))
    return bytes(helper.make_model(graph, opset_imports=domains, ir_version=8).SerializeToString())


def node(operator: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    """Return a node; names stand in one text, ``-`` for an input that is left out."""
    return helper.make_node(operator, [name.strip("-") for name in inputs.split()], outputs.split(), **attributes)


def ops_of(found: ForeignGraph) -> list[str]:
    """Return the ops of a graph, activations by their kind, without the Identity at its end."""
    names = [getattr(one.op, "kind", name_of(one.op)) for one in found.graph.nodes]
    return names[:-1] if names[-1] == "Identity" else names


def agreeing(
    content: bytes, *, output: str | None = None, spread: float = 2.0, tolerance: float = 1e-5
) -> ForeignGraph:
    """Read ``content`` and assert that the graph gives what ONNX Runtime does, in float32 and float64."""
    found = read_onnx_graph(content, "policy.onnx", output=output)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64, "tensor(bool)": bool}
    expected, given = [], []
    for _ in range(ROWS):
        feed = {}
        for entry in session.get_inputs():
            sizes = [size if isinstance(size, int) and size > 0 else 1 for size in entry.shape]
            value = spread * random.standard_normal(sizes)
            feed[entry.name] = (value > 0 if entry.type == "tensor(bool)" else value).astype(kinds[entry.type])
        expected.append(session.run([found.output], feed)[0])
        given.append(feed)
    inputs = {
        port.name: np.stack([feed[port.name].reshape(port.shape) for feed in given]) for port in found.graph.inputs
    }
    wanted = np.stack(expected).reshape(ROWS, -1)
    for dtype in (np.float32, np.float64):
        made, _ = run_step(found.graph, inputs, {}, dtype)
        answer = made["action"].reshape(ROWS, -1)
        if answer.dtype == np.int64:
            np.testing.assert_array_equal(answer, wanted)
        else:
            scale = max(1.0, float(np.abs(wanted).max()))
            np.testing.assert_allclose(answer, wanted, rtol=0.0, atol=tolerance * scale)
            np.testing.assert_array_equal(made["action"], made["outputs"])
    return found
