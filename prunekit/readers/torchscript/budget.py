"""What one evaluation of a program may take: so many steps, so many elements, so deep a nest of calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, final

import torch
from torch import Tensor

from prunekit.errors import InputError

MAX_STEPS = 100_000
MAX_CALL_DEPTH = 48
MAX_STATE = 2**16
"""Values that one state of a recurrent policy may have."""
MAX_LENGTH = 2**16
"""Entries of a list and characters of a text that a program makes."""
PER_STEP = 16
"""How many entries of a list, or characters of a text, are looked at or copied in the time of a step."""
_ELEMENTS = 2**22
_ELEMENTS_PER_ROW = 2**19
_REUSE = 8
_MULTIPLIED_PER_ELEMENT = 64
"""How many multiplications of a matrix product take as long as writing one element."""
_MAX_INTEGER = 2**63


class Tracing(Protocol):
    """What sees every call of a program that is run on tensors that are only known by name."""

    def call(
        self, path: str, operator: Callable[..., Any], values: list[Any], options: dict[str, Any], run: Run, /
    ) -> Any:
        """Return what the operator ``path`` makes of ``values``."""

    def inside(self, module: object, /) -> AbstractContextManager[None]:
        """Note that a method of ``module`` runs."""

    def known(self, value: Any, /) -> Any:
        """Return ``value``; raises InputError where it depends on the observation."""


@final
@dataclass(kw_only=True)
class Written:
    """The tensors of the file that a program wrote to, as they were before, by their place in memory."""

    before: dict[int, Tensor] = field(default_factory=dict)
    now: dict[int, Tensor] = field(default_factory=dict)

    def note(self, target: Tensor) -> None:
        """Keep the whole memory of ``target``; raises InputError where it is larger than any state."""
        place = target.untyped_storage().data_ptr()
        if place in self.before:
            return
        whole = whole_of(target)
        if whole.numel() > MAX_STATE:
            raise InputError(f"keeps a state of {whole.numel():,} values between calls, more than any policy needs")
        self.now[place], self.before[place] = whole, whole.clone()

    def undo(self) -> None:
        """Put everything back."""
        for place, whole in self.now.items():
            whole.copy_(self.before[place])


def whole_of(tensor: Tensor) -> Tensor:
    """Return the whole memory of ``tensor`` as a vector."""
    storage = tensor.untyped_storage()
    count = storage.nbytes() // tensor.element_size()
    return torch.empty(0, dtype=tensor.dtype).set_(storage, 0, (count,), (1,))


@final
@dataclass(kw_only=True)
class Run:
    """One evaluation: what is left of its budget, the tensors that it must not write to, and what it has read.

    ``used`` collects the parameters that it reads by their place in memory; ``owned`` and ``lists`` are the tensors'
    storages and the lists of the file; ``tracing`` is None where the tensors are real ones. ``written`` takes note of
    what it writes to the tensors of the file; where it is None, it must not.
    """

    steps: int
    elements: int
    owned: Collection[int]
    lists: Collection[int]
    used: dict[tuple[int, int], int] = field(default_factory=dict)
    depth: int = 0
    tracing: Tracing | None = None
    written: Written | None = None

    def known(self, value: Any) -> Any:
        """Return ``value``, which the program takes a number of; raises InputError where it is traced."""
        return value if self.tracing is None else self.tracing.known(value)

    def step(self, count: int = 1) -> None:
        """Take ``count`` steps; raises InputError where too many were taken."""
        self.steps -= count
        if self.steps < 0:
            raise InputError(f"takes more than {MAX_STEPS:,} steps for one answer, as in an endless loop")

    def walk(self, values: Iterable[object]) -> None:
        """Take the steps of looking once at every entry of the lists and texts among ``values``."""
        for value in values:
            if isinstance(value, list | tuple | dict | str):
                self.step(len(value) // PER_STEP)

    def take(self, elements: int, multiplied: int = 0) -> None:
        """Take room for ``elements`` and time for ``multiplied``; raises InputError where there is too little left."""
        self.elements -= max(elements, multiplied // _MULTIPLIED_PER_ELEMENT)
        if self.elements < 0:
            raise InputError("makes tensors that are far larger than its weights and observations")

    def use(self, parameter: Tensor) -> None:
        """Note that the program reads ``parameter``."""
        self.used[parameter.data_ptr(), parameter.numel()] = parameter.numel()

    def require_own(self, target: Tensor) -> None:
        """Take note where ``target`` lies in a tensor of the file: what is written there outlives the call.

        Raises InputError where that is not allowed.
        """
        if target.untyped_storage().data_ptr() not in self.owned:
            return
        if self.written is None:
            raise InputError(
                "keeps state between calls (it writes to its own tensors), so it is recurrent; these are not imitated"
            )
        self.written.note(target)


def run_for(rows: int, weights: int, owned: Collection[int], lists: Collection[int]) -> Run:
    """Return the budget for ``rows`` observations of a policy with ``weights`` elements."""
    elements = _ELEMENTS + _REUSE * weights + rows * (_ELEMENTS_PER_ROW + weights // 16)
    return Run(steps=MAX_STEPS, elements=elements, owned=owned, lists=lists)


def whole(value: int) -> int:
    """Return ``value``; raises OverflowError where TorchScript's 64 bits cannot hold it."""
    if not -_MAX_INTEGER <= value < _MAX_INTEGER:
        raise OverflowError("an integer of more than 64 bits")
    return value


def short(length: int) -> int:
    """Return ``length``; raises InputError where a list or text of a program is longer than any policy needs."""
    if length > MAX_LENGTH:
        raise InputError(f"makes a list or text of more than {MAX_LENGTH:,} entries")
    return length
