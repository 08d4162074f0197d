"""Environments that do not behave: they fail, do not end, or write every observation into one buffer."""

from __future__ import annotations

import multiprocessing
import os
import time
from typing import Any

import gymnasium as gym
import numpy as np
import points

FAILING, ENDLESS, REUSING, DEADLY = "Failing-v0", "Endless-v0", "Reusing-v0", "Deadly-v0"
SLOW = "Slow-v0"


class TwoWords(Exception):
    """An error that can be pickled, but not unpickled."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what} {number}")


class Failing(points.Point):
    """A ``points.Point`` that fails once in the episodes with seeds from ``first`` to ``last``."""

    def __init__(self, first: int = 0, last: int = 2**62, **words: Any) -> None:
        super().__init__(**words)
        self._failing, self._bad = (first, last), False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._bad = seed is not None and self._failing[0] <= seed <= self._failing[1]
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self._bad and self._steps == 4:
            raise TwoWords("joint", 3)
        return super().step(action)


class Endless(points.Point):
    """A ``points.Point`` that says of no step that it is the last."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        seen, reward, *_ = super().step(action)
        return seen, reward, False, False, {}


class Deadly(points.Point):
    """A ``points.Point`` that ends the process that plays in it, unless it is the main one."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if multiprocessing.parent_process() is not None:
            os._exit(7)
        return super().step(action)


class Reusing(points.Point):
    """A ``points.Point`` that writes every observation into the same buffer."""

    def __init__(self) -> None:
        super().__init__()
        self._buffer = np.zeros(2, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._buffer[:] = super().reset(seed=seed, options=options)[0]
        return self._buffer, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._buffer[:], *others = super().step(action)
        reward, terminated, truncated, facts = others
        return self._buffer, reward, terminated, truncated, facts


class Slow(points.Point):
    """A ``points.Point`` whose steps take a millisecond."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        time.sleep(0.001)
        return super().step(action)


gym.register(SLOW, Slow)
gym.register(FAILING, Failing)
gym.register(ENDLESS, Endless)
gym.register(REUSING, Reusing)
gym.register(DEADLY, Deadly)
