"""Upper bounds of an ONNX graph's work before it runs: the sizes of all values, and its multiply-accumulates.

The graph is walked node by node with known input sizes. ONNX's own inference gives the sizes of a node's outputs. Small
known values (exporters' arithmetic on shapes) are computed, so sizes that depend on them are known too. Values whose
sizes depend on the observation's values have an upper bound or are refused.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, inliner

from prunekit.errors import ArtifactError
from prunekit.formats.onnx_file import all_nodes, all_tensors
from prunekit.formats.onnx_inference import inferred_types, with_numbers
from prunekit.formats.onnx_ops import SIZED_BY_NUMBERS, STANDARD_DOMAINS, is_known
from prunekit.formats.onnx_values import (
    Value,
    count_of,
    either,
    limit_of,
    products_of,
    value_of_tensor,
    value_of_type,
)
from prunekit.formats.text import reason_of, shown

_FREE_VALUES, _VALUES_PER_WEIGHT = 2**23, 16
_FREE_PRODUCTS, _PRODUCTS_PER_WEIGHT = 2**28, 256

Scope = MutableMapping[str, Value]


@final
@dataclass(frozen=True, kw_only=True)
class Work:
    """The bounded work of one run.

    ``plain`` is the model with its functions replaced by their bodies. ``values`` are all values by name, and
    ``products`` the multiply-accumulates by a node's first named output. ``nodes`` are those that run, including those
    of subgraphs, each before its readers. ``is_open`` says that a size was left open.
    """

    plain: onnx.ModelProto
    values: dict[str, Value]
    products: dict[str, int]
    nodes: tuple[onnx.NodeProto, ...]
    is_open: bool


def bound_work(model: onnx.ModelProto, called: str, *, batch: int = 1, width: int | None = None) -> Work:
    """Return the work of one run of ``model`` (from ``parse_onnx``) on ``batch`` rows of ``width`` values.

    If ``width`` is None, open sizes stay open, and only values that depend on no input must be known: these are what
    ONNX Runtime computes when it loads a file. Raises ArtifactError, in one line that begins with ``called``, if sizes
    contradict each other, cannot be bounded, or exceed those of any policy. All values together may hold 8 million
    numbers plus 16 per stored weight, and all nodes may take 2^28 multiply-accumulates plus 256 per stored weight.
    """
    plain = _without_functions(model, called)
    stored = sum(math.prod(tensor.dims) for tensor in all_tensors(plain))
    walk = _Walk(called=called, version=_version(plain), ir_version=plain.ir_version, stored=stored)
    scope: Scope = {entry.name: _given(entry, batch, width) for entry in plain.graph.input}
    walk.values |= scope
    walk.is_open = any(value.limit is None for value in scope.values())
    walk.graph(plain.graph, scope, width is not None)
    for entry in plain.graph.output:
        if entry.name not in scope:
            raise ArtifactError(f"{called}: nothing gives its output '{shown(entry.name)}'; export the model again")
        if scope[entry.name].sequence:
            raise ArtifactError(f"{called}: its output '{shown(entry.name)}' is not a tensor; export the action alone")
    return Work(plain=plain, values=walk.values, products=walk.products, nodes=tuple(walk.nodes), is_open=walk.is_open)


def _without_functions(model: onnx.ModelProto, called: str) -> onnx.ModelProto:
    if not model.functions:
        return model
    try:
        plain = inliner.inline_local_functions(model)
    except Exception as error:  # onnx raises many types for functions that do not fit
        raise ArtifactError(f"{called}: its functions do not fit their calls ({reason_of(error)})") from error
    for node in all_nodes(plain.graph.node):
        if not is_known(node.domain, node.op_type):  # as where its operators are of another version than the model's
            raise ArtifactError(
                f"{called}: its function {shown(node.op_type)} cannot be expanded; export a plain graph"
            )
    return plain


def _version(model: onnx.ModelProto) -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS), default=1)


def _given(entry: onnx.ValueInfoProto, batch: int, width: int | None) -> Value:
    tensor = entry.type.tensor_type
    if not tensor.HasField("shape"):
        return Value(kind=tensor.elem_type, dims=None, limit=None, fixed=False)
    told = tensor.shape.dim
    sizes = [size.dim_value if size.HasField("dim_value") and size.dim_value >= 0 else None for size in told]
    dims = tuple(
        size if size is not None else batch if axis == 0 and len(sizes) > 1 else width
        for axis, size in enumerate(sizes)
    )
    return Value(kind=tensor.elem_type, dims=dims, limit=count_of(dims), fixed=False)


@final
@dataclass(kw_only=True)
class _Walk:
    """A walk over a graph; ``made`` and ``multiplied`` are the sizes and the work of all nodes so far."""

    called: str
    version: int
    ir_version: int
    stored: int
    values: dict[str, Value] = field(default_factory=dict)
    products: dict[str, int] = field(default_factory=dict)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    made: int = 0
    multiplied: int = 0
    is_open: bool = False

    def refusal(self, node: onnx.NodeProto, what: str) -> ArtifactError:
        at = shown(node.name or next(iter(node.output), ""))
        return ArtifactError(f"{self.called}: {shown(node.op_type)} '{at}' {what}")

    def graph(self, graph: onnx.GraphProto, scope: Scope, strict: bool) -> None:
        """Walk ``graph``; with ``strict`` all sizes must be known, not only those that depend on no input."""
        for tensor in graph.initializer:
            scope[tensor.name] = self.values[tensor.name] = value_of_tensor(tensor)
        for node in graph.node:
            unknown = next((name for name in node.input if name and name not in scope), None)
            if unknown is not None:
                raise self.refusal(node, f"reads '{shown(unknown)}', which nothing before it gives; export it again")
            inputs = [scope[name] if name else None for name in node.input]
            if node.op_type == "If" and node.domain in STANDARD_DOMAINS:
                outputs = self.branches(node, inputs, scope, strict)
            else:
                outputs = self.outputs(node, inputs, strict)
            self.charge(node, inputs, outputs)
            self.nodes.append(node)
            for name, value in zip(node.output, outputs, strict=True):
                if name:
                    scope[name] = self.values[name] = value

    def branches(self, node: onnx.NodeProto, inputs: list[Value | None], scope: Scope, strict: bool) -> list[Value]:
        """Walk both branches of an If; if the condition is known, the sizes of the other branch need not fit."""
        condition = inputs[0].numbers if inputs and inputs[0] is not None else None
        taken = None if condition is None or condition.size != 1 else bool(condition.reshape(())[()])
        graphs = {entry.name: entry.g for entry in node.attribute}
        if set(graphs) != {"then_branch", "else_branch"}:
            raise self.refusal(node, "has no two branches; export the model again")
        ends: dict[bool, list[Value]] = {}
        for chosen, name in ((True, "then_branch"), (False, "else_branch")):
            inner: Scope = ChainMap({}, scope)
            kept = len(self.nodes)
            self.graph(graphs[name], inner, strict and taken in (None, chosen))
            if taken is (not chosen):
                del self.nodes[kept:]
            names = [entry.name for entry in graphs[name].output]
            if len(names) != len(node.output) or any(output not in inner for output in names):
                raise self.refusal(node, "has branches of other outputs than its own; export the model again")
            ends[chosen] = [inner[output] for output in names]
        if taken is not None:
            return ends[taken]
        return [either(*pair) for pair in zip(ends[True], ends[False], strict=True)]

    def outputs(self, node: onnx.NodeProto, inputs: list[Value | None], strict: bool) -> list[Value]:
        given = [value for value in inputs if value is not None]
        fixed = all(value.fixed for value in given)
        sizes = [inputs[place] for place in SIZED_BY_NUMBERS.get(node.op_type, ()) if place < len(inputs)]
        if any(value is not None and _is_huge(value.numbers) for value in sizes):
            raise self.refusal(node, "is told an impossible size; export the model again")
        try:
            types = inferred_types(node, inputs, self.version, self.ir_version)
        except ValueError as error:
            if strict or fixed:
                raise self.refusal(node, f"does not fit what it is given ({error})") from error
            types, self.is_open = {}, True
        found = []
        for name in node.output:
            value = value_of_type(types.get(name), fixed)
            if not name:
                value = replace(value, dims=(0,), limit=0)
            if value.limit is None:
                value = replace(value, limit=limit_of(node, given))
            if value.kind == TensorProto.STRING or any(size is not None and size < 0 for size in value.dims or ()):
                raise self.refusal(node, "gives text, or a value of a negative size; export the model again")
            if value.limit is None and (strict or fixed):
                raise self.refusal(
                    node,
                    "gives a value whose size nothing bounds before it runs; export the policy with sizes that are "
                    "fixed but for the batch",
                )
            self.is_open |= value.limit is None
            found.append(value)
        return with_numbers(node, inputs, found, self.version)

    def charge(self, node: onnx.NodeProto, inputs: list[Value | None], outputs: list[Value]) -> None:
        """Add the size and the work of ``node``; refuse a total beyond what a policy of this size needs."""
        products = products_of(node, inputs, outputs)
        made = sum(value.limit or 0 for value in outputs)
        self.products[next(filter(None, node.output), "")] = products
        self.made += made
        self.multiplied += max([products, made, *(value.limit or 0 for value in inputs if value is not None)])
        if self.made > _FREE_VALUES + _VALUES_PER_WEIGHT * self.stored:
            raise self.refusal(node, f"gives {made:,} numbers, more than a policy needs; export a smaller graph")
        if self.multiplied > _FREE_PRODUCTS + _PRODUCTS_PER_WEIGHT * self.stored:
            raise self.refusal(node, f"takes {products:,} products, more than a policy needs; export a smaller graph")


def _is_huge(numbers: NDArray[Any] | None) -> bool:
    if numbers is None or numbers.dtype == np.bool_ or not numbers.size:
        return False
    return not bool((np.abs(numbers.astype(np.float64)) < 2.0**31).all())
