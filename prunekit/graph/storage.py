"""Conversion between a graph and plain values and tensors, the form in which ``model.pt`` stores it.

The conversion is generic: ops need no code for it. Fields are checked against the types that the op's class declares,
so a file cannot create an op with invalid fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.graph import Graph, Node, Port, State
from prunekit.graph.op import OPS, Array, Bools, Op, name_of
from prunekit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

_MAX_NODES, _MAX_VALUES = 4096, 2**24
_NUMBERS: dict[object, tuple[type, ...]] = {int: (int,), float: (int, float), bool: (bool,), str: (str,)}


def encode(graph: Graph) -> dict[str, Any]:
    """Return ``graph`` as dictionaries, lists, numbers, text and tensors."""
    return {
        "inputs": [{"name": port.name, "shape": list(port.shape), "dtype": port.dtype} for port in graph.inputs],
        "nodes": [
            {"op": name_of(node.op), "fields": _encoded(node.op), "inputs": [*node.inputs], "outputs": [*node.outputs]}
            for node in graph.nodes
        ],
        "outputs": list(graph.outputs),
        "states": [
            {"before": state.before, "after": state.after, "initial": _tensor(state.initial)} for state in graph.states
        ],
    }


def decode(data: object) -> Graph:
    """Return the graph that ``encode`` wrote; raises InputError, naming the culprit, for any other data."""
    found = _entries(data, "graph", ("inputs", "nodes", "outputs", "states"))
    nodes = _list(found["nodes"], "nodes")
    if len(nodes) > _MAX_NODES:
        raise InputError(f"has {len(nodes):,} ops, more than the {_MAX_NODES:,} that any policy needs")
    return Graph(
        inputs=tuple(_port(entry) for entry in _list(found["inputs"], "inputs")),
        nodes=tuple(_node(entry) for entry in nodes),
        outputs=_names(found["outputs"], "outputs"),
        states=tuple(_state(entry) for entry in _list(found["states"], "states")),
    )


def _encoded(op: Op) -> dict[str, Any]:
    values = {entry.name: getattr(op, entry.name) for entry in fields(op)}  # type: ignore[arg-type]
    return {name: _tensor(value) if isinstance(value, np.ndarray) else _plain(value) for name, value in values.items()}


def _tensor(value: Array) -> Tensor:
    return torch.from_numpy(np.array(value, order="C"))


def _plain(value: Any) -> Any:
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value


def _port(data: object) -> Port:
    found = _entries(data, "input", ("name", "shape", "dtype"))
    shape = _list(found["shape"], "shape")
    if not all(type(size) is int for size in shape):
        raise InputError(f"its input {_shown(found['name'])} has the shape {_shown(shape)}, which are not integers")
    if math.prod(shape) > _MAX_VALUES:
        raise InputError(
            f"its input {_shown(found['name'])} has more than the {_MAX_VALUES:,} values of any observation"
        )
    dtype = found["dtype"]
    if dtype not in ("float32", "int64"):
        raise InputError(f"its input {_shown(found['name'])} is {_shown(dtype)}; inputs are float32 or int64")
    return Port(name=_text(found["name"], "input"), shape=tuple(shape), dtype=dtype)


def _state(data: object) -> State:
    found = _entries(data, "state", ("before", "after", "initial"))
    initial = _array(found["initial"], f"the initial value of its state {_shown(found['before'])}")
    return State(before=_text(found["before"], "state"), after=_text(found["after"], "state"), initial=initial)


def _node(data: object) -> Node:
    found = _entries(data, "node", ("op", "fields", "inputs", "outputs"))
    kind = OPS.get(found["op"]) if isinstance(found["op"], str) else None
    if kind is None:
        raise InputError(f"has an op {_shown(found['op'])}, which this prunekit does not know; update prunekit")
    inputs, outputs = _names(found["inputs"], "inputs"), _names(found["outputs"], "outputs")
    called = f"node {_shown(outputs[0]) if outputs else '?'} ({kind.__name__})"
    wanted = {entry.name: hint for entry, hint in _hints(kind)}
    given = _entries(found["fields"], called, tuple(wanted))
    values = {name: _value(given[name], hint, f"'{name}' of {called}") for name, hint in wanted.items()}
    op: Op = kind(**values)
    return Node(op=op, inputs=inputs, outputs=outputs)


def _hints(kind: type) -> list[tuple[Any, object]]:
    hints = get_type_hints(kind)
    return [(entry, hints[entry.name]) for entry in fields(kind)]


def _value(value: object, hint: object, called: str) -> Any:
    if hint in _NUMBERS:
        if type(value) not in _NUMBERS[hint]:
            raise InputError(f"{called} is {_shown(value)}, but must be {getattr(hint, '__name__', hint)}")
        return float(value) if hint is float else value  # type: ignore[arg-type]
    if get_origin(hint) is Literal:
        if type(value) is not str or value not in get_args(hint):
            raise InputError(f"{called} is {_shown(value)}, but must be one of {', '.join(get_args(hint))}")
        return value
    if get_origin(hint) is tuple:
        arguments = get_args(hint)
        entries = _list(value, called)
        kinds = [arguments[0]] * len(entries) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(entries):
            raise InputError(f"{called} has {len(entries)} entries, but must have {len(kinds)}")
        return tuple(_value(entry, kind, called) for entry, kind in zip(entries, kinds, strict=True))
    if type(None) in get_args(hint):
        if value is None:
            return None
        return _value(value, next(kind for kind in get_args(hint) if kind is not type(None)), called)
    if hint in (Array, Bools):
        return _array(value, called, truths=hint == Bools)
    raise InputError(f"{called} is declared as {hint}, which no file can hold; declare arrays, numbers, text or tuples")


def _array(value: object, called: str, *, truths: bool = False) -> Array:
    if not isinstance(value, torch.Tensor) or value.dtype not in (
        (torch.bool,) if truths else (torch.float32, torch.float64)
    ):
        raise InputError(f"{called} is not a tensor of {'bool' if truths else 'float32 or float64'}")
    array: Array = value.detach().cpu().contiguous().numpy().copy()
    array.flags.writeable = False
    return array


def _entries(data: object, what: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(data, dict) or set(data) != set(names):
        keys = ", ".join(names) or "nothing"
        raise InputError(f"its {what} does not hold exactly {keys}")
    return data


def _list(data: object, what: str) -> list[Any]:
    if not isinstance(data, list | tuple):
        raise InputError(f"its {what} are not a list")
    return list(data)


def _names(data: object, what: str) -> tuple[str, ...]:
    return tuple(_text(name, what) for name in _list(data, what))


def _text(value: object, what: str) -> str:
    if type(value) is not str:
        raise InputError(f"its {what} has the name {_shown(value)}, which is not a string")
    return value


def _shown(value: object) -> str:
    return ascii(value)[:60]
