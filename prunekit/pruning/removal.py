"""The removal of units at a check: which of those that are due die, and how those that stay make up for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from prunekit.errors import InputError
from prunekit.pruning.due import Due, Unit, without_units
from prunekit.pruning.forward_pass import Taken
from prunekit.pruning.groups import StateUnits
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.recent import RecentInputs, living_states
from prunekit.pruning.reconstruction import Reconstruction
from prunekit.pruning.trust_region import Divergence, TrustRegion, late_pace
from prunekit.pruning.units import Units


@final
@dataclass(frozen=True, kw_only=True)
class Removal:
    """Removes ``units`` of ``network`` and its twins.

    ``recent`` are the inputs on which a removal is measured, and ``states`` the units in the network's states. Without
    ``region``, all units that are due die; without ``reconstruction``, nothing is fitted.
    """

    plan: PruningPlan
    network: nn.Module
    units: Units
    recent: RecentInputs
    states: Sequence[StateUnits]
    region: TrustRegion | None
    reconstruction: Reconstruction | None

    def remove_(
        self, due: Due, taken: Mapping[str, Sequence[Taken]] | None, *, step: int, late_checks: int | None
    ) -> None:
        """Let units that are due die.

        With the values ``taken`` of the living units, those that stay compensate. ``step`` is the number of the
        optimizer step, and ``late_checks`` the number of checks that are left after the pruning window, None in it.
        """
        region, units, moved = self.region, due.weakest, 0.0
        if region is not None:
            units, moved = self._within(region, due, taken, step, late_checks)
        if units:
            keep = without_units(self.units.keep, units)
            if self.reconstruction is None:
                self.units.prune_(keep, taken)
            else:
                moved = self._reconstructed(self.reconstruction, keep, taken, moved, step)
        if region is not None:
            region.largest = max(region.largest, moved)

    def _within(
        self,
        region: TrustRegion,
        due: Due,
        taken: Mapping[str, Sequence[Taken]] | None,
        step: int,
        late_checks: int | None,
    ) -> tuple[list[Unit], float]:
        """Return the units that die within the trust region, after the window as many as must at least, and how far
        they move the policy.
        """
        rows = self.recent.latest()
        widths = [state.width for state in self.states]
        inputs = torch.split(rows, [rows.shape[1] - sum(widths), *widths], dim=1) if widths else (rows,)
        pace = 0 if late_checks is None else late_pace(self.plan, self.units.keep, late_checks)
        with self.recent.deaf():
            before = region.outputs(self.network, inputs)

            def trial(units: Sequence[Unit]) -> float:
                after = self.units.tried(without_units(self.units.keep, units), taken)
                return region.distance(before, region.outputs(after, inputs), step)

            return region.choose(due, pace, trial)

    def _reconstructed(
        self,
        reconstruction: Reconstruction,
        keep: Mapping[str, Tensor],
        taken: Mapping[str, Sequence[Taken]] | None,
        moved: float,
        step: int,
    ) -> float:
        """Let all units except ``keep`` die, which moves the policy as far as ``moved``, and fit what is left to the
        outputs before.

        Return how far the policy moves in all. A fit that takes it further, and out of the trust region, is dropped.
        """
        rows = self.recent.latest()
        with self.recent.deaf():
            before = living_states(rows, self.states, self.units.keep)
            wanted = [reconstruction.outputs(network, *before) for network in self.units.copies()]
            self.units.prune_(keep, taken)
            after = living_states(rows, self.states, self.units.keep)
            copies = self.units.copies()
            names = [name for name, parameter in self.network.named_parameters() if parameter.requires_grad]
            for network, outputs in zip(copies, wanted, strict=True):
                reconstruction.fit_(network, names, *after, outputs, seed=step)
            if self.region is not None:
                found = self.region.distance(wanted[0], reconstruction.outputs(copies[0], *after), step)
                if found > max(moved, self.region.limit):
                    return moved
                moved = found
            self.units.take_over_(copies)
        return moved


def trust_region_of(
    plan: PruningPlan, divergence: Divergence | None, outputs_of: Callable[[object], Tensor]
) -> TrustRegion | None:
    """Return the trust region of ``plan``, if it has one. Raises InputError if there is no ``divergence`` then."""
    if plan.max_divergence is None:
        return None
    if divergence is None:
        raise InputError(
            "max_divergence needs `divergence`, a function of the outputs before and after a removal, because only the "
            "training loop knows what they mean"
        )
    return TrustRegion(limit=plan.max_divergence, divergence=divergence, outputs_of=outputs_of)
