"""A torch network as the graph of a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike
from torch import nn

import prunekit.spaces  # noqa: F401  (registers the kinds of actions)
from prunekit.errors import CouplingError, InputError
from prunekit.graph.graph import Graph, Node, Port, specs_of
from prunekit.graph.lifting import modules
from prunekit.graph.tracing import fx_graph, trace
from prunekit.graph.trunk import trace_trunk
from prunekit.ops.identity import Identity
from prunekit.ops.normalize import Normalize
from prunekit.spaces.kind import ActionKind, kind_of_space

Normalization = tuple[ArrayLike, ArrayLike, float]
_NORMALIZER = "normalizer"


def graph_of_network(
    network: nn.Module, actions: ActionKind | None, normalizer: Normalization | None, inputs: int | None
) -> Graph:
    """Return ``network`` after ``normalizer`` as a graph, with the head of ``actions`` (None: its outputs are its
    action).

    Raises CouplingError if it cannot be traced, and InputError for widths that do not fit or are unknown.
    """
    width = _width_of(network) if inputs is None else inputs
    observation = Port(name="obs", shape=(width,))
    first = observation if normalizer is None else replace(observation, name=_NORMALIZER)
    traced = trace(network, [first]).graph
    nodes = traced.nodes
    if normalizer is not None:
        nodes = (Node(op=_normalize(normalizer, width), inputs=("obs",), outputs=(_NORMALIZER,)), *nodes)
    made = specs_of(traced)["outputs"].shape
    if actions is not None and made != (actions.outputs,):
        raise InputError(
            f"{type(network).__name__} gives {list(made)} values, but the actions need {actions.outputs}; give the "
            "part of the network that answers, and its own action space"
        )
    head = Identity() if actions is None else actions.head()
    return Graph(
        inputs=(observation,),
        nodes=(*nodes, Node(op=head, inputs=("outputs",), outputs=("action",))),
        outputs=("action", "outputs"),
    )


def kind_of_actions(actions: gym.Space[Any] | ActionKind | None) -> ActionKind | None:
    """Return the kind of an action space; raises InputError if no kind supports it."""
    if not isinstance(actions, gym.Space):
        return actions
    try:
        return kind_of_space(actions)
    except InputError as error:
        raise InputError(f"the action space {actions} {error}") from error


def _width_of(network: nn.Module) -> int:
    """Return the input width of the first layer, if that layer reads the observation itself."""
    graph = fx_graph(network, 1)
    (holder,) = (node.name for node in graph.nodes if node.op == "placeholder" and not node.args)
    try:
        traced = trace_trunk(network, graph, structure_only=True)
    except CouplingError:  # tracing as a whole says it better
        traced = None
    ports: Sequence[Port] = () if traced is None else traced.graph.inputs
    if len(ports) != 1 or ports[0].name != f"<{holder}>":
        _require_known_modules(network, [str(node.target) for node in graph.nodes if node.op == "call_module"])
        raise InputError(
            f"{type(network).__name__} does not show how wide its observations are; give their width as `inputs`"
        )
    return ports[0].shape[0]


def _require_known_modules(network: nn.Module, paths: Sequence[str]) -> None:
    """Raise CouplingError, naming it, for a module at one of ``paths`` that no op is made of, whatever its width."""
    for path in paths:
        kind = type(network.get_submodule(path))
        if kind not in modules():
            raise CouplingError(f"module '{path}' ({kind.__name__}) is not supported; docs/ops.md lists what is")


def _normalize(normalizer: Normalization, width: int) -> Normalize:
    mean, scale, clip = normalizer
    op = Normalize(mean=np.asarray(mean, np.float32), scale=np.asarray(scale, np.float32), clip=float(clip))
    if op.mean.shape != (width,) or op.scale.shape != (width,):
        raise InputError(
            f"the normalizer's mean {list(op.mean.shape)} and scale {list(op.scale.shape)} do not fit observations of "
            f"{width} values"
        )
    return op
