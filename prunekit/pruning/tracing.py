"""A network as a list of steps in order of execution, with the inputs of each.

Tracing is symbolic (torch.fx): it reads no weights and runs on no data.
"""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import final

from torch import fx, nn

from prunekit.activations import Activation, activation_of_call, activation_of_module
from prunekit.errors import CouplingError
from prunekit.pruning.layers import refuse_computed, refuse_other_linear


@final
@dataclass(frozen=True)
class Input:
    """The network's input."""

    name: str


@final
@dataclass(frozen=True, kw_only=True)
class AffineStep:
    """A call of the ``nn.Linear`` at dotted path ``path`` on the step named ``source``."""

    name: str
    path: str
    source: str


@final
@dataclass(frozen=True, kw_only=True)
class Elementwise:
    """An activation applied to the step named ``source``."""

    name: str
    activation: Activation
    source: str


@final
@dataclass(frozen=True, kw_only=True)
class Output:
    """The network's result: the names of its steps; the first is the policy's outputs."""

    name: str
    sources: tuple[str, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Unknown:
    """Any other call; ``label`` describes it with the names in the author's code."""

    name: str
    label: str
    sources: tuple[str, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Attribute:
    """A parameter or buffer at the dotted path ``path`` that ``forward`` reads directly."""

    name: str
    path: str


Step = Input | AffineStep | Elementwise | Attribute | Output | Unknown


def trace(network: nn.Module) -> tuple[Step, ...]:
    """Trace ``network`` into steps in order of execution.

    Raises CouplingError when the forward pass cannot be traced (data-dependent control flow, several inputs) and, by
    name, for a linear layer whose weight is computed, complex or without values (``layers.py``).
    """
    try:
        graph = _Tracer().trace(network, concrete_args=_defaults(network) or None)
    except Exception as error:  # fx raises whatever the traced forward raises
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CouplingError(
            f"{type(network).__name__} cannot be traced ({reason}); pass the plain feed-forward part of the network"
        ) from error
    inputs = [node for node in graph.nodes if node.op == "placeholder" and not node.args]
    if len(inputs) != 1:
        names = ", ".join(str(node.target) for node in inputs)
        raise CouplingError(
            f"{type(network).__name__} takes {len(inputs)} inputs ({names}); only networks of one input are supported"
        )
    return tuple(_step(node, network) for node in graph.nodes)


@final
class _Tracer(fx.Tracer):
    """A tracer that treats every kind of ``nn.Linear`` as a leaf, so errors can name it."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Linear) or super().is_leaf_module(m, module_qualified_name)


def _defaults(network: nn.Module) -> dict[str, object]:
    """Return the arguments of ``forward`` with defaults; they are traced at these values, because a deployed policy is
    called without them.
    """
    parameters = signature(network.forward).parameters.values()
    return {entry.name: entry.default for entry in parameters if entry.default is not entry.empty}


def _step(node: fx.Node, network: nn.Module) -> Step:
    sources = tuple(source.name for source in node.all_input_nodes)
    if node.op == "placeholder":
        return Input(node.name)
    if node.op == "get_attr":
        return Attribute(name=node.name, path=str(node.target))
    if node.op == "output":
        return Output(name=node.name, sources=sources)
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        refuse_other_linear(str(node.target), module)
        if isinstance(module, nn.Linear):
            refuse_computed(str(node.target), module)
        if type(module) is nn.Linear and not node.kwargs:  # hidden values are captured from positional arguments
            return AffineStep(name=node.name, path=str(node.target), source=sources[0])
        activation = activation_of_module(module)
        _refuse_overwriting(node, bool(getattr(module, "inplace", False)))
        if activation is not None:
            return Elementwise(name=node.name, activation=activation, source=sources[0])
        return Unknown(name=node.name, label=f"module '{node.target}' ({type(module).__name__})", sources=sources)
    called = getattr(node.target, "__name__", str(node.target))
    _refuse_overwriting(node, node.kwargs.get("inplace") is True or (called[-1] == "_" and called[-2:] != "__"))
    activation = activation_of_call(node.target, node.args[1:], node.kwargs) if len(sources) == 1 else None
    if activation is not None:
        return Elementwise(name=node.name, activation=activation, source=sources[0])
    return Unknown(
        name=node.name, label=f"{node.op.removeprefix('call_')} '{called}' (node {node.name})", sources=sources
    )


def _refuse_overwriting(node: fx.Node, in_place: bool) -> None:
    """Raise CouplingError for an in-place call whose input has other readers, which a graph of values cannot
    represent.
    """
    if in_place and any(len(source.users) > 1 for source in node.all_input_nodes):
        raise CouplingError(f"'{node.name}' overwrites a value in place that is read elsewhere too; use its result")
