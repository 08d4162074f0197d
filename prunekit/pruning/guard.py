"""The return guard: pruning waits while the policy has not recovered from what was removed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, final

from prunekit.errors import CheckError


@final
@dataclass
class ReturnGuard:
    """Says whether pruning and penalty should pause.

    Paused while ``recent - floor < share * (best - floor)``, where ``recent`` is the moving average of the
    returns reported, ``best`` its largest value so far and ``floor`` the random policy's return. A policy that was
    never better than the random one has nothing to lose yet and pauses nothing.
    """

    floor: float
    share: float = 0.9
    momentum: float = 0.7
    recent: float | None = field(default=None, init=False)
    best: float | None = field(default=None, init=False)

    def record(self, mean_return: float) -> None:
        """Take the mean return of the latest episodes into the moving average; CheckError where it is not finite."""
        if not math.isfinite(mean_return):
            raise CheckError(f"the return is {mean_return}; the return guard takes finite returns only")
        if self.recent is None:
            self.recent = mean_return
        else:
            self.recent = self.momentum * self.recent + (1.0 - self.momentum) * mean_return
        self.best = self.recent if self.best is None else max(self.best, self.recent)

    @property
    def paused(self) -> bool:
        """Whether the recent return is too far below the best one."""
        if self.recent is None or self.best is None or self.best <= self.floor:
            return False
        return self.recent - self.floor < self.share * (self.best - self.floor)

    def state_dict(self) -> dict[str, Any]:
        """Return the guard's moving values."""
        return {"recent": self.recent, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over values written by ``state_dict``."""
        self.recent, self.best = state["recent"], state["best"]
