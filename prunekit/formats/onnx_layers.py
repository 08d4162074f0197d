"""The parts of an ONNX graph that an output depends on: layers with sizes, and operators that sample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import onnx
from onnx import TensorProto

from prunekit.formats.onnx_file import all_nodes, attributes_of, inner_graphs
from prunekit.formats.onnx_ops import CONVOLUTIONS, MATRIX_PRODUCTS, PROXIES, RANDOM, RECURRENT
from prunekit.formats.onnx_values import Value, value_of_tensor
from prunekit.formats.onnx_work import Work

_POLICY_OUTPUTS = ("action", "actions", "outputs", "scores", "logits")
_CRITIC_OUTPUTS = {"value", "values", "critic", "state_value", "log_prob", "log_probs"}
_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
_BYTES = {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16}
# Where quantized operators have scales and zero points, which say how weights are stored and are none.
_SCALES = {
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), (1, 2)),
    **dict.fromkeys(("MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul"), (2, 3)),
    **dict.fromkeys(("QLinearMatMul", "QLinearConv", "QLinearAdd", "QLinearMul"), (1, 2, 4, 5, 6, 7)),
    "MatMulIntegerToFloat": (2, 3, 4, 5),
    "QGemm": (1, 2, 4, 5, 7, 8),
}
_WHOLE = {TensorProto.INT32, TensorProto.INT64, TensorProto.UINT32, TensorProto.UINT64, TensorProto.BOOL}
_WIDE_BIASES = {("QLinearConv", 8), ("DequantizeLinear", 0), ("QGemm", 6)}


@final
@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What some outputs need: ``hidden`` widths of the layers that feed another layer, in the order of the graph;
    stored ``parameters`` (constants of more than one axis-less number), ``layer_parameters`` those that layers read
    directly, and ``macs`` per observation in products with stored weights.
    """

    hidden: tuple[int, ...]
    parameters: int
    layer_parameters: int
    macs: int


def deployed_outputs(names: Sequence[str]) -> list[str]:
    """Return the outputs that belong to the policy, by their names: only the action if one has that name."""
    for name in _POLICY_OUTPUTS:
        if name in names:
            return [name]
    return [name for name in names if name not in _CRITIC_OUTPUTS] or list(names)


def sampled_outputs(work: Work) -> dict[str, str]:
    """Return the outputs that depend on an operator that samples, with the name of that operator."""
    drawn: dict[str, str] = {}
    for node in all_nodes(work.plain.graph.node):
        source = node.op_type if _draws(node, work) else None
        source = source or next((drawn[name] for name in _reads(node) if name in drawn), None)
        if source is not None:
            drawn |= dict.fromkeys(filter(None, node.output), source)
    return {entry.name: drawn[entry.name] for entry in work.plain.graph.output if entry.name in drawn}


def varying_outputs(work: Work) -> list[str]:
    """Return the outputs that depend on an input, in the graph's order."""
    return [entry.name for entry in work.plain.graph.output if not work.values[entry.name].fixed]


def sizes_of_outputs(work: Work, outputs: Iterable[str]) -> Sizes:
    """Return the sizes of what ``outputs`` depend on, in the graph of ``work``."""
    nodes = _needed(work.nodes, outputs)
    stored = _stored(work)
    layers: list[tuple[int, onnx.NodeProto]] = []
    fed = 0  # bit k: layer k feeds another layer
    above: dict[str, int] = {}  # bit k: layer k reaches the value, with no other layer between
    counted: set[str] = set()
    in_layers: set[str] = set()
    makers = {name: node for node in nodes for name in node.output if name}
    for node in nodes:
        reached = 0
        for name in _reads(node):
            reached |= above.get(name, 0)
        # Integers are weights where they are stored in bytes, are wide biases, or are a matrix behind a layer.
        counted |= {name for place, name in enumerate(node.input) if _is_parameter(node, place, stored.get(name))}
        width = _width(node, work.values)
        if width is not None:
            fed |= reached
            reached = 1 << len(layers)
            layers.append((width, node))
            read = {name for name in node.input if name in stored}
            behind = {name for name in _behind(node, makers, work.values) if name in stored}
            counted |= {name for name in behind if len(stored[name].dims or ()) > 1 and stored[name].kind in _WHOLE}
            in_layers |= {name for name in read if stored[name].kind in _FLOATS}
        above |= dict.fromkeys(filter(None, node.output), reached)
    return Sizes(
        hidden=tuple(width for place, (width, _) in enumerate(layers) if fed >> place & 1),
        parameters=sum(stored[name].limit or 0 for name in counted),
        layer_parameters=sum(stored[name].limit or 0 for name in in_layers),
        macs=sum(_macs(node, work) for _, node in layers),
    )


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    yield from filter(None, node.input)
    for graph in inner_graphs(node):
        yield from (entry.name for entry in graph.output)


