"""Checks of an ONNX file's structure before ONNX Runtime opens it; anything unbounded or inconsistent is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import onnx
from google.protobuf.message import DecodeError, Message
from onnx import AttributeProto, TensorProto, helper

from prunekit.errors import ArtifactError
from prunekit.formats.onnx_ops import is_known
from prunekit.formats.text import shown

_MAX_NODES = 10_000
_MAX_DEPTH = 8
_MAX_RANK = 32
_INT64_ENDS = (-(2**63), 2**63 - 1)  # what exporters write for "to the end"
NUMBERS = {
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.BOOL,
    TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
    TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64,
}  # fmt: skip
"""The types of number that policies are made of."""
_POSITIVE = {"strides", "dilations", "kernel_shape", "group", "hidden_size", "blocksize", "num_outputs", "sample_size"}


def parse_onnx(content: bytes, called: str) -> onnx.ModelProto:
    """Return the model in ``content`` with its structure checked; nothing of it is run.

    Raises ArtifactError, in one line that begins with ``called``, if it is not an ONNX file, and for names that are not
    UTF-8 or not printable, operators with unbounded work (``onnx_ops``), graphs nested deeper than 8, functions that
    call themselves or expand to more than 10,000 nodes, and tensors that are sparse, text, or not as large as they say.
    """
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(content)
        _check_text(model, called)
        if not model.HasField("graph"):
            raise ArtifactError(f"{called}: is damaged, or not an ONNX file (it has no graph); export it again")
        functions = {(function.domain, function.name): function for function in model.functions}
        _check_graph(model.graph, called, functions.keys(), 0)
        for function in model.functions:
            _check_nodes(function.node, called, functions.keys(), 1)
        _check_expansion(model, called)
    except (DecodeError, RecursionError) as error:
        raise ArtifactError(f"{called}: is damaged, or not an ONNX file; export it again") from error
    return model


def all_tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor stored in ``model``: initializers and attributes, including those of subgraphs and
    functions.
    """
    yield from _tensors(model)


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of ``node`` by name, without references to a function's attributes."""
    found = (attribute for attribute in node.attribute if not attribute.ref_attr_name)
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in found}


def inner_graphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Return the subgraphs among the attributes of ``node``."""
    return [attribute.g for attribute in node.attribute if attribute.type == AttributeProto.GRAPH]


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield ``nodes``, each after those of its subgraphs."""
    for node in nodes:
        for graph in inner_graphs(node):
            yield from all_nodes(graph.node)
        yield node


def _tensors(message: Message) -> Iterator[TensorProto]:
    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for entry in _entries(value):
                yield from _tensors(entry)


def _entries(value: Any) -> Iterable[Any]:
    return (value,) if isinstance(value, (Message, str, bytes)) else value


