"""The trust region of removals: how far the removals of one check may move the policy.

A training step of PPO or TRPO moves the policy by a small divergence only. A removal is a step too, and a large one
costs more than training can repair. So units that are due die only if the policy stays within ``limit``, which is
measured on a copy of the network, compensation included; the others wait.

Sources: the trust region of TRPO (Schulman et al. 2015), a bound on the mean KL divergence between the policies before
and after a step; ``target_kl`` of Spinning Up and Stable-Baselines3 ends the updates of a rollout by the same measure.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from prunekit.errors import CheckError, InputError
from prunekit.pruning.due import Due, Unit
from prunekit.pruning.importance_tracker import evaluating
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Sparsity

Divergence = Callable[[Tensor, Tensor], Tensor]
"""Maps the outputs before and after, [n, k] each, to how far they are apart, one number [n] per input."""

Trial = Callable[[Sequence[Unit]], float]
"""Returns how far the policy would move if these units died together."""

MAX_TRIES = 16
"""How many single units are tried at a check, beyond those that a search by halves tries."""


@final
@dataclass(kw_only=True)
class TrustRegion:
    """Decides which of the units that are due may die, so that the policy moves by at most ``limit``.

    ``outputs_of`` picks the outputs that ``divergence`` compares from a network's result. ``largest`` is the largest
    divergence of a check since it was last set to 0, and ``waiting`` the number of units that were due at the latest
    check and are still alive.
    """

    limit: float
    divergence: Divergence
    outputs_of: Callable[[object], Tensor]
    largest: float = field(default=0.0, init=False)
    waiting: int = field(default=0, init=False)

    def choose(self, due: Due, pace: int, trial: Trial) -> tuple[list[Unit], float]:
        """Return the units that die at a check, of which there must be ``pace``, and how far they move the policy.

        Where fewer fit into the limit, those die that move the policy least.
        """
        units: list[Unit] = []
        moved = 0.0
        if due.weakest:
            units, moved = fitting(due, self.limit, trial)
            if len(units) < pace and self.limit < math.inf:
                units, moved = smallest(due, pace, trial)
        self.waiting = max(0, len(due.units) - len(units))
        return units, moved

    def outputs(self, network: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
        """Return the outputs of ``network`` on ``inputs``, [n, ...] each, in evaluation mode."""
        with torch.no_grad(), evaluating(network):
            return self.outputs_of(network(*inputs))

    def distance(self, before: Tensor, after: Tensor, step: int) -> float:
        """Return the mean divergence; the largest float where outputs or divergence are infinite.

        Raises InputError if the divergence is not one number per input, and CheckError, naming the optimizer step, if
        one is not a number.
        """
        if not bool(after.isfinite().all()):
            return sys.float_info.max
        found = self.divergence(before, after)
        if not isinstance(found, Tensor) or tuple(found.shape) != (len(before),):
            told = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(f"`divergence` returned {told} for {len(before)} inputs; it must return one number each")
        mean = float(found.double().mean())
        if math.isnan(mean):
            raise CheckError(f"the divergence of the policy is not a number at optimizer step {step}")
        return min(max(mean, 0.0), sys.float_info.max)

    def state_dict(self) -> dict[str, Any]:
        """Return the running values."""
        return {"largest": self.largest, "waiting": self.waiting}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load values from ``state_dict``."""
        self.largest, self.waiting = state["largest"], state["waiting"]


def fitting(due: Due, limit: float, trial: Trial, tries: int = MAX_TRIES) -> tuple[list[Unit], float]:
    """Return the units that may die within ``limit``, and how far they move the policy together.

    These are as many of the weakest as fit, found by halves. Where not all fit, up to ``tries`` of the units behind the
    first that does not are tried one by one, the weakest first, and join those that die if they fit too.
    """
    wanted = due.weakest
    moved = trial(wanted)
    if moved <= limit:
        return wanted, moved
    count, too_many, moved = 0, len(wanted), 0.0
    while too_many - count > 1:
        middle = (count + too_many) // 2
        found = trial(wanted[:middle])
        if found <= limit:
            count, moved = middle, found
        else:
            too_many = middle
    chosen, tried = wanted[:count], {*wanted[: count + 1]}
    for unit in [unit for unit in due.units if unit not in tried][:tries]:
        if due.allows([*chosen, unit]):
            found = trial([*chosen, unit])
            if found <= limit:
                chosen, moved = [*chosen, unit], found
    return chosen, moved


def smallest(due: Due, count: int, trial: Trial, tries: int = MAX_TRIES) -> tuple[list[Unit], float]:
    """Return ``count`` units that move the policy least, each measured alone, and how far they move it together.

    The ``tries`` least important units are measured, whether they are due or not, and no fewer than ``count``.
    """
    measured = {unit: trial([unit]) for unit in due.candidates[: max(tries, count)]}
    chosen = sorted(measured, key=lambda unit: measured[unit])[:count]
    return chosen, measured[chosen[0]] if count == 1 else trial(chosen)


def late_pace(plan: PruningPlan, keep: Mapping[str, Tensor], checks: int) -> int:
    """Return how many units must die at a check after the window, so that ``checks`` checks reach the sparsity.

    The units that are missing are spread evenly over the checks.
    """
    assert isinstance(plan.threshold, Sparsity)
    total = sum(mask.numel() for mask in keep.values())
    dead = sum(int((~mask).sum()) for mask in keep.values())
    return -(-(plan.threshold.removals(total) - dead) // checks)
