"""The hidden part of a torch network as a graph: everything between its first and its last known layer.

A network in training may do things around its layers that no op describes: prepare observations, or turn outputs into
distributions. These do not matter for hidden units. So an unknown part before the first layer becomes an input of the
graph, and one after the last layer counts as a reader of its outputs. An unknown part between layers is refused by
name, as in ``tracing.py``.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
from torch import fx, nn

from prunekit.errors import CouplingError
from prunekit.graph.graph import Graph, Node, Port, State, with_parameters
from prunekit.graph.lifting import Traced, functions, modules
from prunekit.graph.op import parameters
from prunekit.graph.tracing import Lifting, TracedNetwork, submodule_at, upstream

# The attribute with the number of values that a module reads; the last entry is for the second argument of a cell.
_WIDTHS = ("in_features", "num_features", "input_size", "hidden_size")


def trace_trunk(
    network: nn.Module, graph: fx.Graph, *, states: int = 0, structure_only: bool = False
) -> TracedNetwork | None:
    """Trace the hidden part of ``network``, or return None if it contains no known layer.

    ``graph`` is the ``fx_graph`` of the network, with one input and ``states``. Widths come from the modules, and names
    of values are the modules' paths. The last ``states`` inputs are states with initial values of zero; the last values
    that ``forward`` returns are the next states.

    ``structure_only`` replaces all weights by ones, so they may be NaN or infinite, and allows hooks. Raises
    CouplingError, naming the module or call, for an unknown part between two layers, and InputError as ``Graph`` does.
    """
    nodes = list(graph.nodes)
    results = nodes[-1].all_input_nodes
    needed = upstream(results)
    afters = _states_returned(nodes[-1], states, network)
    befores = [node for node in nodes if node.op == "placeholder" and not node.args][1:]
    trunk = _Trunk(
        lifting=Lifting(network=network, values={}, hooks=True),
        nodes=[node for node in nodes if node in needed],
        befores=befores,
    )
    for node in trunk.nodes:
        if node.op != "placeholder":
            trunk.add(node)
    made = trunk.lifting.nodes
    if structure_only:
        made = [_finite(node) for node in made]
    others = [node for node in results if node not in afters]
    ends = [node for node in (*others, *trunk.shown) if node in trunk.lifting.values]
    outputs = tuple(dict.fromkeys(name for node in ends for name in _names(trunk.lifting.values[node])))
    if not outputs:
        return None
    lifting = trunk.lifting
    kept = tuple(
        State(before=port.name, after=_after(lifting, after, port), initial=np.zeros(port.shape, np.float32))
        for before, after in zip(befores, afters, strict=True)
        if (port := trunk.states.get(before)) is not None
    )
    return TracedNetwork(
        graph=Graph(inputs=tuple(trunk.ports), nodes=tuple(made), outputs=outputs, states=kept),
        paths=lifting.paths,
        places=lifting.places,
        modules=lifting.modules,
        own_tensors=frozenset(lifting.own_tensors),
    )


def _names(found: object) -> list[str]:
    parts = found if isinstance(found, tuple) else (found,)
    return [part.name for part in parts if isinstance(part, Traced)]


@final
@dataclass(kw_only=True)
class _Trunk:
    """A trace of the trunk: ``hidden`` nodes depend on a layer, ``beyond`` are unknown nodes that do, ``shown`` are the
    values that these read.
    """

    lifting: Lifting
    nodes: list[fx.Node]
    befores: Sequence[fx.Node] = ()
    ports: list[Port] = field(default_factory=list)
    states: dict[fx.Node, Port] = field(default_factory=dict)
    hidden: set[fx.Node] = field(default_factory=set)
    beyond: dict[fx.Node, CouplingError] = field(default_factory=dict)
    shown: list[fx.Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        layers = [node for node in self.nodes if self._is_layer(node)]
        self.feeding = upstream([source for layer in layers for source in layer.all_input_nodes])
        self.feeding.update(layers)

    def add(self, node: fx.Node) -> None:
        """Translate ``node`` into the trunk, or place it before or after the trunk."""
        sources = node.all_input_nodes
        unknown = next((self.beyond[source] for source in sources if source in self.beyond), None)
        hidden = self._is_layer(node) or any(source in self.hidden for source in sources)
        try:
            if unknown is not None:
                raise unknown
            for source in sources:
                self._open(source)
            self.lifting.add(node)
        except CouplingError as error:
            if self._is_layer(node) or (node in self.feeding and (hidden or unknown is not None)):
                raise
            if hidden or unknown is not None:
                self.beyond[node] = error
                self.shown += sources
        else:
            if hidden:
                self.hidden.add(node)

    def _open(self, node: fx.Node) -> None:
        """Make a value from before the trunk an input of the graph; raises CouplingError if its width is unknown."""
        if node in self.lifting.values:
            return
        width = next(self._widths_read(node), None)
        if width is None:
            raise CouplingError(f"how many values '{node.name}' has is not known{self._unknown_readers(node)}")
        name = f"<{node.name}>"
        port = Port(name=name, shape=(width,))
        if node in self.befores:
            self.states[node] = port
        else:
            self.ports.append(port)
        self.lifting.values[node] = Traced(name=name, spec=port.spec)
        self.lifting.taken.add(name)

    def _widths_read(self, node: fx.Node) -> Iterator[int]:
        """Yield the input widths of all modules that read ``node`` directly or through element-wise functions."""
        for user in node.users:
            if user.op == "call_module":
                module = submodule_at(self.lifting.network, str(user.target))
                normalized = getattr(module, "normalized_shape", None)
                found = [getattr(module, name) for name in _WIDTHS if isinstance(getattr(module, name, None), int)]
                if type(module) not in modules():
                    continue
                if found:
                    yield found[list(user.args).index(node) if node in user.args else 0]
                elif isinstance(normalized, tuple):
                    yield normalized[-1]
                else:
                    yield from self._widths_read(user)
            elif user.all_input_nodes == [node] and user.target in functions() and user.target is not operator.getitem:
                yield from self._widths_read(user)

    def _unknown_readers(self, node: fx.Node) -> str:
        called = [str(user.target) for user in node.users if user.op == "call_module"]
        kinds = [(path, type(submodule_at(self.lifting.network, path))) for path in called]
        told = ", ".join(f"module '{path}' ({kind.__name__})" for path, kind in kinds if kind not in modules())
        return f": {told} reads it, which is not supported; docs/ops.md lists what is" if told else ""

    def _is_layer(self, node: fx.Node) -> bool:
        if node.op != "call_module":
            return False
        module = submodule_at(self.lifting.network, str(node.target))
        return type(module) in modules() and any(entry.ndim > 1 for entry in module.parameters())


def _states_returned(output: fx.Node, states: int, network: nn.Module) -> list[fx.Node]:
    """Return the fx nodes of the last ``states`` values that ``forward`` returns."""
    if not states:
        return []
    found = output.args[0]
    flat = list(found) if isinstance(found, tuple | list) else [found]
    last = [node for node in flat[-states:] if isinstance(node, fx.Node)]
    if len(flat) <= states or len(last) != states:
        raise CouplingError(f"{type(network).__name__} has to return its {states} next states after its outputs")
    return last


def _after(lifting: Lifting, node: fx.Node, port: Port) -> str:
    found = lifting.values.get(node)
    if not isinstance(found, Traced):
        raise CouplingError(f"the next state of '{port.name}' comes out of something that is not known")
    return found.name


def _finite(node: Node) -> Node:
    changed = {
        name: np.where(np.isfinite(value), value, 1.0).astype(value.dtype)
        for name, value in parameters(node.op).items()
        if not np.isfinite(value).all()
    }
    return replace(node, op=with_parameters(node.op, changed)) if changed else node
