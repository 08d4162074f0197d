"""The C function of a graph: its statements, and the constants and helper functions that they need."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from prunekit.errors import InputError
from prunekit.graph.c.layers import AT_A_TIME, LayerCall, layer_statement, layers_to_c
from prunekit.graph.c.literals import Constant
from prunekit.graph.c.names import buffer_name
from prunekit.graph.c.writer import DEFINED_EVERYWHERE, CValue, CWriter
from prunekit.graph.forms import C
from prunekit.graph.graph import Graph, Node, specs_of
from prunekit.graph.op import Spec, name_of


@final
@dataclass(frozen=True, kw_only=True)
class CBody:
    """The lines of a C function, and the declarations before it. ``buffers`` are the sizes of its arrays in floats."""

    lines: tuple[str, ...]
    constants: tuple[Constant, ...]
    functions: tuple[str, ...]
    layers: tuple[LayerCall, ...]
    buffers: tuple[int, ...]


def is_read_as_it_is(graph: Graph, port: str) -> bool:
    """Return whether only one op reads the input ``port``, and that op gives finite values for any input.

    The C makes every other input finite first.
    """
    readers = [node for node in graph.nodes for name in node.inputs if name == port]
    elsewhere = port in graph.outputs or any(port == state.after for state in graph.states)
    return len(readers) == 1 and not elsewhere and type(readers[0].op) in DEFINED_EVERYWHERE


def c_body(
    graph: Graph,
    name: str,
    action: str,
    fields: Mapping[str, tuple[str, str]],
    members: Sequence[str],
    *,
    are_numbers: bool = False,
    at_a_time: int = AT_A_TIME,
) -> CBody:
    """Return the C function ``name`` that computes the value ``action`` and the next states of ``graph``.

    ``fields`` are the C expressions of pointer and length for each input, by its name in the graph. ``members`` are the
    members of the struct ``state``, one per state. Inputs in ``are_numbers`` are never NaN and are read directly.
    Layers add ``at_a_time`` inputs at once. Raises InputError, naming node and op, for an op without a C form, and for
    integer inputs.
    """
    writer, specs = CWriter(name), specs_of(graph)
    ends = [action, *(state.after for state in graph.states)]
    nodes = _needed(graph, ends, action)
    reads = Counter([*(name for node in nodes for name in node.inputs), *ends])
    values = _loaded(writer, graph, reads, fields, members, are_numbers)
    number = specs[action].dtype == "int64"
    place = CValue(base="action", spec=specs[action], returned=number and not specs[action].shape)
    for node in nodes:
        if action in node.outputs and number:
            _store(writer, graph, values, members)
        given = tuple(values[name] for name in node.inputs)
        made = tuple(specs[name] for name in node.outputs)
        writer.begin(made, given, place if node.outputs[0] == action else None)
        form = C.of(node.op, node.name)
        try:
            outputs = form(node.op, writer, *given)
        except InputError as error:
            raise InputError(f"node '{node.name}' ({name_of(node.op)}): {error}") from error
        writer.end(outputs, tuple(reads[name] for name in node.outputs))
        values |= zip(node.outputs, outputs, strict=True)
    if not number:
        if values[action].base != place.base:
            writer.each(place, f"{values[action].text}[i]")
        _store(writer, graph, values, members)
    return _finished(writer, chain=_is_chain(nodes, specs), at_a_time=at_a_time)


def _needed(graph: Graph, ends: Sequence[str], action: str) -> list[Node]:
    """Return the nodes that ``ends`` depend on; the node of the action comes last if no other node reads it."""
    wanted, nodes = set(ends), list[Node]()
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            nodes.insert(0, node)
            wanted |= set(node.inputs)
    last = [node for node in nodes if action in node.outputs and action not in _read(nodes)]
    return [*(node for node in nodes if node not in last), *last]


def _is_chain(nodes: Sequence[Node], specs: Mapping[str, Spec]) -> bool:
    """Return whether every node reads exactly one vector: the output of the previous node."""
    vectors = all(len(node.inputs) == 1 and len(specs[node.inputs[0]].shape) == 1 for node in nodes)
    return vectors and all(node.inputs[0] in before.outputs for before, node in pairwise(nodes))


def _read(nodes: Sequence[Node]) -> set[str]:
    return {name for node in nodes for name in node.inputs}


def _loaded(
    writer: CWriter,
    graph: Graph,
    reads: Counter[str],
    fields: Mapping[str, tuple[str, str]],
    members: Sequence[str],
    are_numbers: bool,
) -> dict[str, CValue]:
    values: dict[str, CValue] = {}
    for port in graph.inputs:
        pointer, length = fields[port.name]
        if not reads[port.name]:
            writer.add(f"    (void){pointer};")
            continue
        if port.dtype != "float32":
            raise InputError(f"input '{port.name}' is {port.dtype}, but C takes floats")
        if are_numbers or is_read_as_it_is(graph, port.name):
            values[port.name] = CValue(base=pointer, spec=port.spec, length=length)
            continue
        kept = _kept(writer, port.spec, reads[port.name])
        writer.add(f"    for (i = 0; i < {length}; ++i) {{", f"        const float v = {pointer}[i];")
        writer.add(f"        {kept.text}[i] = v - v == 0.0f ? v : 0.0f;", "    }")
        values[port.name] = kept
    for state, member in zip(graph.states, members, strict=True):
        if reads[state.before]:
            kept = _kept(writer, Spec(state.initial.shape), reads[state.before])
            writer.each(kept, f"state->{member}[i]")
            values[state.before] = kept
    return values


def _kept(writer: CWriter, spec: Spec, reads: int) -> CValue:
    writer.begin((spec,), ())
    value = writer.make()
    writer.end((value,), (reads,))
    return value


def _store(writer: CWriter, graph: Graph, values: Mapping[str, CValue], members: Sequence[str]) -> None:
    for state, member in zip(graph.states, members, strict=True):
        after = values[state.after]
        writer.add(f"    for (i = 0; i < {after.count}; ++i)", f"        state->{member}[i] = {after.text}[i];")


def _finished(writer: CWriter, *, chain: bool, at_a_time: int) -> CBody:
    sizes = writer.sizes if len(writer.sizes) > 2 else [max(writer.sizes, default=0)] * len(writer.sizes)
    lines: list[str] = []
    for statement in writer.statements:
        if isinstance(statement, LayerCall):
            lines += layer_statement(writer.name, statement, writer.layers, chain=chain, at_a_time=at_a_time)
        else:
            lines.append(statement)
    declared = [f"    float {buffer_name(at)}[{size}];" for at, size in enumerate(sizes)]
    if any(re.search(r"\bi\b", line) for line in lines):
        declared.append("    int i;")
    layers = layers_to_c(writer.name, writer.layers, chain=chain, at_a_time=at_a_time)
    return CBody(
        lines=(*declared, *lines),
        constants=tuple(writer.constants),
        functions=(*_once(writer.functions), *dict.fromkeys(writer.loops), *layers),
        layers=tuple(writer.layers),
        buffers=tuple(sizes),
    )


def _once(functions: Sequence[str]) -> list[str]:
    """Return the functions without duplicates, because two ops may need the same one."""
    pieces = [piece for text in functions for piece in text.split("\n\n")]
    return list(dict.fromkeys(piece.rstrip("\n") + "\n" for piece in pieces))
