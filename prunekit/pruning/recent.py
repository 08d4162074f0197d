"""The latest inputs of a module, kept by a forward hook so that a training loop has to pass nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn


@final
class RecentInputs:
    """At least the last ``rows`` inputs of ``module`` (fewer before it has seen so many), while ``listening``.

    Inputs are [..., n], each vector of n values being one; batches are kept whole.
    """

    def __init__(self, module: nn.Module, rows: int) -> None:
        self._wanted = rows
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
        """Return what is kept, oldest first; the argument of ``replace``."""
        return list(self._batches)

    def replace(self, batches: Sequence[Tensor]) -> None:
        """Keep ``batches`` and nothing else."""
        self._batches = deque(batches)
        self._rows = sum(len(batch) for batch in batches)

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Take nothing for a while: measuring runs the module too."""
        before, self.listening = self.listening, False
        try:
            yield
        finally:
            self.listening = before

    def detach(self) -> None:
        """Remove the hook."""
        self._handle.remove()

    def take(self, states: Tensor) -> None:
        """Keep a copy of ``states``, [n] or [..., n], unless not ``listening``."""
        if not self.listening:
            return
        self._batches.append(states.detach().reshape(-1, states.shape[-1]).clone())
        self._rows += len(self._batches[-1])
        while self._rows - len(self._batches[0]) >= self._wanted:
            self._rows -= len(self._batches.popleft())


@final
class _Hook:
    """What the module holds. A copy or a pickle of the module takes nothing with it but a hook that does nothing."""

    def __init__(self, recent: RecentInputs) -> None:
        self._recent = recent

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        self._recent.take(inputs[0] if inputs else next(iter(named.values())))

    def __reduce__(self) -> tuple[object, ...]:
        return _inert_hook, ()


def _inert_hook() -> Callable[..., None]:
    return _ignore


def _ignore(*_: object) -> None:
    return None
