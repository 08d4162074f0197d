"""Conversion of a graph into an actor, if it is a chain of layers and activations between one vector and one head."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from prunekit.activations import KINDS
from prunekit.activations import Activation as TorchActivation
from prunekit.errors import CouplingError
from prunekit.graph.graph import Graph, Node, specs_of
from prunekit.graph.op import Array, name_of
from prunekit.ops.activation import Activation
from prunekit.ops.affine import Affine
from prunekit.ops.normalize import Normalize
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.heads import Head, head_of_op
from prunekit.spaces.kind import ActionKind


def actor_of(graph: Graph, actions: ActionKind | None = None) -> tuple[Actor, dict[str, str]]:
    """Return ``graph`` as an actor with bit-equal parameters, and the positions in its chain by node name.

    ``actions`` supply what the head does not determine. Raises CouplingError, naming the node, if the graph is not a
    chain.
    """
    _require_chain(graph)
    normalizer: Normalizer | None = None
    modules: list[nn.Module] = []
    names: dict[str, str] = {}
    for node in graph.nodes[:-1]:
        if isinstance(node.op, Normalize) and not names and normalizer is None:
            normalizer = _normalizer(node.op)
        else:
            names[node.name] = str(len(modules))
            modules.append(_module(node))
    dtypes = {parameter.dtype for module in modules for parameter in module.parameters()}
    if len(dtypes) != 1:
        what = "its weights are of two types" if dtypes else "it has no layer"
        raise CouplingError(f"is not a chain of layers: {what}")
    (dtype,) = dtypes
    if normalizer is not None and any(torch.promote_types(b.dtype, dtype) != dtype for b in normalizer.buffers()):
        normalizer.to(dtype)  # otherwise the network would get inputs that it does not use
    return Actor(nn.Sequential(*modules), _head(graph, actions), normalizer), names


def _require_chain(graph: Graph) -> None:
    flat = len(graph.inputs) == 1 and len(graph.inputs[0].shape) == 1 and graph.inputs[0].dtype == "float32"
    if not flat or graph.states:
        what = "it has a state" if graph.states else "its input is not one vector of floats"
        raise CouplingError(f"is not a chain of layers: {what}")
    values = [graph.inputs[0].name]
    for node in graph.nodes:
        if node.inputs != (values[-1],) or len(node.outputs) != 1:
            raise _no_chain(node)
        values.append(node.name)
    if values[-2:] != ["outputs", "action"]:
        raise CouplingError("is not a chain of layers: its outputs are not the last two values")


def _no_chain(node: Node) -> CouplingError:
    what = node.op.kind if isinstance(node.op, Activation) else name_of(node.op)
    return CouplingError(f"is not a chain of layers: node '{node.name}' ({what}) is not part of one")


def _module(node: Node) -> nn.Module:
    match node.op:
        case Affine(weight=weight, bias=bias):
            return _linear(weight, bias)
        case Activation(kind=kind, numbers=numbers) if kind in KINDS:
            if kind != "softplus":
                return TorchActivation(name=kind, parameter=numbers[0] if numbers else 0.0).to_module()
            if numbers == (1.0,):
                return TorchActivation(name=kind).to_module()
    raise _no_chain(node)


def _linear(weight: Array, bias: Array) -> nn.Linear:
    has_bias = bool((bias != 0.0).any() or not np.signbit(bias).all())  # -0.0 stands for none, as it adds nothing
    tensors = [torch.from_numpy(value.copy()) for value in (weight, bias)]
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=has_bias, dtype=tensors[0].dtype, device="meta")
    linear.weight = nn.Parameter(tensors[0])
    if has_bias:
        linear.bias = nn.Parameter(tensors[1])
    return linear


def _normalizer(op: Normalize) -> Normalizer:
    made = Normalizer([0.0] * len(op.mean), [1.0] * len(op.mean), op.clip)
    made.mean, made.scale = torch.from_numpy(op.mean.copy()), torch.from_numpy(op.scale.copy())
    return made


def _head(graph: Graph, actions: ActionKind | None) -> Head:
    node = graph.nodes[-1]
    head = head_of_op(node.op, specs_of(graph)["outputs"].shape[-1], actions)
    if head is None:
        raise _no_chain(node)
    return head