def _check_text(message: Message, called: str) -> None:
    """Refuse text that is not UTF-8, which protobuf does not check and returns as bytes."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for entry in _entries(value):
                _check_text(entry, called)
        elif field.type == field.TYPE_STRING:
            for text in _entries(value):
                if isinstance(text, bytes):
                    raise ArtifactError(
                        f"{called}: the {field.name} '{shown(text)}' in it is not UTF-8; export the model again"
                    )


def _check_name(name: str, called: str) -> None:
    if not name.isprintable():
        raise ArtifactError(f"{called}: the name '{shown(name)}' holds control characters; export it with plain names")


def _check_graph(graph: onnx.GraphProto, called: str, functions: Iterable[tuple[str, str]], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ArtifactError(f"{called}: its graphs are nested deeper than {_MAX_DEPTH}; export a plain one")
    if graph.sparse_initializer:
        raise ArtifactError(f"{called}: keeps sparse weights, which prunekit does not read; export them dense")
    for tensor in graph.initializer:
        _check_tensor(tensor, called)
    for value in (*graph.input, *graph.output, *graph.value_info):
        _check_name(value.name, called)
    for value in (*graph.input, *graph.output):
        _check_type(value, called)
    _check_nodes(graph.node, called, functions, depth)


def _check_type(value: onnx.ValueInfoProto, called: str) -> None:
    kind = value.type.WhichOneof("value")
    if kind is None:  # an inner graph's outputs need not say
        return
    if kind != "tensor_type" or value.type.tensor_type.elem_type not in {*NUMBERS, TensorProto.UNDEFINED}:
        raise ArtifactError(
            f"{called}: '{shown(value.name)}' is not a tensor of numbers; export the policy's network alone"
        )
    for size in value.type.tensor_type.shape.dim:
        _check_name(size.dim_param, called)
        if not -1 <= size.dim_value < 2**31:  # some exporters write -1 for an open size
            raise ArtifactError(
                f"{called}: '{shown(value.name)}' has an impossible size of {size.dim_value}; export the model again"
            )


def _check_nodes(
    nodes: Iterable[onnx.NodeProto], called: str, functions: Iterable[tuple[str, str]], depth: int
) -> None:
    for node in nodes:
        for name in (node.name, node.domain, node.op_type, *node.input, *node.output):
            _check_name(name, called)
        if (node.domain, node.op_type) not in functions and not is_known(node.domain, node.op_type):
            within = f" of {shown(node.domain)}" if node.domain else ""
            raise ArtifactError(
                f"{called}: has the operator {shown(node.op_type)}{within}, which prunekit does not run because "
                "nothing bounds its work beforehand; export the policy without it"
            )
        for attribute in node.attribute:
            _check_attribute(attribute, node, called, functions, depth)


def _check_attribute(
    attribute: AttributeProto,
    node: onnx.NodeProto,
    called: str,
    functions: Iterable[tuple[str, str]],
    depth: int,
) -> None:
    _check_name(attribute.name, called)
    _check_name(attribute.ref_attr_name, called)
    kinds = {AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS, AttributeProto.GRAPHS, AttributeProto.TENSORS}
    if attribute.type in kinds or (attribute.type == AttributeProto.GRAPH and node.op_type != "If"):
        raise _odd_attribute(attribute, node, called)
    if attribute.type == AttributeProto.GRAPH:
        _check_graph(attribute.g, called, functions, depth + 1)
    if attribute.type == AttributeProto.TENSOR:
        _check_tensor(attribute.t, called)
    whole = (attribute.i, *attribute.ints)
    if any(abs(value) > 2**31 and value not in _INT64_ENDS for value in whole):
        raise _odd_attribute(attribute, node, called)
    given = attribute.ints or (attribute.i,)
    if attribute.name in _POSITIVE and not attribute.ref_attr_name and any(value < 1 for value in given):
        raise _odd_attribute(attribute, node, called)
    if attribute.name in ("value_string", "value_strings") and node.op_type == "Constant":
        raise _odd_attribute(attribute, node, called)
    if any(math.isnan(value) for value in (attribute.f, *attribute.floats)):
        raise _odd_attribute(attribute, node, called)


def _odd_attribute(attribute: AttributeProto, node: onnx.NodeProto, called: str) -> ArtifactError:
    return ArtifactError(
        f"{called}: the attribute {shown(attribute.name)} of {shown(node.op_type)} '{shown(node.name)}' has a value "
        "that no policy needs; export the model again"
    )


def _check_tensor(tensor: TensorProto, called: str) -> None:
    """Refuse a tensor whose stated size does not fit the data that the file holds for it."""
    _check_name(tensor.name, called)
    if tensor.data_type not in NUMBERS:
        raise ArtifactError(
            f"{called}: the tensor '{shown(tensor.name)}' does not hold plain numbers; export the model without it"
        )
    if len(tensor.dims) > _MAX_RANK or any(not 0 <= size < 2**31 for size in tensor.dims):
        raise ArtifactError(f"{called}: the tensor '{shown(tensor.name)}' has impossible sizes; export the model again")
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise ArtifactError(f"{called}: the tensor '{shown(tensor.name)}' lies in another file; put it into this one")
    if tensor.HasField("segment"):
        raise ArtifactError(f"{called}: the tensor '{shown(tensor.name)}' is a part of another; export it as a whole")
    count = math.prod(tensor.dims)
    if tensor.HasField("raw_data"):
        held, wanted = len(tensor.raw_data), count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    else:
        held, wanted = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type))), count
    if held != wanted:
        raise ArtifactError(
            f"{called}: the tensor '{shown(tensor.name)}' has sizes {list(tensor.dims)}, but the file holds another "
            "amount of it; export the model again"
        )


def _check_expansion(model: onnx.ModelProto, called: str) -> None:
    """Limit the number of nodes after every call of a function of the file is replaced by its body."""
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    if len(bodies) != len(model.functions) or any(is_known(*key) for key in bodies):
        raise ArtifactError(f"{called}: defines a function twice, or one that already exists; export a plain graph")
    sizes: dict[tuple[str, str], int] = {}
    open_calls: list[tuple[str, str]] = []

    def size_of(nodes: Iterable[onnx.NodeProto]) -> int:
        total = 0
        for node in nodes:
            total += 1 + sum(size_of(graph.node) for graph in inner_graphs(node))
            key = (node.domain, node.op_type)
            if key in bodies:
                total += called_size(key)
            if total > _MAX_NODES:
                raise ArtifactError(f"{called}: has more than {_MAX_NODES:,} nodes; export a smaller graph")
        return total

    def called_size(key: tuple[str, str]) -> int:
        if key in open_calls or len(open_calls) > _MAX_DEPTH:
            raise ArtifactError(
                f"{called}: the function {shown(key[1])} calls itself, or calls are nested deeper than {_MAX_DEPTH}; "
                "export a plain graph"
            )
        if key not in sizes:
            open_calls.append(key)
            sizes[key] = size_of(bodies[key])
            open_calls.pop()
        return sizes[key]

    size_of(model.graph.node)
    for key in bodies:
        called_size(key)
