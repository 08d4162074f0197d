"""A walk over the nodes of an ONNX graph that evaluates constant nodes and turns all others into ops."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import onnx
from onnx import numpy_helper

from prunekit.errors import ArtifactError, InputError
from prunekit.formats.onnx_file import attributes_of, inner_graphs
from prunekit.formats.onnx_ops import (
    CONVOLUTIONS,
    EVALUATED,
    MACHINE_LEARNING,
    MICROSOFT,
    POOLS,
    PROXIES,
    RANDOM,
    STANDARD_DOMAINS,
)
from prunekit.formats.onnx_work import Work
from prunekit.formats.text import shown
from prunekit.readers.lowering.builder import Builder
from prunekit.readers.lowering.values import Choices, Data, Held, Index, Known, Truth
from prunekit.readers.onnx import elementwise, layers, movement, norms, recurrent  # noqa: F401  (they fill the table)
from prunekit.readers.onnx.call import OPERATORS, Call
from prunekit.readers.onnx.movement import evaluated

_FOLDED = EVALUATED | {
    *("Clip", "Cos", "CumSum", "DequantizeLinear", "Erf", "Exp", "EyeLike", "Gemm", "IsInf", "IsNaN", "Log", "MatMul"),
    *(
        "Mean",
        "NonZero",
        "OneHot",
        "Pad",
        "QuantizeLinear",
        "Reciprocal",
        "ReduceL2",
        "ReduceMean",
        "ReduceSumSquare",
        "Relu",
    ),
    *("Sigmoid", "Sin", "Softmax", "Softplus", "Tanh", "Trilu"),
}
_QUANTIZED = [name for name in (*PROXIES, *MICROSOFT) if name.startswith(("Q", "Dynamic")) and name != "QuickGelu"]
_FAMILIES = {
    **dict.fromkeys(CONVOLUTIONS, "is a convolution; only fully connected layers are read"),
    **dict.fromkeys(POOLS, "pools, as convolutional policies do; only fully connected layers are read"),
    **dict.fromkeys(
        (*_QUANTIZED, "QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul"),
        "computes in integers; export the policy in floating point, before it was quantized",
    ),
    "Einsum": "multiplies by indices, as attention does; export the policy with MatMul or Gemm",
    **dict.fromkeys(RANDOM, "draws numbers, so one observation has many answers; export its deterministic action"),
}

Scope = MutableMapping[str, Held]


@final
@dataclass(kw_only=True)
class Walk:
    """The state of reading the file ``called``. ``work`` holds its limits and what is known about all values."""

    called: str
    work: Work
    version: int
    build: Builder
    notes: list[str] = field(default_factory=list)

    def graph(self, graph: onnx.GraphProto, scope: Scope, wanted: Iterable[str]) -> None:
        """Read the nodes that the values ``wanted`` of ``graph`` depend on into ``scope``."""
        for tensor in graph.initializer:
            scope[tensor.name] = Known(array=np.asarray(numpy_helper.to_array(tensor)))
        for node in needed_nodes(graph.node, wanted):
            try:
                made = self.node(node, scope)
            except InputError as error:
                if isinstance(error, ArtifactError):
                    raise
                raise self.refusal(node, str(error)) from error
            scope.update((name, value) for name, value in zip(node.output, made, strict=False) if name)

    def refusal(self, node: onnx.NodeProto, what: str) -> InputError:
        """Return an InputError about ``node``."""
        at = node.name or next(iter(node.output), "")
        return InputError(f"{self.called}: {shown(node.op_type)} '{shown(at)}' {what}")

    def node(self, node: onnx.NodeProto, scope: Scope) -> Sequence[Held]:
        """Return the outputs of ``node``."""
        inputs = [scope[name] if name else None for name in node.input]
        if node.op_type == "If" and node.domain in STANDARD_DOMAINS:
            return self.branch(node, inputs, scope)
        self.build.label = next(filter(None, node.output), node.name)
        kinds = [self.work.values[name].kind if name in self.work.values else 0 for name in node.input]
        call = Call(
            node=node, version=self.version, attributes=attributes_of(node), inputs=inputs, kinds=kinds,
            build=self.build, notes=self.notes,
        )  # fmt: skip
        first = inputs[0] if inputs else None
        if node.op_type in ("Shape", "Size") and isinstance(first, Data | Index | Choices | Truth):
            return self.sizes(call, first)
        if all(value is None or isinstance(value, Known) for value in inputs):
            return self.folded(call)
        function = OPERATORS.get(node.op_type) if node.domain not in MACHINE_LEARNING else None
        if function is None:
            what = _FAMILIES.get(node.op_type, "is not read into a graph; export the policy without it")
            raise InputError(what)
        return function(call)

    def sizes(self, call: Call, value: Data | Index | Choices | Truth) -> Sequence[Held]:
        """Return the results of Shape or Size, with the sizes for one observation."""
        dims = value.of.dims if isinstance(value, Truth) else value.dims
        if call.node.op_type == "Size":
            return (Known(array=np.asarray(int(np.prod(dims)), np.int64)),)
        part = dims[slice(call.attributes.get("start"), call.attributes.get("end"))]
        return (Known(array=np.asarray(part, np.int64)),)

    def folded(self, call: Call) -> Sequence[Held]:
        """Return the results of ``call`` on constant inputs."""
        node = call.node
        if node.op_type in RANDOM:
            raise InputError(_FAMILIES[node.op_type])
        if node.op_type == "Dropout":
            return (call.held(0),)
        if node.op_type not in _FOLDED or node.domain not in STANDARD_DOMAINS:
            raise InputError("has only constant inputs, but is not folded; export the policy with constants folded")
        arrays = [value.array if isinstance(value, Known) else None for value in call.inputs]
        return tuple(Known(array=array) for array in evaluated(call, arrays))

    def branch(self, node: onnx.NodeProto, inputs: list[Held | None], scope: Scope) -> Sequence[Held]:
        """Return the outputs of the branch of an If whose condition is constant."""
        condition = inputs[0] if inputs else None
        if not isinstance(condition, Known) or condition.array.size != 1:
            raise InputError(
                "branches on the observation, so it is not a feed-forward policy; export it without branches"
            )
        name = "then_branch" if bool(condition.array.reshape(())) else "else_branch"
        graph = next(entry.g for entry in node.attribute if entry.name == name)
        inner: Scope = ChainMap({}, scope)
        names = [entry.name for entry in graph.output]
        self.graph(graph, inner, names)
        return [inner[name] for name in names]


def needed_nodes(nodes: Sequence[onnx.NodeProto], wanted: Iterable[str]) -> list[onnx.NodeProto]:
    """Return the nodes that ``wanted`` values depend on, in order."""
    names, found = set(wanted), []
    for node in reversed(nodes):
        if any(name in names for name in node.output if name):
            names |= read_by(node)
            found.append(node)
    return found[::-1]


def read_by(node: onnx.NodeProto) -> set[str]:
    """Return all names that ``node`` reads, including those that its subgraphs take from outside."""
    names = set(filter(None, node.input))
    for graph in inner_graphs(node):
        inner = {tensor.name for tensor in graph.initializer} | {name for one in graph.node for name in one.output}
        read = set().union(*(read_by(one) for one in graph.node)) | {entry.name for entry in graph.output}
        names |= read - inner
    return names
