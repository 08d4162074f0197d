"""Symbolic tracing of a torch network into a graph, by an allow-list of modules and functions.

Each op's file registers what it recognises (``lifting.py``), so import ``prunekit.ops`` first. Parts that no output
depends on are left out. A needed part that is unknown is refused by name.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, final

import numpy as np
from torch import Tensor, fx, nn

from prunekit.errors import CouplingError, InputError
from prunekit.graph.graph import Graph, Node, Port, State
from prunekit.graph.lifting import Lifted, Result, Traced, functions, modules
from prunekit.graph.op import Array, name_of


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TracedNetwork:
    """A graph, and where its constants are in the torch network: dotted paths, keyed by (index of node, field).

    ``paths`` are those of parameters. A constant that is computed from parameters has no path. A path that occurs twice
    is a shared parameter. ``places`` are ``paths`` plus the paths of buffers and of absent parameters (a bias that is
    None). ``modules`` are the paths of the modules that nodes come from, by index of node. ``own_tensors`` are the
    nodes that apply a parameter or buffer of more than one number which ``forward`` reads directly.
    """

    graph: Graph
    paths: Mapping[tuple[int, str], str]
    places: Mapping[tuple[int, str], str]
    modules: Mapping[int, str]
    own_tensors: frozenset[int]


def trace(
    network: nn.Module,
    inputs: Sequence[Port],
    *,
    outputs: Sequence[str] = ("outputs",),
    states: Mapping[str, Array] | None = None,
) -> TracedNetwork:
    """Trace ``network``, which takes ``inputs`` and then ``states`` (initial values by name, without batch axis).

    ``forward`` returns a tensor or a tuple of tensors: first the ``outputs``, in the order of their names, then the
    next states. Further results are ignored. Raises CouplingError, naming the module or call, for anything unknown or
    untraceable, and InputError as ``Graph`` does.
    """
    states = states or {}
    nodes = list(fx_graph(network, len(inputs) + len(states)).nodes)
    results = _results(nodes[-1], len(outputs) + len(states), network)
    needed = upstream(results)
    holders = [node for node in nodes if node.op == "placeholder" and not node.args][: len(inputs) + len(states)]
    lifting = Lifting(network=network, values={})
    ports = [*inputs, *(Port(name=name, shape=initial.shape) for name, initial in states.items())]
    for holder, port in zip(holders, ports, strict=True):
        lifting.values[holder] = Traced(name=port.name, spec=port.spec)
    lifting.taken = {port.name for port in ports} | set(outputs)
    for node in nodes:
        if node in needed and node not in lifting.values:
            lifting.add(node)
    ends = [_value_of(lifting.values[node], network) for node in results]
    renamed: dict[str, str] = {}
    for name, end in zip(outputs, ends, strict=False):
        if end.name in renamed or end.name in {port.name for port in ports}:
            raise CouplingError(f"output '{name}' of {type(network).__name__} is '{end.name}' itself; leave it out")
        renamed[end.name] = name
    afters = [renamed.get(end.name, end.name) for end in ends[len(outputs) :]]
    graph = Graph(
        inputs=tuple(inputs),
        nodes=tuple(
            Node(
                op=node.op,
                inputs=tuple(renamed.get(name, name) for name in node.inputs),
                outputs=tuple(renamed.get(name, name) for name in node.outputs),
            )
            for node in lifting.nodes
        ),
        outputs=tuple(outputs),
        states=tuple(
            State(before=name, after=after, initial=np.asarray(initial))
            for (name, initial), after in zip(states.items(), afters, strict=True)
        ),
    )
    return TracedNetwork(
        graph=graph,
        paths=lifting.paths,
        places=lifting.places,
        modules=lifting.modules,
        own_tensors=frozenset(lifting.own_tensors),
    )


@final
class _Tracer(fx.Tracer):
    """A tracer that treats modules of registered types and of their subclasses as leaves, so errors can name them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, tuple(modules())) or super().is_leaf_module(m, module_qualified_name)


