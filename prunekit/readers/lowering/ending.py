"""The last step of reading: from the built values to a graph with its two outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

from prunekit.errors import InputError
from prunekit.graph.graph import Graph, Node, State
from prunekit.graph.op import Array, Op
from prunekit.ops.argmax import Argmax
from prunekit.ops.argmax_per_part import ArgmaxPerPart
from prunekit.ops.identity import Identity
from prunekit.ops.log_softmax import LogSoftmax
from prunekit.ops.softmax import Softmax
from prunekit.ops.threshold import Threshold
from prunekit.readers.lowering.builder import Builder
from prunekit.readers.lowering.values import Choices, Data, Index, Truth, leading
from prunekit.readers.passes.rewriting import Found, View, rewritten
from prunekit.readers.passes.simplify import simplified


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Carried:
    """The next value of a state, and its initial value."""

    after: Data
    initial: Array


def ended(build: Builder, answer: Data | Index | Choices | Truth, states: Mapping[str, Carried] | None = None) -> Graph:
    """Return the graph of ``answer``: ``outputs`` are its values, and ``action`` is the result of its head.

    ``states`` are inputs that are states: the next and the initial value of each. Raises InputError if the answer is an
    unchanged input, and as ``Graph`` does.
    """
    states = states or {}
    if isinstance(answer, Index | Choices):
        head: Op = Argmax(start=answer.start) if isinstance(answer, Index) else _per_part(answer)
        name = build.shaped(answer.of, (*leading(answer.of.dims), answer.of.dims[-1]))
    else:
        head = Threshold() if isinstance(answer, Truth) else Identity()
        answer = answer.of if isinstance(answer, Truth) else answer
        name = build.shaped(answer, tuple(size for size in answer.dims if size != 1) or (1,))
    if name in {port.name for port in build.ports}:
        raise InputError(f"gives its input '{name}' as it is, and computes nothing")

    def renamed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple("outputs" if one == name else one for one in names)

    left = {name: build.shaped(carried.after, build.specs[name].shape) for name, carried in states.items()}
    nodes = [replace(node, inputs=renamed(node.inputs), outputs=renamed(node.outputs)) for node in build.nodes]
    nodes.append(Node(op=head, inputs=("outputs",), outputs=("action",)))
    graph = Graph(
        inputs=tuple(port for port in build.ports if port.name not in states),
        nodes=tuple(nodes),
        outputs=("action", "outputs"),
        states=tuple(
            State(before=name, after=renamed((left[name],))[0], initial=carried.initial)
            for name, carried in states.items()
        ),
    )
    graph = simplified(graph)
    return rewritten(graph, [_probabilities]) if isinstance(head, Argmax) else graph


def _per_part(answer: Choices) -> Op:
    return ArgmaxPerPart(counts=answer.counts, starts=answer.starts)


def _probabilities(_: View, node: Node) -> Found:
    """Replace the argmax of probabilities by the argmax of what they were computed from."""
    return node.inputs[0] if node.outputs == ("outputs",) and isinstance(node.op, Softmax | LogSoftmax) else None
