"""From what was built to a graph with its two outputs."""

from __future__ import annotations

from dataclasses import replace

from prunekit.errors import InputError
from prunekit.graph.graph import Graph, Node
from prunekit.graph.op import Op
from prunekit.ops.argmax import Argmax
from prunekit.ops.identity import Identity
from prunekit.ops.log_softmax import LogSoftmax
from prunekit.ops.softmax import Softmax
from prunekit.ops.threshold import Threshold
from prunekit.readers.lowering.builder import Builder
from prunekit.readers.lowering.values import Data, Index, Truth, leading
from prunekit.readers.passes.rewriting import Found, View, rewritten
from prunekit.readers.passes.simplify import simplified


def ended(build: Builder, answer: Data | Index | Truth) -> Graph:
    """Return the graph of ``answer``: ``outputs`` are its values, ``action`` what ``answer`` makes of them.

    Raises InputError where the answer is an input as it is, and as ``Graph`` does.
    """
    if isinstance(answer, Index):
        head: Op = Argmax(start=answer.start)
        name = build.shaped(answer.of, (*leading(answer.of.dims), answer.of.dims[-1]))
    else:
        head = Threshold() if isinstance(answer, Truth) else Identity()
        answer = answer.of if isinstance(answer, Truth) else answer
        name = build.shaped(answer, tuple(size for size in answer.dims if size != 1) or (1,))
    if name in {port.name for port in build.ports}:
        raise InputError(f"gives its input '{name}' as it is, and computes nothing")

    def renamed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple("outputs" if one == name else one for one in names)

    nodes = [replace(node, inputs=renamed(node.inputs), outputs=renamed(node.outputs)) for node in build.nodes]
    nodes.append(Node(op=head, inputs=("outputs",), outputs=("action",)))
    graph = simplified(Graph(inputs=build.ports, nodes=tuple(nodes), outputs=("action", "outputs")))
    return rewritten(graph, [_probabilities]) if isinstance(head, Argmax) else graph


def _probabilities(_: View, node: Node) -> Found:
    """The largest value is where the largest probability is."""
    return node.inputs[0] if node.outputs == ("outputs",) and isinstance(node.op, Softmax | LogSoftmax) else None
