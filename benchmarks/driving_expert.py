"""A driver of racetrack-v0 that knows the road: it keeps its lane, and leaves that of a vehicle ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
from highway_env.vehicle.controller import ControlledVehicle

Array = np.ndarray[Any, Any]

AHEAD, BEHIND = 18.0, 7.0
"""Metres in which another vehicle counts: no farther than the policy's grid shows it, and until it is passed."""


def steering(environment: Any) -> Array:
    """Return the action, float32 [1], of the driver in racetrack-v0 as it stands now.

    highway-env's own controller follows a lane, which is the nearest one, or where another vehicle is near the one that
    this vehicle is not in. Nothing is remembered, so that a policy that sees the two could do the same.
    """
    inside = environment.unwrapped
    own, road = inside.vehicle, inside.road
    begin, end, lane = road.network.get_closest_lane_index(own.position, own.heading)
    heading = np.array([np.cos(own.heading), np.sin(own.heading)])
    near = [
        other
        for other in road.vehicles
        if other is not own
        and -BEHIND < (other.position - own.position) @ heading < AHEAD
        and np.linalg.norm(other.position - own.position) < AHEAD
    ]
    if near:
        first = min(near, key=lambda other: float(np.linalg.norm(other.position - own.position)))
        lane = 1 - first.lane_index[2]
    driver = ControlledVehicle(road, own.position, own.heading, own.speed, (begin, end, lane))
    angle = driver.steering_control(driver.target_lane_index)
    low, high = inside.action_type.steering_range
    return np.clip(np.array([2.0 * (angle - low) / (high - low) - 1.0], np.float32), -1.0, 1.0)
