"""One run of a network on recent states, as importance and compensation look at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from prunekit.pruning.groups import Group, consumers_of


@final
@dataclass(frozen=True)
class Observation:
    """``output`` [n, k] is the deterministic output before squashing on ``states`` [n, obs].

    ``read`` holds the distinct values [n, width] that each group's consumers read. Both are nodes of one autograd
    graph, so that slopes of the one by the other can be asked for.
    """

    states: Tensor
    output: Tensor
    read: Mapping[str, tuple[Tensor, ...]]

    @property
    def hidden(self) -> dict[str, Tensor]:
        """The values [n, width] of each group, apart from the graph."""
        return {name: values[0].detach() for name, values in self.read.items()}


def observe(
    network: nn.Module, groups: Sequence[Group], states: Tensor, decision: Callable[[object], Tensor]
) -> Observation:
    """Run ``network`` on ``states`` [n, obs]; ``decision`` picks the output [n, k] from what it returns."""
    with torch.enable_grad(), _HiddenCapture(network, groups) as capture:
        output = decision(network(states))
    return Observation(states, output, capture.values)


@final
class _HiddenCapture:
    """Collects the hidden values [n, width] that each group's consumers read during a forward pass."""

    def __init__(self, network: nn.Module, groups: Sequence[Group]) -> None:
        self._read: dict[str, list[tuple[Tensor, Tensor]]] = {group.name: [] for group in groups}
        self._handles = [
            consumer.register_forward_pre_hook(self._reader(group.name))
            for group in groups
            for consumer in consumers_of(network, group)
        ]

    @property
    def values(self) -> dict[str, tuple[Tensor, ...]]:
        """The distinct values read so far, per group."""
        return {name: tuple(value for _, value in pairs) for name, pairs in self._read.items()}

    def __enter__(self) -> _HiddenCapture:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _reader(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor]]:
        def read(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
            for original, value in self._read[name]:
                if original is inputs[0]:
                    return (value,)
            value = inputs[0]
            if not value.requires_grad:  # units behind frozen layers
                value = value.detach().requires_grad_()
            self._read[name].append((inputs[0], value))
            return (value,)

        return read
