"""Short descriptions of a graph."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from prunekit.graph.graph import Graph
from prunekit.graph.op import name_of
from prunekit.ops.activation import Activation
from prunekit.ops.affine import Affine
from prunekit.ops.normalize import Normalize


def activations_of(graph: Graph) -> list[str]:
    """Return the names of the activations in ``graph``, in order, without duplicates."""
    return list(dict.fromkeys(node.op.kind for node in graph.nodes if isinstance(node.op, Activation)))


def op_counts(graph: Graph) -> dict[str, int]:
    """Return the number of nodes per op of ``graph``, by the op's name, in order."""
    return dict(Counter(name_of(node.op) for node in graph.nodes))


def is_normalized(graph: Graph) -> bool:
    """Return whether ``graph`` normalizes an input."""
    names = {port.name for port in graph.inputs}
    return any(isinstance(node.op, Normalize) and set(node.inputs) & names for node in graph.nodes)


def described(graph: Graph) -> str:
    """Return the widths of ``graph``, such as 45-512-256-128-12, its activations, and whether it normalizes."""
    layers = [node.op for node in graph.nodes if isinstance(node.op, Affine)]
    chained = layers and all(one.weight.shape[0] == other.weight.shape[1] for one, other in pairwise(layers))
    if chained:
        shape = "-".join(map(str, [layers[0].weight.shape[1], *(layer.weight.shape[0] for layer in layers)]))
    else:
        shape = " + ".join(f"{port.name} {list(port.shape)}" for port in graph.inputs)
        shape += f", {len(graph.nodes)} ops"
    words = [shape, " ".join(activations_of(graph)) or "linear"]
    if is_normalized(graph):
        words.append("normalizer inside")
    return ", ".join(words)
