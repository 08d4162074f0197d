"""The weights of a checkpoint by dotted names, wherever its library stored them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from prunekit.errors import InputError
from prunekit.formats.pickles import MODULES, Record
from prunekit.formats.text import shown
from prunekit.graph.op import Array
from prunekit.lazy import torch
from prunekit.readers.lowering.builder import as_floats

MAX_ARRAYS = 100_000
_NUMBERS = ("negative_slope", "alpha", "beta", "threshold", "approximate", "min_val", "max_val")
_OF_MODULE = ("_parameters", "_buffers", "_modules")
_WRAPPERS = "_orig_mod."  # torch.compile's


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Tree:
    """``arrays`` by dotted names in the file's order, and the names of ``modules``, if the file has them.

    For a whole module that was saved, ``classes`` are the classes of its modules without weights, as text (``told``).
    """

    arrays: Mapping[str, Any]
    modules: frozenset[str] = field(default_factory=frozenset)
    classes: Mapping[str, str] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def under(self, path: str) -> Tree:
        """Return the subtree at the dotted ``path``, with names relative to it; ``""`` gives the tree itself."""
        if not path:
            return self
        start = f"{path}."
        cut = len(start)
        return Tree(
            arrays={name[cut:]: value for name, value in self.arrays.items() if name.startswith(start)},
            modules=frozenset(name[cut:] for name in self.modules if name.startswith(start)),
            classes={name[cut:]: value for name, value in self.classes.items() if name.startswith(start)},
        )

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the array ``name``."""
        return tuple(int(size) for size in self.arrays[name].shape)

    def floats(self, name: str) -> Array:
        """Return the array ``name`` as float64; raises InputError if it is missing or holds no floats."""
        if name not in self.arrays:
            raise InputError(f"lacks '{shown(name, 80)}'")
        value = self.arrays[name]
        if isinstance(value, torch.Tensor):
            if not value.dtype.is_floating_point:
                raise InputError(f"'{shown(name, 80)}' holds no floats")
            return np.asarray(value.detach().double().numpy())
        if not np.issubdtype(value.dtype, np.floating):
            raise InputError(f"'{shown(name, 80)}' holds no floats")
        return np.asarray(value, np.float64)

    def vector(self, name: str) -> Array:
        """Return the array ``name`` as a float64 vector, without axes of size one."""
        return self.floats(name).reshape(-1)

    def float32(self, name: str) -> Array:
        """Return the array ``name`` as float32; raises InputError as ``floats`` does."""
        return as_floats(self.floats(name))

    @property
    def matrices(self) -> list[str]:
        """Return the names of layers, which have weights of two or more axes."""
        found: dict[str, None] = {}
        for name in self.arrays:
            layer, _, kind = name.rpartition(".")
            if kind in ("weight", "kernel") and len(self.shape(name)) >= 2:
                found[layer] = None
        return list(found)


def part_of(layer: str, kind: str) -> str:
    """Return the name of the ``kind`` (weight, bias, ...) of ``layer``; in a file of one layer, ``layer`` is ``""``."""
    return f"{layer}.{kind}" if layer else kind


_OTHERS = ("critic", "value", "target", "teacher", "discriminator")
_OTHERS_BEGIN = ("vf", "qf", "q1", "q2", "optim", "scheduler")


def may_be_policy(name: str) -> bool:
    """Return whether the dotted ``name`` contains no word for a critic, a target network, an optimizer, ..."""
    parts = name.lower().split(".")
    return not any(part.startswith(_OTHERS_BEGIN) or any(word in part for word in _OTHERS) for part in parts)


def tree_of(data: object) -> Tree:
    """Return all tensors and arrays in decoded ``data``; raises InputError for more than any policy has."""
    arrays: dict[str, Any] = {}
    modules: set[str] = set()
    classes: dict[str, str] = {}
    for name, value in _leaves(data, ""):
        if isinstance(value, torch.Tensor | np.ndarray):
            arrays[name.replace(_WRAPPERS, "")] = value
        else:
            modules.add(name.replace(_WRAPPERS, ""))
            if isinstance(value, str):
                classes[name.replace(_WRAPPERS, "")] = value
        if len(arrays) + len(modules) > MAX_ARRAYS:
            raise InputError(f"holds more than {MAX_ARRAYS:,} tensors, more than any policy needs")
    return Tree(arrays=arrays, modules=frozenset(modules), classes=classes)


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    """Yield arrays by name, and None for the name of a module. The depth was limited when the data was decoded."""
    if isinstance(value, torch.Tensor | np.ndarray):
        yield path, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            if key is MODULES:
                yield from ((_joined(path, name), None) for name in _texts(entry))
            elif isinstance(key, str | int):
                yield from _leaves(entry, _joined(path, str(key)))
    elif isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            yield from _leaves(entry, _joined(path, str(index)))
    elif isinstance(value, Record):
        yield from _of_object(value, path)


def _of_object(record: Record, path: str) -> Iterator[tuple[str, object]]:
    """Yield the content of an object: a module's parameters and submodules, or a frozen dictionary's entries."""
    if record.items is not None:
        yield from _leaves(record.items, path)
    state = record.state
    if isinstance(state, tuple) and len(state) == 2:  # the slots of a class, in addition to its dictionary
        state = state[0] if state[1] is None else state[1]
    if isinstance(state, dict) and all(name in state for name in _OF_MODULE):
        for name in _OF_MODULE:
            yield from _leaves(state[name], path)
        parts = state["_modules"] if isinstance(state["_modules"], dict) else {}
        yield from ((_joined(path, name), _class_of(parts[name])) for name in _texts(parts))
    elif isinstance(state, dict):
        yield from _leaves(state, path)
    elif len(record.arguments) == 1 and isinstance(record.arguments[0], dict):
        yield from _leaves(record.arguments[0], path)


def _class_of(module: object) -> str | None:
    """Return the class of a module without weights as text, in the form of ``functools.partial`` with its numbers."""
    state = module.state if isinstance(module, Record) else None
    if not isinstance(module, Record) or not isinstance(state, dict) or state.get("_parameters"):
        return None
    numbers = [f"{name}={state[name]!r}" for name in _NUMBERS if type(state.get(name)) in (int, float, str)]
    return f"functools.partial({', '.join((f'<class {module.name!r}>', *numbers))})"


def _texts(value: object) -> list[str]:
    return [name for name in value if isinstance(name, str) and name] if isinstance(value, dict) else []


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
