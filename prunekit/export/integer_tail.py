"""The ops after the last layer's sums, in floats, by their C forms and twins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.export.c_interface import action_of
from prunekit.graph.c.body import CBody, c_body
from prunekit.graph.c.literals import Float32
from prunekit.graph.forms import TWIN
from prunekit.graph.graph import Graph, Node, as_dtype
from prunekit.graph.op import Array

# The array of C that the last layer's floats are in; others have a number.
_SUMS = "scores"


@final
@dataclass(frozen=True, kw_only=True)
class TailCode:
    """The declarations before the policy's function, and its last lines."""

    body: CBody
    functions: tuple[str, ...]
    lines: tuple[str, ...]


def tail_actions(tail: Graph, floats: Mapping[str, Float32]) -> tuple[NDArray[Any], Float32]:
    """Return (actions, values before the head) for the floats [n, k] of the tail's inputs, with the bits of the C."""
    tail = as_dtype(tail, np.float32)
    given = {port.name: floats[port.name].reshape(-1, *port.shape) for port in tail.inputs}
    rows = len(next(iter(given.values())))
    action = _value(tail, given, action_of(tail))
    outputs = _value(tail, given, "outputs" if "outputs" in tail.outputs else tail.inputs[0].name)
    return action if action.ndim == 1 else action.reshape(rows, -1), outputs.reshape(rows, -1)


def arrays_of(tail: Graph) -> dict[str, tuple[str, int]]:
    """Return the C array of each input of ``tail``, and its number of floats."""
    names = [_SUMS, *(f"{_SUMS}_{index + 2}" for index in range(len(tail.inputs) - 1))]
    return {port.name: (name, math.prod(port.shape)) for port, name in zip(tail.inputs, names, strict=True)}


def tail_to_c(tail: Graph, name: str, returned: bool) -> TailCode:
    """Return ``tail`` as C of the policy ``name``, whose function returns its action or fills ``action``.

    A tail that needs arrays becomes a function of its own. Raises InputError, naming node and op, for an op without a C
    form.
    """
    tail = as_dtype(tail, np.float32)
    action, arrays = action_of(tail), arrays_of(tail)
    fields = {port: (array, str(size)) for port, (array, size) in arrays.items()}
    body = c_body(_only(tail, action), name, action, fields, (), are_numbers=True)
    lines = tuple(line for line in body.lines if line != "    int i;")
    if not body.buffers:
        return TailCode(body=body, functions=body.functions, lines=lines)
    kind, more = ("int32_t", "") if returned else ("void", ", float *action")
    names = [array for array, _ in arrays.values()]
    head = f"static {kind} {name}_tail({', '.join(f'const float *{array}' for array in names)}{more})"
    call = f"{name}_tail({', '.join([*names, *(() if returned else ('action',))])});"
    call = f"return {call}" if returned else call
    own = "\n".join([head, "{", *body.lines, "}", ""])
    return TailCode(body=body, functions=(*body.functions, own), lines=(f"    {call}",))


def _only(tail: Graph, output: str) -> Graph:
    """Return the part of ``tail`` that ``output`` depends on, with ``output`` as its only output."""
    needed = {output}
    nodes: list[Node] = []
    for node in reversed(tail.nodes):
        if needed & set(node.outputs):
            nodes.insert(0, node)
            needed |= set(node.inputs)
    return replace(tail, nodes=tuple(nodes), outputs=(output,))


def _value(tail: Graph, given: Mapping[str, Array], output: str) -> Array:
    values = dict(given)
    with np.errstate(all="ignore"):
        for node in _only(tail, output).nodes:
            made = TWIN.of(node.op, node.name)(node.op, *(values[name] for name in node.inputs))
            values |= zip(node.outputs, made, strict=True)
    return values[output]
