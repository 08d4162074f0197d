"""A driver of parking-v0 that plans: value iteration over positions and headings, seen from the space to park in.

The space is the origin and its heading is upwards, so that one plan serves all spaces; left and right are mirrored. The
driver goes forwards at one speed, which is as good as any: a car has parked as soon as it is in the space.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

SPEED, STEP, LENGTH = 8.0, 0.2, 5.0
_SCALE = np.array([100.0, 100.0, 5.0, 5.0, 1.0, 1.0])
_WEIGHTS, _PARKED, _CRASH = (0.01, 0.003, 0.02, 0.02), -0.12, -60.0
# Metres from the space: beside it, and along its heading, where walls are 35 m below and 7 m above it.
_BESIDE, _BELOW, _ABOVE, _MARGIN = 62, -35, 7, 3.2
_HEADINGS, _SWEEPS = 72, 80
_STEERINGS = np.deg2rad(np.linspace(-45.0, 45.0, 9))
_FINE = np.deg2rad(np.linspace(-45.0, 45.0, 31))


class Plan(NamedTuple):
    """What is still earned, [beside, along, heading]: beside from 0 m, along from the wall below, by the metre."""

    value: Array


def planned() -> Plan:
    """Return the plan."""
    beside, along = np.arange(_BESIDE + 1.0), np.arange(float(_BELOW), _ABOVE + 1.0)
    heading = np.arange(_HEADINGS) * 2 * np.pi / _HEADINGS
    x, y, angle = np.meshgrid(beside, along, heading, indexing="ij")
    plan = Plan(value=np.full(x.shape, _CRASH))
    after = [_moved(x, y, angle, steering) for steering in _STEERINGS]
    for _ in range(_SWEEPS):
        plan = Plan(value=np.max([_worth(plan, *place) for place in after], axis=0))
    return plan


def driven(plan: Plan, observations: Array) -> Array:
    """Return acceleration and steering, float32 [n, 2], for flat observations of parking-v0, [n, 18]."""
    goal, own = (observations[:, part : part + 6] * _SCALE for part in (6, 12))
    up = np.arctan2(goal[:, 5], goal[:, 4]) - np.pi / 2
    turned = np.cos(up), np.sin(up)
    dx, dy = own[:, 0] - goal[:, 0], own[:, 1] - goal[:, 1]
    beside, along = turned[0] * dx + turned[1] * dy, -turned[1] * dx + turned[0] * dy
    heading = np.arctan2(own[:, 5], own[:, 4]) - up
    speed = own[:, 2] * own[:, 4] + own[:, 3] * own[:, 5]
    worth = np.array([_worth(plan, *_moved(beside, along, heading, steering)) for steering in _FINE])
    steering = _FINE[worth.argmax(axis=0)]
    return np.stack([np.clip(SPEED - speed, -1.0, 1.0), steering / np.deg2rad(45.0)], axis=1).astype(np.float32)


def _moved(beside: Array, along: Array, heading: Array, steering: float) -> tuple[Array, Array, Array]:
    """Return where a car is a step later, by highway-env's model of a bicycle in three parts of a step."""
    slip = np.arctan(np.tan(steering) / 2)
    for _ in range(3):
        beside = beside + SPEED * np.cos(heading + slip) * STEP / 3
        along = along + SPEED * np.sin(heading + slip) * STEP / 3
        heading = heading + SPEED * np.sin(slip) / (LENGTH / 2) * STEP / 3
    return beside, along, heading


def _worth(plan: Plan, beside: Array, along: Array, heading: Array) -> Array:
    """Return the reward of being at a place, and what is still earned from there on."""
    apart = (np.abs(beside), np.abs(along), np.abs(np.cos(heading)), np.abs(np.sin(heading) - 1))
    reward = -np.sqrt(sum(weight * one for weight, one in zip(_WEIGHTS, apart, strict=True)))
    crashed = (along < _BELOW + _MARGIN) | (along > _ABOVE - _MARGIN)
    rest = np.where(crashed, _CRASH, _interpolated(plan.value, beside, along, heading))
    return np.asarray(reward + np.where(reward > _PARKED, 0.0, rest))


def _interpolated(value: Array, beside: Array, along: Array, heading: Array) -> Array:
    """Return the values between places of the plan, mirrored on the left."""
    heading = np.where(beside < 0, np.pi - heading, heading)
    places = (
        np.clip(np.abs(beside), 0, _BESIDE - 1e-6),
        np.clip(along - _BELOW, 0, _ABOVE - _BELOW - 1e-6),
        np.mod(heading, 2 * np.pi) * _HEADINGS / (2 * np.pi),
    )
    low = [np.floor(place).astype(np.int32) for place in places]
    over = [place - one for place, one in zip(places, low, strict=True)]
    total = np.zeros(np.shape(beside))
    for corner in np.ndindex(2, 2, 2):
        share = np.prod([part if far else 1 - part for part, far in zip(over, corner, strict=True)], axis=0)
        total += share * value[low[0] + corner[0], low[1] + corner[1], (low[2] + corner[2]) % _HEADINGS]
    return total
