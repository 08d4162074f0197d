"""The latest inputs of a module, kept by a forward hook so that a training loop has to pass nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn


@final
class RecentInputs:
    """At least the last ``rows`` inputs of ``module`` (fewer before it has seen so many), while ``listening``.

    Inputs are [batch, n] or a single [n]; batches are kept whole.
    """

    def __init__(self, module: nn.Module, rows: int) -> None:
        self._wanted = rows
        self._batches: deque[Tensor] = deque()
        self._rows = 0
        self.listening = True
        self._handle = module.register_forward_pre_hook(self._observe, with_kwargs=True)

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

    def detach(self) -> None:
        """Remove the hook."""
        self._handle.remove()

    def _observe(self, _: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        if not self.listening:
            return
        states = (inputs[0] if inputs else next(iter(named.values()))).detach()
        self._batches.append(states.reshape(-1, states.shape[-1]).clone())
        self._rows += len(self._batches[-1])
        while self._rows - len(self._batches[0]) >= self._wanted:
            self._rows -= len(self._batches.popleft())
