"""The driving environments of highway-env with flat observations, as functions that ``--env MODULE:FUNCTION`` names."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import highway_env  # noqa: F401  (registers them)
from gymnasium.wrappers import FlattenObservation


def highway_fast() -> gym.Env[Any, Any]:
    """Return highway-fast-v0: 25 values of the five nearest vehicles, five manoeuvres, up to 30 steps."""
    return FlattenObservation(gym.make("highway-fast-v0"))


def flat_merge() -> gym.Env[Any, Any]:
    """Return merge-v0: 25 values of the five nearest vehicles, five manoeuvres, until the road's end."""
    return FlattenObservation(gym.make("merge-v0"))


def flat_parking() -> gym.Env[Any, Any]:
    """Return parking-v0: 18 values, steering and acceleration, up to 500 steps."""
    return FlattenObservation(gym.make("parking-v0"))


def slow_racetrack() -> gym.Env[Any, Any]:
    """Return racetrack-v0 as highway-env makes it."""
    return FlattenObservation(gym.make("racetrack-v0"))


def flat_racetrack() -> gym.Env[Any, Any]:
    """Return racetrack-v0: a grid of 288 values, steering, up to 1,501 steps; its grid is filled seven times faster.

    The values are the same, which ``driving.py`` compares before it trains (``driving_racetrack``).
    """
    from driving_racetrack import Racetrack

    return FlattenObservation(Racetrack())
