"""A graph as a torch module, with the graph's constants as parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import final

import torch
from torch import Tensor, nn

from prunekit.errors import InputError
from prunekit.graph.forms import TORCH
from prunekit.graph.graph import Graph, with_parameters
from prunekit.graph.op import parameters


@final
class GraphModule(nn.Module):
    """The torch module of ``graph``: maps (inputs..., states...) to (outputs..., next states...), all [batch, ...].

    The constant ``field`` of node ``index`` is the parameter ``"index-field"``, or a buffer if it is bool. Raises
    InputError, naming node and op, for an op without a torch form.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        for node in graph.nodes:
            TORCH.of(node.op, node.name)
        self._graph = graph
        self._fields: tuple[tuple[str, ...], ...] = tuple(tuple(parameters(node.op)) for node in graph.nodes)
        for index, node in enumerate(graph.nodes):
            for field, value in parameters(node.op).items():
                tensor = torch.from_numpy(value.copy())
                if tensor.is_floating_point():
                    self.register_parameter(f"{index}-{field}", nn.Parameter(tensor))
                else:
                    self.register_buffer(f"{index}-{field}", tensor)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Return outputs and next states; ``given`` are inputs and states in the graph's order."""
        graph = self._graph
        names = [*(port.name for port in graph.inputs), *(state.before for state in graph.states)]
        if len(given) != len(names):
            raise InputError(f"the graph needs {names}, but was given {len(given)} tensors")
        values = dict(zip(names, given, strict=True))
        for index, node in enumerate(graph.nodes):
            constants = {field: self._tensor(index, field) for field in self._fields[index]}
            made = TORCH.of(node.op, node.name)(node.op, constants, *(values[name] for name in node.inputs))
            values |= zip(node.outputs, made, strict=True)
        return tuple(values[name] for name in (*graph.outputs, *(state.after for state in graph.states)))

    def initial_states(self, batch: int) -> tuple[Tensor, ...]:
        """Return the initial states, [batch, ...] each, in the dtype of the parameters."""
        dtype = next((parameter.dtype for parameter in self.parameters()), torch.float32)
        states = (torch.from_numpy(state.initial.copy()).to(dtype) for state in self._graph.states)
        return tuple(state.expand(batch, *state.shape) for state in states)

    def to_graph(self) -> Graph:
        """Return the graph with the current values of the parameters."""
        nodes = []
        for index, node in enumerate(self._graph.nodes):
            now = {field: self._tensor(index, field).detach().cpu().numpy().copy() for field in self._fields[index]}
            nodes.append(replace(node, op=with_parameters(node.op, now)))
        return replace(self._graph, nodes=tuple(nodes))

    def _tensor(self, index: int, field: str) -> Tensor:
        found = getattr(self, f"{index}-{field}")
        assert isinstance(found, Tensor)
        return found
