"""The budget of one evaluation of a program: its steps, its elements, and the depth of its calls."""

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
    """The interface to which a symbolic run passes every call of the program."""

    def call(
        self, path: str, operator: Callable[..., Any], values: list[Any], options: dict[str, Any], run: Run, /
    ) -> Any:
        """Return the result of the operator ``path`` on ``values``."""

    def inside(self, module: object, /) -> AbstractContextManager[None]:
        """Note that a method of ``module`` is running."""

    def known(self, value: Any, /) -> Any:
        """Return ``value``; raises InputError if it depends on the observation."""


@final
@dataclass(kw_only=True)
class Written:
    """The file's tensors to which a program wrote, with their earlier content, by address."""

    before: dict[int, Tensor] = field(default_factory=dict)
    now: dict[int, Tensor] = field(default_factory=dict)

    def note(self, target: Tensor) -> None:
        """Save the whole memory of ``target``; raises InputError if it is larger than any state."""
        place = target.untyped_storage().data_ptr()
        if place in self.before:
            return
        whole = whole_of(target)
        if whole.numel() > MAX_STATE:
            raise InputError(f"keeps a state of {whole.numel():,} values between calls, more than any policy needs")
        self.now[place], self.before[place] = whole, whole.clone()

    def undo(self) -> None:
        """Restore everything."""
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
    """One evaluation: its remaining budget, the tensors that it must not change, and those that it read.

    ``used`` collects the parameters that it reads, by address. ``owned`` and ``lists`` are the storages and lists of
    the file. ``tracing`` is None if all tensors are real. ``written`` records writes to the file's tensors; if it is
    None, such writes are errors.
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
        """Return ``value``, of which the program needs the numeric value; raises InputError if it is traced."""
        return value if self.tracing is None else self.tracing.known(value)

    def step(self, count: int = 1) -> None:
        """Charge ``count`` steps; raises InputError if the budget is exceeded."""
        self.steps -= count
        if self.steps < 0:
            raise InputError(f"takes more than {MAX_STEPS:,} steps for one answer, as in an endless loop")

    def walk(self, values: Iterable[object]) -> None:
        """Charge the steps of visiting every entry of the lists and texts among ``values``."""
        for value in values:
            if isinstance(value, list | tuple | dict | str):
                self.step(len(value) // PER_STEP)

    def take(self, elements: int, multiplied: int = 0) -> None:
        """Charge memory for ``elements`` and time for ``multiplied`` products; raises InputError if the budget is
        exceeded.
        """
        self.elements -= max(elements, multiplied // _MULTIPLIED_PER_ELEMENT)
        if self.elements < 0:
            raise InputError("makes tensors that are far larger than its weights and observations")

    def use(self, parameter: Tensor) -> None:
        """Note that the program reads ``parameter``."""
        self.used[parameter.data_ptr(), parameter.numel()] = parameter.numel()

    def require_own(self, target: Tensor) -> None:
        """Record a write to ``target`` if its memory belongs to the file, because it outlives the call.

        Raises InputError if such a write is not allowed.
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
    """Return ``value``; raises OverflowError if it does not fit into TorchScript's 64 bits."""
    if not -_MAX_INTEGER <= value < _MAX_INTEGER:
        raise OverflowError("an integer of more than 64 bits")
    return value


def short(length: int) -> int:
    """Return ``length``; raises InputError if it is longer than a list or text of any policy."""
    if length > MAX_LENGTH:
        raise InputError(f"makes a list or text of more than {MAX_LENGTH:,} entries")
    return length
