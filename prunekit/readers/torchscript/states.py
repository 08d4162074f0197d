"""States of a TorchScript policy: the tensors of its file to which the program writes, as recurrent policies do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from torch import Tensor

from prunekit.errors import InputError
from prunekit.graph.graph import Port
from prunekit.readers.lowering.ending import Carried
from prunekit.readers.torchscript.archive import Script
from prunekit.readers.torchscript.building import Building, floats_of
from prunekit.readers.torchscript.objects import Module
from prunekit.readers.torchscript.symbols import Symbol


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class KeptState:
    """A state: the whole memory ``tensor`` [n] at the address ``place``, and the graph value that represents it."""

    place: int
    tensor: Tensor
    port: Port

    def carried(self, building: Building, left: Symbol) -> Carried:
        """Return the state's next value, and its initial value from the file."""
        return Carried(after=building.data(left), initial=np.asarray(floats_of(self.tensor), np.float32))

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes about the state for the user."""
        begins = "zeros" if not self.tensor.any() else "values other than zero, which the file holds"
        return (f"keeps '{self.port.name}' of {self.tensor.numel()} values from step to step, at first {begins}",)


def kept_states(script: Script, written: Mapping[int, Tensor], taken: Sequence[str]) -> list[KeptState]:
    """Return the states of a program that writes to the tensors ``written``; their names differ from those in
    ``taken``.

    Raises InputError for a state whose dtype is not that of the policy's computation, such as a counter.
    """
    names = dict(_names(script.module, "", set()))
    states: list[KeptState] = []
    for place, tensor in written.items():
        name = names.get(place, "state")
        if tensor.dtype != script.dtype:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(f"keeps '{name[:60]}' of {kind} from step to step; only states of floats are read")
        used = {*taken, "action", "outputs", *(state.port.name for state in states)}
        name = next(one for one in (name, *(f"{name}.{at}" for at in range(len(used) + 1))) if one not in used)
        states.append(KeptState(place=place, tensor=tensor, port=Port(name=name, shape=(tensor.numel(),))))
    return states


def _names(module: Module, path: str, met: set[int]) -> Iterator[tuple[int, str]]:
    if id(module) in met:
        return
    met.add(id(module))
    for name, value in module.fields.items():
        if isinstance(value, Module):
            yield from _names(value, f"{path}.{name}".lstrip("."), met)
        elif isinstance(value, Tensor):
            yield value.untyped_storage().data_ptr(), f"{path}.{name}".lstrip(".")
