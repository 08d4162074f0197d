"""The plan of a masked training: what to prune and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from prunekit.errors import EmptyGroupError, InputError
from prunekit.pruning.importance import Importance, irreplaceability
from prunekit.pruning.penalties import PROXIMAL, Penalty
from prunekit.pruning.schedules import Phases, Sparsity, Threshold


@final
@dataclass(frozen=True, kw_only=True)
class PruningPlan:
    """What to prune and how. Shares are of all hidden units; ``checks`` is the number of checks in the pruning window.

    With a ``strength`` above 0, the penalty shrinks an average unit by so many median norms over the pruning window
    (``scale_free_lambda``). A unit dies after ``patience`` checks below the threshold, and at most ``share_per_check``
    of a group's living units die at a time. Importance is measured on the latest ``states`` inputs and averaged with
    ``memory`` in [0, 1).

    With ``common_scale``, units of all groups are compared by their raw importance, which must have the dimension of
    the output. Otherwise importance is divided by the mean of its group. ``compensate`` lets living units take over the
    contribution of dead ones (``pruning/compensation.py``). In sparsity mode a group keeps at least ``min_share`` of
    the units that it would keep if all groups lost the same share; this prevents bottlenecks.

    With ``reconstruction``, all parameters that are left after a removal are fitted to the outputs before it, in so
    many Gauss-Newton steps, once the network is small (``pruning/reconstruction.py``).

    With ``max_divergence``, the removals of one check move the policy by at most so much, compensation included
    (``pruning/trust_region.py``); the pruner then needs a ``divergence``. Raises InputError for values out of range.
    """

    threshold: Threshold = field(default_factory=lambda: Sparsity(0.93))
    importance: Importance = irreplaceability
    penalty: Penalty = PROXIMAL
    strength: float = 0.0
    phases: Phases = field(default_factory=Phases)
    checks: int = 200
    patience: int = 3
    share_per_check: float = 0.1
    min_units: int = 1
    min_share: float = 0.5
    states: int = 1024
    memory: float = 0.9
    common_scale: bool = True
    compensate: bool = True
    max_divergence: float | None = None
    reconstruction: int = 0

    def __post_init__(self) -> None:
        for name in ("checks", "patience", "states", "min_units"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0.0 <= self.strength < float("inf"):
            raise InputError(f"strength must be finite and not negative, got {self.strength:g}")
        if not 0.0 <= self.min_share <= 1.0:
            raise InputError(f"min_share must lie in [0, 1], got {self.min_share:g}")
        if not 0.0 < self.share_per_check <= 1.0:
            raise InputError(f"share_per_check must lie in (0, 1], got {self.share_per_check:g}")
        if not 0.0 <= self.memory < 1.0:
            raise InputError(f"memory must lie in [0, 1), got {self.memory:g}")
        if not isinstance(self.reconstruction, int) or self.reconstruction < 0:
            raise InputError(f"reconstruction must be a whole number, at least 0, got {self.reconstruction}")
        if self.max_divergence is not None and not self.max_divergence > 0.0:
            raise InputError(f"max_divergence must be above 0, got {self.max_divergence:g}")

    def min_living(self, width: int) -> int:
        """Return the minimum number of units that a group of ``width`` keeps."""
        if not isinstance(self.threshold, Sparsity):
            return self.min_units
        share = self.min_share * (1.0 - self.threshold.goal)
        return max(self.min_units, int(share * width + 1e-9))

    def check_widths(self, widths: Sequence[int]) -> None:
        """Raise EmptyGroupError if groups of ``widths`` units would be left with fewer than ``min_units``."""
        if any(width < self.min_units for width in widths):
            raise EmptyGroupError(f"min_units is {self.min_units}, but the groups have {list(widths)} units")
        if isinstance(self.threshold, Sparsity):
            left = sum(widths) - self.threshold.removals(sum(widths))
            if left < self.min_units * len(widths):
                raise EmptyGroupError(
                    f"`sparsity` {self.threshold.goal:g} leaves {left} of {sum(widths)} units, but every group "
                    f"keeps at least {self.min_units}; lower it"
                )
