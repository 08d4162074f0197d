"""The units of networks in training: which are alive, which are physically present, and the tensors of dead ones.

Everything is indexed by the original units, so schedules and importance do not depend on physical removal. Only
``masks`` are over the units that the networks have now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor, nn

from prunekit.errors import InputError
from prunekit.pruning.attachment import check_equal_widths, check_twins
from prunekit.pruning.compensation import compensate_
from prunekit.pruning.forward_pass import Taken
from prunekit.pruning.groups import find_groups, refuse_unprunable
from prunekit.pruning.layers import check_trainable_types
from prunekit.pruning.masks import DeadSlice, Masks, check_masks, dead_slices, full_masks, zero_slices_
from prunekit.pruning.penalties import unit_size
from prunekit.pruning.physical import copy_of, living_view, padded, refuse_replacing, remove_units_, write_back_
from prunekit.pruning.slices import Group, places_of, without


@final
class Units:
    """The units of ``networks``: ``optimizer`` trains the first network, and the others are its twins.

    ``keep`` (bool [original width] per group) says which units are alive, ``present`` which are physically there, and
    ``sizes`` how many parameters a unit had originally. ``groups`` are those of the networks as they are now.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        optimizer: torch.optim.Optimizer,
        equal_widths: Sequence[Sequence[str]],
        on_shrink: Callable[[], None],
        *,
        states: int = 0,
    ) -> None:
        self._networks, self._optimizer, self._on_shrink = tuple(networks), optimizer, on_shrink
        self.groups = find_groups(networks[0], states=states)
        refuse_unprunable(networks[0], states=states)
        self._equal_widths = check_equal_widths(self.groups, equal_widths)
        check_twins(self.groups, self._networks[1:], states=states)
        for network in networks:
            check_trainable_types(network)
        self.keep, self.present = full_masks(self.groups), full_masks(self.groups)
        self.sizes = {group.name: unit_size(networks[0], group) for group in self.groups}
        self._dead: list[DeadSlice] = []

    @property
    def masks(self) -> dict[str, Tensor]:
        """Masks over the units that are present."""
        return self.of_present(self.keep)

    def of_present(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``values`` [original width] per group, reduced to the units that are present."""
        return {name: value[self.present[name].to(value.device)] for name, value in values.items()}

    def living(self) -> tuple[nn.Module, tuple[Group, ...]]:
        """Return the first network without its dead units, and its groups; the network itself if no unit is dead."""
        return self._living(self._networks[0])

    def copies(self) -> list[nn.Module]:
        """Return a copy of every network without its dead units, with parameters of its own."""
        return [copy_of(self._living(network)[0]) for network in self._networks]

    def take_over_(self, copies: Sequence[nn.Module]) -> None:
        """Write the parameters of ``copies``, which ``copies()`` returned, to where they are in the networks."""
        for network, copy in zip(self._networks, copies, strict=True):
            write_back_(network, self.groups, self.masks, copy)

    def _living(self, network: nn.Module) -> tuple[nn.Module, tuple[Group, ...]]:
        masks = self.masks
        if all(bool(keep.all()) for keep in masks.values()):
            return network, self.groups
        return living_view(network, self.groups, masks)

    def zero_dead_(self) -> None:
        """Set all parameters of dead units that are present to zero."""
        zero_slices_(self._dead)

    def prune_(self, keep: Masks, taken: Mapping[str, Sequence[Taken]] | None) -> None:
        """Let all units except ``keep`` die. With the values ``taken`` of living units, the remaining ones
        compensate.
        """
        self._compensate_(self._networks, keep, taken)
        self.keep = dict(keep)
        self._find_dead_()

    def tried(self, keep: Masks, taken: Mapping[str, Sequence[Taken]] | None) -> nn.Module:
        """Return a copy of the first network as ``prune_`` would leave it, to the bit."""
        network = copy_of(self._networks[0])
        self._compensate_((network,), keep, taken)
        zero_slices_(dead_slices(network, self.groups, self.of_present(keep)))
        return network

    def _compensate_(
        self, networks: Sequence[nn.Module], keep: Masks, taken: Mapping[str, Sequence[Taken]] | None
    ) -> None:
        for group in self.groups if taken is not None else ():
            there, living = self.present[group.name], self.keep[group.name]
            places = {read.path: places_of(read.blocks) for read in group.reads if read.linear}
            for entry in () if taken is None else taken[group.name]:
                if entry.consumers and entry.columns is not None:
                    stays = keep[group.name][living].to(entry.columns.device)
                    row = places[entry.consumers[0]][0]
                    indices = [row[mask[there]] for mask in (keep[group.name], living & ~keep[group.name])]
                    values = entry.columns
                    compensate_(networks, entry.consumers, values[:, stays], values[:, ~stays], *indices)

    def removable(self) -> float:
        """Return the share of the present units that could be removed physically."""
        present = sum(int(there.sum()) for there in self.present.values())
        wanted = padded(self.keep, self.present, self._equal_widths)
        return 1.0 - sum(int(kept.sum()) for kept in wanted.values()) / present if present else 0.0

    def shrink_(self) -> None:
        """Remove the dead units physically. Raises InputError, before anything is changed, if the optimizer does not
        allow it.
        """
        self._leave_(padded(self.keep, self.present, self._equal_widths))

    def state_dict(self) -> dict[str, Any]:
        """Return the argument of ``load_state_dict``: tensors and plain numbers."""
        return {
            "keep": {name: keep.clone() for name, keep in self.keep.items()},
            "present": {name: present.clone() for name, present in self.present.items()},
            "sizes": dict(self.sizes),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state. Networks of the original widths are first shrunk to the saved ones.

        Raises InputError if the state belongs to a network with other groups.
        """
        whole = {name: present.numel() for name, present in state["present"].items()}
        left = {name: int(present.sum()) for name, present in state["present"].items()}
        widths = {group.name: group.width for group in self.groups}
        if widths not in (whole, left):
            raise InputError(
                f"the pruner's state belongs to a network with the units {whole} ({left} of them left), "
                f"but this network has {widths}"
            )
        check_masks([replace(group, width=whole[group.name]) for group in self.groups], state["keep"])
        self.keep, self.sizes = dict(state["keep"]), dict(state["sizes"])
        if widths == whole:
            self.present = {name: torch.ones_like(present) for name, present in state["present"].items()}
            self._leave_(state["present"])
        else:
            self.present = dict(state["present"])
            self._find_dead_()

    def _leave_(self, wanted: Masks) -> None:
        now = self.of_present(wanted)
        if not all(bool(kept.all()) for kept in now.values()):
            refuse_replacing(self._networks[0], self.groups)
        remove_units_(self._networks, self.groups, now, self._optimizer)
        self.present = {name: wanted[name].clone() for name in self.present}
        self.groups = without(self.groups, now)
        self._find_dead_()
        self._on_shrink()

    def _find_dead_(self) -> None:
        masks = self.masks
        self._dead = [found for network in self._networks for found in dead_slices(network, self.groups, masks)]
        self.zero_dead_()
