"""The return guard: it pauses pruning until the policy has recovered from earlier removals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from prunekit.errors import CheckError, InputError


@final
@dataclass(kw_only=True)
class ReturnGuard:
    """Decides whether pruning and penalty should pause.

    ``paused`` is true while ``recent + error - floor < share * (best - floor)``. ``recent`` is the mean return of the
    latest ``window`` episodes, ``error`` its standard error, ``best`` the largest ``recent - error`` so far, and
    ``floor`` the random policy's return. A drop within chance therefore does not pause pruning, nor does a policy that
    was never better than the random one. Nothing is judged before ``window`` episodes have ended.
    """

    floor: float
    share: float = 0.9
    window: int = 20
    best: float | None = field(default=None, init=False)
    paused: bool = field(default=False, init=False)
    _latest: list[float] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.window < 1:
            raise InputError(f"the guard's window must hold at least 1 episode, got {self.window}")

    def record(self, returns: Sequence[float]) -> None:
        """Record the returns of the latest episodes, oldest first; raises CheckError if one is not finite."""
        for value in returns:
            if not math.isfinite(value):
                raise CheckError(f"the return is {value}; the return guard takes finite returns only")
        self._latest = [*self._latest, *(float(value) for value in returns)][-self.window :]
        if self.recent is not None:
            lower = self.recent - self.error
            self.best = lower if self.best is None else max(self.best, lower)
        self.paused = self._fell()

    @property
    def recent(self) -> float | None:
        """The mean return of the latest ``window`` episodes; None until there are that many."""
        return float(np.mean(self._latest)) if len(self._latest) == self.window else None

    @property
    def error(self) -> float:
        """The standard error of ``recent``."""
        count = len(self._latest)
        return float(np.std(self._latest, ddof=1)) / math.sqrt(count) if count > 1 else 0.0

    def _fell(self) -> bool:
        if self.recent is None or self.best is None or self.best <= self.floor:
            return False
        return self.recent + self.error - self.floor < self.share * (self.best - self.floor)

    def state_dict(self) -> dict[str, Any]:
        """Return the guard's running values."""
        return {"latest": list(self._latest), "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load values from ``state_dict``."""
        self._latest, self.best = list(state["latest"]), state["best"]
        self.paused = self._fell()
