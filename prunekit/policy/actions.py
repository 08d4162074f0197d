"""Adding the head of an action space to a graph without one."""

from __future__ import annotations

import math
from dataclasses import replace

from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.graph.graph import Graph, Node, specs_of
from prunekit.graph.op import Op
from prunekit.ops.identity import Identity


def with_actions_of(graph: Graph, spaces: Spaces, called: str) -> Graph:
    """Return ``graph``, whose action is its outputs, with the head for the actions of ``spaces``.

    Raises InputError, naming the policy as ``called``, if inputs or outputs do not fit ``spaces``.
    """
    specs = specs_of(graph)
    inputs, outputs = (sum(math.prod(port.shape) for port in graph.inputs), math.prod(specs["outputs"].shape))
    if (inputs, outputs) != (spaces.observation, spaces.outputs):
        raise InputError(
            f"{called}: takes {inputs} values and gives {outputs}, but the environment has observations of "
            f"{spaces.observation} and actions of {spaces.outputs}; give the policy's own environment with `env`"
        )
    return with_head(graph, spaces.actions.head())


def keeps_outputs(graph: Graph) -> bool:
    """Return whether the action of ``graph`` is its outputs, as for an unknown action space."""
    return any(isinstance(node.op, Identity) for node in graph.nodes if "action" in node.outputs)


def with_head(graph: Graph, head: Op) -> Graph:
    """Return ``graph`` with ``head`` in place of the node that makes its action."""
    nodes = tuple(node for node in graph.nodes if node.outputs != ("action",))
    return replace(graph, nodes=(*nodes, Node(op=head, inputs=("outputs",), outputs=("action",))))
