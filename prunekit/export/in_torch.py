"""A policy's results in torch, with which exports are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from prunekit.export.agreement import ends_of
from prunekit.graph.graph import Graph
from prunekit.graph.op import Array
from prunekit.graph.to_torch import GraphModule
from prunekit.policy.actor import Actor


@torch.no_grad()
def in_torch(policy: Actor | Graph, inputs: Mapping[str, Array]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return (actions, outputs) of ``policy`` in torch, in float32 for a graph; every row starts with the initial
    states.
    """
    if isinstance(policy, Actor):
        (observations,) = inputs.values()
        outputs = policy.outputs(torch.from_numpy(observations))
        return policy.head(outputs).numpy(), outputs.numpy()
    module, rows = GraphModule(policy).to(torch.float32), len(next(iter(inputs.values())))
    made = module(*(torch.from_numpy(inputs[port.name]) for port in policy.inputs), *module.initial_states(rows))
    values = dict(zip(policy.outputs, (value.numpy() for value in made), strict=False))
    action, before = ends_of(policy)
    return values[action], values[before]
