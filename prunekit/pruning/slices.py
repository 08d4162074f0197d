"""Where the units of a group are in a torch network, by paths; valid for every network of the same structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar, final

import torch
from torch import Tensor, nn

from prunekit.errors import CouplingError

Block = range | tuple[int, ...]
"""The places of all units of a group on an axis, in the order of the units; a ``range`` where they are one stretch."""


@final
@dataclass(frozen=True, kw_only=True)
class Slice:
    """Units on ``axis`` (of ``size``) of the parameter or buffer at the dotted path ``path``, once in each block."""

    path: str
    axis: int
    size: int
    blocks: tuple[Block, ...]

    @property
    def whole(self) -> bool:
        """Whether the units are the whole axis, in order."""
        return self.blocks == (range(self.size),)


@final
@dataclass(frozen=True, kw_only=True)
class Read:
    """Units on ``axis`` (counted from the end) of an argument of the module at ``path``, which mixes them.

    ``argument`` is the number of the argument, ``size`` the size of the axis; ``linear`` marks an ``nn.Linear``.
    """

    path: str
    argument: int
    axis: int
    size: int
    blocks: tuple[Block, ...]
    linear: bool

    @property
    def whole(self) -> bool:
        """Whether the units are the whole axis, in order."""
        return self.blocks == (range(self.size),)


_Entry = TypeVar("_Entry", Slice, Read)


@final
@dataclass(frozen=True, kw_only=True)
class Group:
    """All units of one axis: a name (the path of the first module that makes them), their number, and where they are.

    ``slices`` are the parts of parameters that are zero for a dead unit. ``buffers`` are the parts of statistics that
    are removed with it. ``reads`` are the modules that read the units, in order.
    """

    name: str
    width: int
    slices: tuple[Slice, ...]
    reads: tuple[Read, ...]
    buffers: tuple[Slice, ...] = ()

    @property
    def consumers(self) -> tuple[str, ...]:
        """The paths of the linear layers that read the units."""
        return tuple(read.path for read in self.reads if read.linear)


def linear_at(network: nn.Module, path: str) -> nn.Linear:
    """Return the ``nn.Linear`` at a dotted path; raises CouplingError if it is anything else."""
    module = network.get_submodule(path)
    if not isinstance(module, nn.Linear):
        raise CouplingError(f"module '{path}' is a {type(module).__name__}, not a Linear; trace the network again")
    return module


def consumers_of(network: nn.Module, group: Group) -> tuple[nn.Linear, ...]:
    """Return the linear layers that read the group's units."""
    return tuple(linear_at(network, path) for path in group.consumers)


def unit_slices(network: nn.Module, group: Group) -> list[tuple[Tensor, Slice]]:
    """Return every parameter (not a copy) that contains units of ``group``, with their slices."""
    return [(_parameter_at(network, entry.path), entry) for entry in group.slices]


def _parameter_at(network: nn.Module, path: str) -> Tensor:
    """Return the same as ``get_parameter`` in a tenth of its time, because penalties need it after every optimizer
    step.
    """
    *modules, name = _split(path)
    at: nn.Module | None = network
    for entry in modules:
        at = None if at is None else at._modules.get(entry)
    found = None if at is None else at._parameters.get(name)
    return network.get_parameter(path) if found is None else found


@lru_cache(maxsize=4096)
def _split(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def block_of(places: Sequence[int]) -> Block:
    """Return ``places`` as a block."""
    stretch = range(places[0], places[0] + len(places)) if len(places) else range(0)
    return stretch if list(stretch) == list(places) else tuple(places)


@lru_cache(maxsize=4096)
def places_of(blocks: tuple[Block, ...]) -> Tensor:
    """Return ``blocks`` as int64 [blocks, width]. The result is cached: do not change it."""
    return torch.tensor([list(block) for block in blocks], dtype=torch.int64)


def per_unit(values: Tensor, entry: Slice | Read) -> Tensor:
    """Return ``values`` [..., size] summed over all blocks, [..., width]."""
    if entry.whole:
        return values
    places = places_of(entry.blocks).to(values.device)
    return values[..., places].sum(dim=-2)


def per_place(factor: Tensor, entry: Slice, tensor: Tensor, other: float) -> Tensor:
    """Return ``factor`` [width] spread over the units' positions on the axis, ``other`` elsewhere, broadcastable to
    ``tensor``.
    """
    if not entry.whole:
        spread = torch.full((entry.size,), other).to(factor)
        places = places_of(entry.blocks).to(factor.device)
        spread[places] = factor.expand(places.shape)
        factor = spread
    behind = tensor.ndim - 1 - entry.axis
    return factor[(..., *[None] * behind)] if behind else factor


def without(groups: Sequence[Group], keep: Mapping[str, Tensor]) -> tuple[Group, ...]:
    """Return ``groups`` as they are after all units except ``keep`` (bool [width] each) are removed."""
    kept = {name: mask.cpu() for name, mask in keep.items()}
    left = left_of(groups, kept)

    def moved(entries: Sequence[_Entry], name: str) -> tuple[_Entry, ...]:
        found = []
        for entry in entries:
            if entry.whole:
                size = int(kept[name].sum())
                found.append(replace(entry, size=size, blocks=(range(size),)))
                continue
            stays = left[_axis_of(entry)]
            places = (stays.cumsum(0) - 1)[places_of(entry.blocks)[:, kept[name]]]
            blocks = tuple(block_of(row) for row in places.tolist())
            found.append(replace(entry, size=int(stays.sum()), blocks=blocks))
        return tuple(found)

    return tuple(
        Group(
            name=group.name,
            width=int(kept[group.name].sum()),
            slices=moved(group.slices, group.name),
            reads=moved(group.reads, group.name),
            buffers=moved(group.buffers, group.name),
        )
        for group in groups
    )


Place = tuple[str, int, int | None]
"""Path and axis of a tensor; or of a module, and the number of its argument."""


def left_of(groups: Sequence[Group], keep: Mapping[str, Tensor]) -> dict[Place, Tensor]:
    """Return, for every axis with units, which positions remain if only the units ``keep`` stay: bool [size]."""
    left: dict[Place, Tensor] = {}
    for group in groups:
        gone = ~keep[group.name].cpu()
        entries: list[Slice | Read] = [*group.slices, *group.buffers, *group.reads]
        for entry in entries:
            if entry.whole:
                left[_axis_of(entry)] = ~gone
                continue
            stays = left.setdefault(_axis_of(entry), torch.ones(entry.size, dtype=torch.bool))
            stays[places_of(entry.blocks)[:, gone].ravel()] = False
    return left


def _axis_of(entry: Slice | Read) -> Place:
    return entry.path, entry.axis, entry.argument if isinstance(entry, Read) else None
