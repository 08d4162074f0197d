"""ONNX export of a graph: opset 17, one self-contained file, one input and one output per state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from prunekit.errors import InputError
from prunekit.graph.forms import ONNX
from prunekit.graph.graph import Graph, specs_of
from prunekit.graph.op import Array, Spec

OPSET = 17
IR_VERSION = 8
INITIAL_STATES = "initial_states"
"""The entry of prunekit's metadata that has the first values of states."""
_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


@final
class OnnxWriter:
    """Collects ONNX nodes and constants while ops write their ONNX form, and chooses the names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.specs: dict[str, Spec] = {}  # of what nodes of the graph read, by the names used here

    def add(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node with one output, and return the name of the output."""
        return self.add_several(operator, inputs, 1, **attributes)[0]

    def add_several(self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> tuple[str, ...]:
        """Add a node with several outputs, and return their names."""
        called = f"/{operator.lower()}_{len(self.nodes)}"
        names = (called,) if outputs == 1 else tuple(f"{called}_{at}" for at in range(outputs))
        self.nodes.append(helper.make_node(operator, list(inputs), list(names), **attributes))
        return names

    def constant(self, value: Array | float | Sequence[int]) -> str:
        """Add a constant and return its name; floats become float32, integers int64."""
        array = np.asarray(value)
        kind = np.float32 if array.dtype.kind == "f" else np.int64
        name = f"/c_{len(self.constants)}"
        with np.errstate(over="ignore"):  # a bound beyond float32 is no bound
            self.constants[name] = array.astype(kind, copy=False)
        return name


def to_onnx(graph: Graph, metadata: Mapping[str, str] | None = None, aliases: Mapping[str, str] | None = None) -> bytes:
    """Return ``graph`` as the bytes of an ONNX file; a state becomes an input ``NAME`` and an output ``NAME_out``.

    ``metadata`` is written to ``metadata_props``, together with initial states that are not zero. ``aliases`` maps
    additional output names to existing ones. The same arguments give the same bytes. Raises InputError, naming node and
    op, for an op without an ONNX form.
    """
    writer, specs = OnnxWriter(), specs_of(graph)
    inputs = {port.name: port.spec for port in graph.inputs} | {s.before: specs[s.before] for s in graph.states}
    names = {name: name for name in inputs}
    for node in graph.nodes:
        writer.specs |= {names[name]: specs[name] for name in node.inputs}
        made = ONNX.of(node.op, node.name)(node.op, writer, *(names[name] for name in node.inputs))
        names |= zip(node.outputs, made, strict=True)
    ends = [(name, names[name], specs[name]) for name in graph.outputs]
    ends += [(alias, names[name], specs[name]) for alias, name in (aliases or {}).items()]
    ends += [(f"{state.before}_out", names[state.after], specs[state.after]) for state in graph.states]
    taken = [*inputs, *(name for name, _, _ in ends)]
    if len(set(taken)) != len(taken):
        double = next(name for name in taken if taken.count(name) > 1)
        raise InputError(f"'{double}' would be the name of two inputs or outputs of the ONNX file; rename one")
    for name, value, _ in ends:
        writer.nodes.append(helper.make_node("Identity", [value], [name]))
    proto = helper.make_graph(
        writer.nodes,
        "policy",
        [_info(name, spec) for name, spec in inputs.items()],
        [_info(name, spec) for name, _, spec in ends],
    )
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="prunekit"
    )
    held = {state.before: state.initial.ravel().tolist() for state in graph.states if state.initial.any()}
    first = {f"prunekit.{INITIAL_STATES}": json.dumps(held)} if held else {}
    helper.set_model_props(model, dict(sorted({**(metadata or {}), **first}.items())))
    for name, array in writer.constants.items():  # checked here, because later steps make copies
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    content = bytes(model.SerializeToString(deterministic=True))
    del model
    onnx.checker.check_model(content, full_check=True)
    return content


def _info(name: str, spec: Spec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[spec.dtype], ["batch", *spec.shape])