def fx_graph(network: nn.Module, count: int) -> fx.Graph:
    """Return the fx graph of ``network`` with ``count`` inputs; raises CouplingError if that is not its number of
    inputs or if tracing fails.
    """
    if type(network) in modules():
        network = nn.Sequential(network)
    entries = list(signature(network.forward).parameters.values())[count:]
    defaults = {entry.name: entry.default for entry in entries if entry.default is not entry.empty}
    try:
        graph = _Tracer().trace(network, concrete_args=defaults or None)
    except Exception as error:  # fx raises whatever the traced forward raises
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CouplingError(
            f"{type(network).__name__} cannot be traced ({reason}); pass the plain feed-forward part of the network"
        ) from error
    holders = [str(node.target) for node in graph.nodes if node.op == "placeholder" and not node.args]
    if len(holders) != count:
        raise CouplingError(f"{type(network).__name__} takes {len(holders)} inputs ({', '.join(holders)}), not {count}")
    for node in graph.nodes:
        _refuse_overwriting(node, network)
    return graph


def _refuse_overwriting(node: fx.Node, network: nn.Module) -> None:
    """Raise CouplingError for an in-place call whose input has other readers, which a graph of values cannot
    represent.
    """
    if node.op == "call_module":
        in_place = bool(getattr(submodule_at(network, str(node.target)), "inplace", False))
    else:
        called = str(getattr(node.target, "__name__", node.target))
        in_place = node.kwargs.get("inplace") is True or (called[-1] == "_" and called[-2:] != "__")
    if in_place and node.op != "placeholder" and any(len(source.users) > 1 for source in node.all_input_nodes):
        raise CouplingError(f"'{node.name}' overwrites a value in place that is read elsewhere too; use its result")


def _results(output: fx.Node, count: int, network: nn.Module) -> list[fx.Node]:
    found = output.args[0]
    flat = list(found) if isinstance(found, tuple | list) else [found]
    if len(flat) < count or not all(isinstance(node, fx.Node) for node in flat[:count]):
        raise CouplingError(f"{type(network).__name__} returns {len(flat)} values, but {count} tensors are needed")
    return [node for node in flat[:count] if isinstance(node, fx.Node)]


def _value_of(found: object, network: nn.Module) -> Traced:
    if not isinstance(found, Traced):
        raise CouplingError(f"{type(network).__name__} returns a constant, or several values in one; return tensors")
    return found


def upstream(results: Sequence[fx.Node]) -> set[fx.Node]:
    """Return ``results`` and all nodes that they depend on."""
    needed: set[fx.Node] = set()
    waiting = list(results)
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += node.all_input_nodes
    return needed


