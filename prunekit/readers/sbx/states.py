"""Extraction of the deployed network's settings and arrays from the pickled policy in an SBX zip.

SBX does not store weights separately: its JSON holds the whole policy as a pickle, with functions and compiled code.
The pickle is decoded to records without importing anything, and only values at known names are used.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, final

from prunekit.errors import InputError
from prunekit.formats.array_pickles import read_part_of_pickle
from prunekit.formats.pickles import Name, Record
from prunekit.readers.sb3.contents import Contents, quoted
from prunekit.readers.sb3.pickled import fields_of
from prunekit.readers.weights.tree import Tree, tree_of

_OLD_FROZEN = "_dict"
"""Where flax before 0.7 keeps the entries of its frozen dictionaries."""


@final
@dataclass(frozen=True, kw_only=True)
class State:
    """A network of the class ``network``: its settings, weights and running statistics."""

    network: str
    activation: object
    batch_norm: bool
    scale_factor: object
    weights: Tree
    statistics: Tree


def state_of(contents: Contents, network: str, place: str) -> State:
    """Return the attribute ``network`` of the policy in a zip, with the arrays of its training state at ``place``.

    Raises InputError if the zip does not contain them.
    """
    packed = contents.section("policy").get(":serialized:")
    try:
        content = base64.b64decode(packed if isinstance(packed, str) else "", validate=True)
    except ValueError:
        content = b""
    if not content:
        raise InputError("its 'data' holds no pickled policy; save the model again")

    def part(whole: Any) -> Any:
        policy = fields_of(whole)
        own, trained = policy.get(network), fields_of(policy.get(place))
        settings = {name: fields_of(own).get(name) for name in ("use_batch_norm", "scale_factor")}
        return {
            "network": own.name if isinstance(own, Record) else None,
            "activation": _function(fields_of(own).get("activation_fn")),
            **settings,
            "params": _plain(trained.get("params")),
            "batch_stats": _plain(trained.get("batch_stats")),
        }

    found = read_part_of_pickle(content, part)
    params = found["params"] if isinstance(found["params"], dict) else {}
    weights = tree_of(params.get("params", params))  # CrossQ stores them one level higher
    if not isinstance(found["network"], str) or not weights.arrays:
        raise InputError(f"its pickled policy has no '{place}' with weights; save the model again")
    return State(
        network=found["network"],
        activation=found["activation"],
        batch_norm=found["use_batch_norm"] is True,
        scale_factor=found["scale_factor"],
        weights=weights,
        statistics=tree_of(found["batch_stats"] or {}),
    )


def _plain(value: object) -> object:
    """Return flax's frozen dictionaries as plain ones."""
    if isinstance(value, Record) and isinstance(value.state, dict) and _OLD_FROZEN in value.state:
        value = value.state[_OLD_FROZEN]
    if isinstance(value, Record) and value.name.endswith("FrozenDict"):
        value = value.items or (value.arguments[0] if len(value.arguments) == 1 else None)
    return {key: _plain(entry) for key, entry in value.items()} if isinstance(value, dict) else value


def _function(value: object) -> tuple[str, dict[Any, Any]] | str | None:
    """Return the dotted name of a JAX function and the keyword arguments of a ``functools.partial`` of it; None for
    anything else.
    """
    match value:
        case Name(text):
            return text
        case Record("functools.partial", _, (inner, (), dict(named), *_)):
            called = _function(inner)
            return (called, named) if isinstance(called, str) else None
        case Record(_, _, {"__module__": str(module), "__name__": str(name)}):  # one with a derivative of its own
            return f"{module}.{name}"
        case Record(_, _, {"function_name": str(name), "fun": fun}):  # a compiled one
            return f"{_module_of(fun)}.{name}"
        case _:
            return None


def _module_of(fun: object) -> str:
    match fun:
        case Name(text):
            return text.rpartition(".")[0]
        case Record("cloudpickle.cloudpickle._make_function", (_, {"__name__": str(module)}, *_)):
            return module
        case _:
            return quoted(fun)
