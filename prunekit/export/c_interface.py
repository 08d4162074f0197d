"""The interface of a policy's C: its function, its documentation, and its state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from prunekit.graph.c.names import field_names
from prunekit.graph.graph import Graph, specs_of
from prunekit.graph.op import Op, Spec
from prunekit.ops.argmax import Argmax
from prunekit.ops.clip_to_bounds import ClipToBounds
from prunekit.ops.identity import Identity
from prunekit.ops.tanh_to_bounds import TanhToBounds


@final
@dataclass(frozen=True, kw_only=True)
class Field:
    """A pointer argument of the function, or a member of the state: its name, number of floats, and shape."""

    name: str
    shape: tuple[int, ...]
    size: int
    macro: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Interface:
    """A policy's function in C. ``outputs`` is None if it returns a number; ``does`` describes it."""

    name: str
    inputs: tuple[Field, ...]
    outputs: int | None
    does: str
    states: tuple[Field, ...] = ()

    @property
    def upper(self) -> str:
        """The prefix of macros."""
        return self.name.upper()

    @property
    def size(self) -> int:
        """The total number of input floats."""
        return sum(field.size for field in self.inputs)

    @property
    def signature(self) -> str:
        """The declaration of the function."""
        taken = [f"{self.name}_state *state"] if self.states else []
        taken += [f"const float {field.name}[{field.macro}]" for field in self.inputs]
        if self.outputs is None:
            return f"int32_t {self.name}_action({', '.join(taken)})"
        return f"void {self.name}_action({', '.join(taken)}, float action[{self.upper}_OUTPUTS])"

    @property
    def reset_signature(self) -> str:
        """The declaration of the function that begins an episode."""
        return f"void {self.name}_reset({self.name}_state *state)"

    def call(self, observation: str, action: str) -> str:
        """Return the statement that computes the action from all inputs, which are consecutive in memory."""
        given, start = ["&state"] if self.states else [], 0
        for field in self.inputs:
            given.append(f"{observation} + {start}" if start else observation)
            start += field.size
        if self.outputs is None:
            return f"{action}[0] = {self.name}_action({', '.join(given)})"
        return f"{self.name}_action({', '.join(given)}, {action})"


def interface_of(graph: Graph, name: str) -> Interface:
    """Return the interface of ``graph`` as C with this ``name``."""
    specs = specs_of(graph)
    upper = name.upper()
    if len(graph.inputs) == 1:
        inputs = [_field("observation", graph.inputs[0].shape, f"{upper}_INPUTS")]
    else:
        names = field_names((port.name for port in graph.inputs), name)
        inputs = [
            _field(own, port.shape, f"{upper}_{own.upper()}") for own, port in zip(names, graph.inputs, strict=True)
        ]
    members = field_names((state.before for state in graph.states), name)
    states = [_field(own, state.initial.shape) for own, state in zip(members, graph.states, strict=True)]
    action = action_of(graph)
    maker = next((node for node in graph.nodes if action in node.outputs), None)
    width = specs[maker.inputs[0]].shape[-1] if maker is not None and isinstance(maker.op, Argmax) else 0
    number = specs[action].dtype == "int64" and not specs[action].shape
    return Interface(
        name=name,
        inputs=tuple(inputs),
        outputs=None if number else _size(specs[action].shape),
        does=_does(None if maker is None else maker.op, width, specs[action]),
        states=tuple(states),
    )


def action_of(graph: Graph) -> str:
    """Return the value of the policy's action: the output ``action``, or else the first output."""
    action = "action" if "action" in graph.outputs else graph.outputs[0]
    sources = {node.outputs[0]: node.inputs[0] for node in graph.nodes if isinstance(node.op, Identity)}
    while action in sources:
        action = sources[action]
    return action


def _does(maker: Op | None, width: int, made: Spec) -> str:
    if isinstance(maker, Argmax):
        return f"Returns the action, {maker.start} to {maker.start + width - 1},"
    if isinstance(maker, ClipToBounds | TanhToBounds):
        return "Writes the action, inside its bounds,"
    return "Writes the action, whole numbers," if made.dtype == "int64" else "Writes the outputs"


def _field(name: str, shape: Sequence[int], macro: str = "") -> Field:
    return Field(name=name, shape=tuple(shape), size=_size(shape), macro=macro)


def _size(shape: Sequence[int]) -> int:
    size = 1
    for count in shape:
        size *= count
    return size
