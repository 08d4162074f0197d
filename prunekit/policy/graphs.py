"""A policy of today's kind, an actor or its program, as a graph of ops."""

from __future__ import annotations

from typing import assert_never

from prunekit.graph.graph import Graph, Node, Port
from prunekit.graph.op import Op
from prunekit.ops.activation import Activation
from prunekit.ops.activation_kinds import KINDS
from prunekit.ops.affine import Affine
from prunekit.ops.normalize import Normalize
from prunekit.policy import program as chain
from prunekit.policy.actor import Actor
from prunekit.policy.heads import op_of_head


def graph_of(policy: Actor | chain.Program) -> Graph:
    """Return ``policy`` as a graph: input ``obs``, outputs ``action`` and ``outputs`` (the values before the head).

    Its groups are the hidden layers in order. Raises CouplingError and InputError as ``lower`` does.
    """
    program = chain.lower(policy) if isinstance(policy, Actor) else policy
    nodes: list[Node] = []
    value = "obs"
    for index, op in enumerate(program.ops):
        name = "outputs" if index == len(program.ops) - 1 else f"{type(op).__name__.lower()}_{index}"
        nodes.append(Node(op=_op(op), inputs=(value,), outputs=(name,)))
        value = name
    nodes.append(Node(op=op_of_head(program.head), inputs=(value,), outputs=("action",)))
    return Graph(inputs=(Port(name="obs", shape=(program.inputs,)),), nodes=tuple(nodes), outputs=("action", "outputs"))


def _op(op: chain.Op) -> Op:
    match op:
        case chain.Normalize():
            return Normalize(mean=op.mean, scale=op.scale, clip=op.clip)
        case chain.Affine():
            return Affine(weight=op.weight, bias=op.bias)
        case chain.Activate():
            name = op.activation.name
            parameter = op.activation.parameter
            numbers = (1.0,) if name == "softplus" else (parameter,) * len(KINDS[name].numbers)
            return Activation(kind=name, numbers=numbers)
        case _:
            assert_never(op)