@final
@dataclass(kw_only=True)
class Lifting:
    """The state of a trace: the nodes and values so far. ``hooks`` says whether modules may have hooks."""

    network: nn.Module
    values: dict[fx.Node, Traced | tuple[Traced, ...] | Tensor]
    nodes: list[Node] = field(default_factory=list)
    paths: dict[tuple[int, str], str] = field(default_factory=dict)
    places: dict[tuple[int, str], str] = field(default_factory=dict)
    modules: dict[int, str] = field(default_factory=dict)
    own_tensors: set[int] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    hooks: bool = False

    def add(self, node: fx.Node) -> None:
        """Translate one fx node; raises CouplingError with its name if it is unknown."""
        arguments = [self._filled(argument) for argument in node.args]
        named = {
            name: self._filled(argument)
            for name, argument in node.kwargs.items()
            if argument is not None and name != "_stacklevel"  # torch's functions pass on arguments that were not given
        }
        path, found = "", None
        head: tuple[nn.Module, ...] = ()
        if node.op == "call_module":
            path = str(node.target)
            module = submodule_at(self.network, path)
            label = f"module '{path}' ({type(module).__name__})"
            _refuse_hooks(module, label, allowed=self.hooks)
            function, head = modules().get(type(module)), (module,)
        elif node.op == "get_attr":
            self.values[node] = _tensor_at(self.network, str(node.target))
            return
        else:
            called = str(getattr(node.target, "__name__", node.target))
            label = f"{node.op.removeprefix('call_')} '{called}' (node {node.name})"
            named.pop("inplace", None)
            function = functions().get(node.target)
            parts = arguments[0] if arguments else None
            if node.target is operator.getitem and isinstance(parts, tuple) and isinstance(arguments[1], int | slice):
                self.values[node] = parts[arguments[1]]
                return
        try:
            found = None if function is None else _call(function, (*head, *arguments), named)
        except InputError as error:
            raise CouplingError(f"{label}: {error}") from error
        if found is None:
            raise CouplingError(f"{label} is not supported, or not with these arguments; docs/ops.md lists what is")
        first = len(self.nodes)
        if isinstance(found, tuple):
            self.values[node] = tuple(self._keep(one, path, node.name, label) for one in found)
        else:
            self.values[node] = found if isinstance(found, Traced) else self._keep(found, path, node.name, label)
        read = (self.values[source] for source in node.all_input_nodes)
        if any(isinstance(value, Tensor) and value.numel() > 1 for value in read):
            self.own_tensors.update(range(first, len(self.nodes)))

    def _filled(self, argument: object) -> object:
        if isinstance(argument, fx.Node):
            return self.values[argument]
        if isinstance(argument, tuple | list):
            return tuple(self._filled(entry) for entry in argument)
        return argument

    def _keep(self, lifted: Lifted, path: str, called: str, label: str) -> Traced:
        read = [self._keep(one, "", called, label) if isinstance(one, Lifted) else one for one in lifted.inputs]
        name = path or called
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        try:
            made = lifted.op.shapes([value.spec for value in read])
        except InputError as error:
            raise CouplingError(f"{label} ({name_of(lifted.op)}): {error}") from error
        if len(made) != 1:
            raise CouplingError(f"{label} gives {len(made)} values; only ops of one output can be traced")
        index = len(self.nodes)
        self.nodes.append(Node(op=lifted.op, inputs=tuple(v.name for v in read), outputs=(name,)))
        alone = type(self.network) in modules()
        if path:
            self.modules[index] = "" if alone else path
        for entry, attribute in lifted.attributes.items():
            self.places[index, entry] = attribute if alone else f"{path}.{attribute}"
            if isinstance(submodule_at(self.network, path)._parameters.get(attribute), Tensor):
                self.paths[index, entry] = self.places[index, entry]
        return Traced(name=name, spec=made[0])


def _tensor_at(network: nn.Module, path: str) -> Tensor:
    """Return a parameter or buffer that ``forward`` reads directly. It becomes a constant without a path."""
    owner, _, name = path.rpartition(".")
    found = getattr(network.get_submodule(owner), name)
    if not isinstance(found, Tensor):
        raise CouplingError(
            f"'{path}' is read outside of a known module, and is not a tensor; what it does is not known"
        )
    return found


def _call(function: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> Result:
    try:
        bound = signature(function).bind(*arguments, **named)
    except TypeError:
        return None
    result: Result = function(*bound.args, **bound.kwargs)
    return result


def submodule_at(network: nn.Module, path: str) -> nn.Module:
    """Return the module at the fx path ``path``, or the network itself if it is a single known module."""
    return network if type(network) in modules() else network.get_submodule(path)


def _refuse_hooks(module: nn.Module, label: str, *, allowed: bool) -> None:
    hooked = not allowed and (module._forward_hooks or module._forward_pre_hooks)
    if hooked or "forward" in vars(module):
        raise CouplingError(f"{label} has hooks or an overridden forward, which a graph does not show; remove them")
