"""The latest inputs of a module, recorded by a forward hook, so a training loop need not pass them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import final

import torch
from torch import Tensor, nn

from prunekit.pruning.groups import StateUnits


@final
class RecentInputs:
    """At least the last ``rows`` inputs of ``module`` (fewer at first), recorded while ``listening``.

    Inputs are [..., n], and each vector of n values counts as one. Batches are kept whole. For a module with several
    ``arguments``, an input is their concatenation.
    """

    def __init__(self, module: nn.Module, rows: int, arguments: int = 1) -> None:
        self._wanted, self.arguments = rows, arguments
        self._batches: deque[Tensor] = deque()
        self._rows = 0
        self.listening = True
        self._handle = module.register_forward_pre_hook(_Hook(self), with_kwargs=True)

    def __len__(self) -> int:
        return self._rows

    def latest(self) -> Tensor:
        """Return the last ``rows`` inputs, [at most rows, n], oldest first."""
        return torch.cat(list(self._batches))[-self._wanted :]

    def batches(self) -> list[Tensor]:
        """Return the recorded batches, oldest first: the argument of ``replace``."""
        return list(self._batches)

    def replace(self, batches: Sequence[Tensor]) -> None:
        """Replace the recorded batches by ``batches``."""
        self._batches = deque(batches)
        self._rows = sum(len(batch) for batch in batches)

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Record nothing inside the context, because measuring runs the module too."""
        before, self.listening = self.listening, False
        try:
            yield
        finally:
            self.listening = before

    def detach(self) -> None:
        """Remove the hook."""
        self._handle.remove()

    def take(self, *given: Tensor) -> None:
        """Record a copy of ``given``, [n] or [..., n] each, while ``listening``."""
        if not self.listening:
            return
        rows = [one.detach().reshape(-1, one.shape[-1]) for one in given]
        self._batches.append(torch.cat(rows, dim=1) if len(rows) > 1 else rows[0].clone())
        self._rows += len(self._batches[-1])
        while self._rows - len(self._batches[0]) >= self._wanted:
            self._rows -= len(self._batches.popleft())


def living_states(
    rows: Tensor, states: Sequence[StateUnits], keep: Mapping[str, Tensor]
) -> tuple[Tensor, tuple[int, ...]]:
    """Return the inputs [n, ...] without the state values of dead units, and the width of each part.

    The last columns of ``rows`` are ``states``. ``keep`` is bool [width] per group. Without states there are no widths.
    """
    if not states:
        return rows, ()
    first = rows.shape[1] - sum(state.width for state in states)
    living, widths = [torch.ones(first, dtype=torch.bool)], [first]
    for state in states:
        lives = torch.ones(state.width, dtype=torch.bool)
        for name, places in state.places.items():
            lives[torch.from_numpy(places)[:, ~keep[name].cpu()]] = False
        living.append(lives)
        widths.append(int(lives.sum()))
    return rows[:, torch.cat(living).to(rows.device)], tuple(widths)


@final
class _Hook:
    """The hook on the module. A copy or a pickle of the module gets a hook that does nothing."""

    def __init__(self, recent: RecentInputs) -> None:
        self._recent = recent

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        if self._recent.arguments == 1:
            self._recent.take(inputs[0] if inputs else next(iter(named.values())))
            return
        names = list(signature(module.forward).parameters)[len(inputs) :]
        given = [*inputs, *(named[name] for name in names if name in named)]
        self._recent.take(*given[: self._recent.arguments])

    def __reduce__(self) -> tuple[object, ...]:
        return _inert_hook, ()


def _inert_hook() -> Callable[..., None]:
    return _ignore


def _ignore(*_: object) -> None:
    return None
