"""What a compression may take: time by the clock, or steps of the environment, which are the same on any machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from prunekit.compression.settings import CompressSettings


@final
@dataclass(frozen=True, kw_only=True)
class Budget:
    """``total`` in seconds or steps, of which ``spent`` says how much is gone; ``by_steps`` says which of them."""

    total: float
    spent: Callable[[], float]
    by_steps: bool

    @property
    def left(self) -> float:
        """What is left; negative when more was spent."""
        return self.total - self.spent()

    def after(self, share: float) -> Callable[[], bool]:
        """Return what says whether this share of what is left now is gone."""
        end = self.spent() + share * max(self.left, 0.0)
        return lambda: self.spent() > end


def budget_of(settings: CompressSettings, steps: Callable[[], int]) -> Budget:
    """Return the budget that ``settings`` ask for, from now on; ``steps`` says how many were taken."""
    if settings.steps is not None:
        return Budget(total=float(settings.steps), spent=lambda: float(steps()), by_steps=True)
    began = time.monotonic()
    return Budget(total=settings.seconds, spent=lambda: time.monotonic() - began, by_steps=False)
