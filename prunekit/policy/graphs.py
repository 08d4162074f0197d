"""Conversion of an actor or its program into a graph of ops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

import numpy as np

from prunekit.activations import Activation as TorchActivation
from prunekit.graph.graph import Graph, Node, Port
from prunekit.graph.lifting import array_of
from prunekit.graph.op import Op
from prunekit.ops.activation import Activation
from prunekit.ops.activation_kinds import KINDS
from prunekit.ops.affine import Affine
from prunekit.ops.normalize import Normalize
from prunekit.policy import program as chain
from prunekit.policy.actor import Actor
from prunekit.policy.heads import Head, op_of_head
from prunekit.pruning.slices import linear_at
from prunekit.pruning.tracing import AffineStep

NORMALIZER = "normalizer"
"""What the node of an actor's normalizer is called."""


def graph_of(policy: Actor | chain.Program) -> Graph:
    """Return ``policy`` in float32 as a graph: input ``obs``, outputs ``action`` and ``outputs`` (before the head).

    Its groups are the hidden layers in order, named by their positions in the chain of layers and activations: ``0``,
    ``2``. Raises CouplingError and InputError as ``lower`` does.
    """
    program = chain.lower(policy) if isinstance(policy, Actor) else policy
    return _graph([_op(op) for op in program.ops], program.head)


def exact_graph_of(actor: Actor) -> Graph:
    """Return the same with the actor's own parameters, in float32 or float64.

    A missing bias becomes -0.0, which changes no float that it is added to. Raises CouplingError and InputError as
    ``outputs_path`` and ``Graph`` do.
    """
    ops: list[Op] = []
    if actor.normalizer is not None:
        own = actor.normalizer
        ops.append(Normalize(mean=array_of(own.mean), scale=array_of(own.scale), clip=own.clip))
    for step in chain.outputs_path(actor.network):
        if isinstance(step, AffineStep):
            linear = linear_at(actor.network, step.path)
            weight = array_of(linear.weight)
            bias = np.full(len(weight), -0.0, weight.dtype) if linear.bias is None else array_of(linear.bias)
            ops.append(Affine(weight=weight, bias=bias))
        elif step.activation.name != "identity":
            ops.append(_activation(step.activation))
    return _graph(ops, actor.head)


def _graph(ops: Sequence[Op], head: Head) -> Graph:
    nodes: list[Node] = []
    value = "obs"
    for op, name in zip(ops, _names(ops), strict=True):
        nodes.append(Node(op=op, inputs=(value,), outputs=(name,)))
        value = name
    nodes.append(Node(op=op_of_head(head), inputs=(value,), outputs=("action",)))
    width = next(op.weight.shape[1] for op in ops if isinstance(op, Affine))
    return Graph(inputs=(Port(name="obs", shape=(width,)),), nodes=tuple(nodes), outputs=("action", "outputs"))


def _names(ops: Sequence[Op]) -> Iterator[str]:
    normalized = isinstance(ops[0], Normalize)
    for index in range(len(ops)):
        if index == len(ops) - 1:
            yield "outputs"
        else:
            yield NORMALIZER if normalized and index == 0 else str(index - normalized)


def _op(op: chain.Op) -> Op:
    match op:
        case chain.Normalize():
            return Normalize(mean=op.mean, scale=op.scale, clip=op.clip)
        case chain.Affine():
            return Affine(weight=op.weight, bias=op.bias)
        case chain.Activate():
            return _activation(op.activation)
        case _:
            assert_never(op)


def _activation(activation: TorchActivation) -> Activation:
    numbers = (1.0,) if activation.name == "softplus" else (activation.parameter,) * len(KINDS[activation.name].numbers)
    return Activation(kind=activation.name, numbers=numbers)
