"""The phases of a training in optimizer steps, and the steps at which units are checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from prunekit.errors import InputError
from prunekit.pruning.schedules import Phases

# At 10% of a group's living units per check, enough to remove 99% of 256 units after the window if necessary.
_LATE_CHECKS = 64


@final
@dataclass(frozen=True, kw_only=True)
class Timetable:
    """The schedule of a training of ``total_steps`` optimizer steps, with ``checks`` checks in the pruning window.

    If the target is not reached by the end of the window, checks go on at least as often. Raises InputError if
    ``total_steps`` is below 1.
    """

    total_steps: int
    phases: Phases
    checks: int

    def __post_init__(self) -> None:
        if self.total_steps < 1:
            raise InputError(f"total_steps counts optimizer steps and must be at least 1, got {self.total_steps}")

    def progress(self, steps: int) -> float:
        """Return the share of training that is done after ``steps``, in [0, 1]."""
        return min(steps / self.total_steps, 1.0)

    def begun(self, steps: int) -> bool:
        """Return whether the pruning window has begun."""
        return steps >= self.phases.start * self.total_steps

    def late(self, steps: int) -> bool:
        """Return whether the pruning window is over."""
        return self.progress(steps) >= self.phases.end

    def due(self, steps: int) -> bool:
        """Return whether there is a check after ``steps``."""
        return self.begun(steps) and steps % (self._late_interval if self.late(steps) else self._interval) == 0

    def late_checks(self, steps: int) -> int:
        """Return how many checks are left from the one after ``steps`` on, itself included, once the window is over."""
        return max(0, self.total_steps - steps) // self._late_interval + 1

    @property
    def _interval(self) -> int:
        window = (self.phases.end - self.phases.start) * self.total_steps
        return max(1, int(window / self.checks + 1e-9))

    @property
    def _late_interval(self) -> int:
        tail = (1.0 - self.phases.end) * self.total_steps
        return max(1, min(self._interval, int(tail / _LATE_CHECKS)))
