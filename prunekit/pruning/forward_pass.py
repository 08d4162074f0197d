"""One forward pass on recent states, with everything that importance and compensation need from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, final

import torch
from torch import Tensor, nn

from prunekit.pruning.slices import Group, Read, per_unit, places_of


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Taken:
    """A value from which modules read units of a group, and the positions of the units; ``consumers`` are its linear
    readers.

    ``value`` has the batch axis first, and is a node of the forward pass's autograd graph.
    """

    value: Tensor
    read: Read
    consumers: tuple[str, ...]

    def sums(self, values: Tensor) -> Tensor:
        """Return ``values``, shaped as ``value``, summed over all elements of each unit, [n, width]."""
        moved = per_unit(values.movedim(self.read.axis, -1), self.read)
        return moved.reshape(len(moved), -1, moved.shape[-1]).sum(dim=1) if moved.ndim > 2 else moved

    @property
    def columns(self) -> Tensor | None:
        """The detached values of the units [rows, width], as linear layers read them; None if they are in several
        blocks.
        """
        return self.rows if len(self.read.blocks) == 1 and self.read.axis == -1 else None

    @property
    def rows(self) -> Tensor:
        """All values of the units, [rows, width], detached."""
        values = self.value.detach().movedim(self.read.axis, -1)
        if not self.read.whole:
            values = values[..., places_of(self.read.blocks).to(values.device)]
        return values if values.ndim == 2 else values.reshape(-1, values.shape[-1])


@final
@dataclass(frozen=True, kw_only=True)
class ForwardPass:
    """A forward pass: ``output`` [n, k] is the deterministic output before squashing on ``states`` [n, obs].

    ``read`` holds, per group, the distinct values from which its units are read. These values and the output belong to
    one autograd graph, so the output can be differentiated by them. A gate on a unit is a gate on all of them.
    """

    states: Tensor
    output: Tensor
    read: Mapping[str, tuple[Taken, ...]]

    @property
    def hidden(self) -> dict[str, Tensor]:
        """The values [rows, width] of each group, as its first linear reader (or else its first reader) sees them."""
        return {name: next((t for t in taken if t.consumers), taken[0]).rows for name, taken in self.read.items()}


def forward_pass(
    network: nn.Module,
    groups: Sequence[Group],
    states: Tensor,
    output_of: Callable[[object], Tensor],
    widths: Sequence[int] = (),
) -> ForwardPass:
    """Run ``network`` on ``states`` [n, obs]; ``output_of`` picks the output [n, k] from its result.

    With ``widths``, the columns of ``states`` are split into several arguments of these widths.
    """
    with torch.enable_grad(), _HiddenCapture(network, groups) as capture:
        output = output_of(network(*(torch.split(states, list(widths), dim=1) if widths else (states,))))
    return ForwardPass(states=states, output=output, read=capture.values)


@final
class _HiddenCapture:
    """Records, during a forward pass, the values from which the units of each group are read."""

    def __init__(self, network: nn.Module, groups: Sequence[Group]) -> None:
        self._read: dict[str, list[tuple[Tensor, Tensor, list[Read]]]] = {group.name: [] for group in groups}
        self._handles = [
            network.get_submodule(read.path).register_forward_pre_hook(self._reader(group.name, read), with_kwargs=True)
            for group in groups
            for read in group.reads
        ]

    @property
    def values(self) -> dict[str, tuple[Taken, ...]]:
        """The distinct values recorded so far, per group."""
        return {
            name: tuple(
                Taken(value=value, read=reads[0], consumers=tuple(r.path for r in reads if r.linear))
                for _, value, reads in found
            )
            for name, found in self._read.items()
        }

    def __enter__(self) -> _HiddenCapture:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _reader(self, name: str, read: Read) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
        def take(
            module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if read.argument < len(given):
                value = self._value(name, read, given[read.argument])
                return (*given[: read.argument], value, *given[read.argument + 1 :]), named
            key = list(signature(module.forward).parameters)[read.argument]
            return given, {**named, key: self._value(name, read, named[key])}

        return take

    def _value(self, name: str, read: Read, given: Tensor) -> Tensor:
        for original, value, reads in self._read[name]:
            if original is given:
                reads.append(read)
                return value
        value = given
        if not value.requires_grad:  # units behind frozen layers
            value = value.detach().requires_grad_()
        self._read[name].append((given, value, [read]))
        return value