def _draws(node: onnx.NodeProto, work: Work) -> bool:
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return node.op_type in RANDOM
    training = work.values[node.input[2]].numbers if node.input[2] in work.values else None
    return training is None or bool(np.any(training))


def _needed(nodes: Sequence[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    wanted, found = set(outputs), []
    for node in reversed(nodes):
        if any(name in wanted for name in node.output):
            wanted |= set(_reads(node))
            found.append(node)
    return found[::-1]


def _stored(work: Work) -> dict[str, Value]:
    graphs = [work.plain.graph]
    for node in all_nodes(work.plain.graph.node):
        graphs += inner_graphs(node)
    tensors = {tensor.name: value_of_tensor(tensor) for graph in graphs for tensor in graph.initializer}
    constants = (node.output[0] for node in work.nodes if node.op_type == "Constant" and node.output)
    return tensors | {name: work.values[name] for name in constants}


def _is_parameter(node: onnx.NodeProto, place: int, value: Value | None) -> bool:
    if value is None or not value.dims or place in _SCALES.get(node.op_type, ()):
        return False
    return value.kind in _FLOATS | _BYTES or (node.op_type, place) in _WIDE_BIASES


def _operands(node: onnx.NodeProto, values: dict[str, Value]) -> list[tuple[str, Value | None]]:
    quantized = node.op_type in ("QLinearMatMul", "QLinearConv")
    _, positions = PROXIES.get(node.op_type, ("", (0, 3 if quantized else 1)))
    names = [node.input[place] if place < len(node.input) else "" for place in positions]
    return [(name, values.get(name)) for name in names]


def _operator(node: onnx.NodeProto) -> str:
    return PROXIES.get(node.op_type, (node.op_type, ()))[0]


def _width(node: onnx.NodeProto, values: dict[str, Value]) -> int | None:
    """Return the number of units of ``node`` if it is a layer: a product of a computed value and a constant matrix."""
    operator = _operator(node)
    if operator not in MATRIX_PRODUCTS | CONVOLUTIONS | RECURRENT | {"Einsum"}:
        return None
    (_, first), (_, second) = _operands(node, values)
    if first is None or second is None or first.fixed == second.fixed:
        return None
    weight = second if second.fixed else first
    dims = [size or 0 for size in weight.dims or ()]
    if len(dims) < 2 or (operator not in MATRIX_PRODUCTS | {"Einsum"} and weight is not second):
        return None
    given = attributes_of(node)
    if operator in RECURRENT:
        return int(given.get("hidden_size", 0)) * dims[0]
    if operator in CONVOLUTIONS:
        return dims[1] * int(given.get("group", 1)) if operator == "ConvTranspose" else dims[0]
    if operator == "Einsum":
        return _einsum_width(given.get("equation", b"").decode("ascii", "replace"), weight is second, dims)
    turned = given.get("transB" if weight is second else "transA", 0)
    return dims[-1] if (weight is second) != bool(turned) else dims[-2]


def _einsum_width(equation: str, second: bool, dims: list[int]) -> int | None:
    terms, _, result = equation.replace(" ", "").partition("->")
    term = terms.split(",")[second]
    if len(term) != len(dims):
        return None
    return math.prod(size for letter, size in zip(term, dims, strict=True) if letter in result)


def _behind(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], values: dict[str, Value]) -> set[str]:
    """Return all values that the constant operands of ``node`` are made of; a weight may be transposed or quantized."""
    waiting = [name for name, value in _operands(node, values) if value is not None and value.fixed]
    if _operator(node) in RECURRENT:
        waiting += [name for name in node.input[2:4] if name]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += list(_reads(makers[name])) if name in makers else []
    return seen


def _macs(node: onnx.NodeProto, work: Work) -> int:
    output = next(filter(None, node.output))
    if work.values[output].limit is not None:
        return work.products[output]
    return max((value.limit or 0 for _, value in _operands(node, work.values) if value is not None and value.fixed))
