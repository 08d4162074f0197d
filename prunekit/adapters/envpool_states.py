"""Transfer of EnvPool's physical state into Gymnasium's environment, so both begin from the same state.

One function per family takes Gymnasium's unwrapped environment after a reset, and what EnvPool shows after a reset: the
observation [obs], its info, and the state of its driving environments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from prunekit.errors import InputError

# The number of values that observations of these MuJoCo classes have after positions and velocities.
_MORE = {"AntEnv": 78}


class Shown(NamedTuple):
    """What EnvPool shows of one environment after its reset."""

    observation: Any
    told: Mapping[str, Any]
    debug: Any


Put = Callable[[Any, Shown], None]


def put_for(environment: Any) -> Put:
    """Return the function that sets the state of the unwrapped ``environment``; raises InputError if there is none for
    it.
    """
    for kind in type(environment).__mro__:
        found = _BY_CLASS.get(kind.__name__)
        if found is not None:
            return found
    model: Any = getattr(environment, "model", None)
    if type(model).__name__ == "MjModel" and hasattr(environment, "set_state"):
        width = environment.observation_space.shape[0] - _MORE.get(type(environment).__name__, 0)
        hidden = model.nq + model.nv - width
        if 0 <= hidden <= 2:
            return lambda inside, shown: _put_mujoco(inside, shown, hidden)
    raise InputError("its physical state cannot be read from what it shows")


def _put_mujoco(inside: Any, shown: Shown, hidden: int) -> None:
    """Set positions and velocities; the first ``hidden`` positions are in EnvPool's info, or are 0."""
    count, rates = inside.model.nq, inside.model.nv
    positions = np.zeros(count)
    for index, name in enumerate(("x_position", "y_position")[:hidden]):
        positions[index] = float(shown.told.get(name, 0.0))
    positions[hidden:] = shown.observation[: count - hidden]
    inside.set_state(positions, np.array(shown.observation[count - hidden : count - hidden + rates], np.float64))


def _put_reacher(inside: Any, shown: Shown) -> None:
    seen = shown.observation
    inside.goal = np.array(seen[4:6])
    positions = np.concatenate([np.arctan2(seen[2:4], seen[:2]), seen[4:6]])
    inside.set_state(positions, np.concatenate([seen[6:8], np.zeros(2)]))


def _put_state(inside: Any, shown: Shown) -> None:
    inside.state = np.array(shown.observation, np.float64)


def _put_pendulum(inside: Any, shown: Shown) -> None:
    cosine, sine, rate = map(float, shown.observation)
    inside.state = np.array([np.arctan2(sine, cosine), rate])


def _put_acrobot(inside: Any, shown: Shown) -> None:
    seen = shown.observation
    inside.state = np.array([np.arctan2(seen[1], seen[0]), np.arctan2(seen[3], seen[2]), seen[4], seen[5]])


def _put_vehicles(inside: Any, shown: Shown) -> None:
    """Place all vehicles on the road; roads and lanes of highway-env are the same in every episode."""
    from highway_env.vehicle.behavior import IDMVehicle

    state, road = shown.debug, inside.road
    if state is None:
        raise InputError("its physical state is not shown")
    if len(state.vehicles) != len(road.vehicles):
        raise InputError(f"it begins with {len(state.vehicles)} vehicles, Gymnasium's with {len(road.vehicles)}")
    vehicles = []
    for index, told in enumerate(state.vehicles):
        lane = (told.lane_from, told.lane_to, told.lane_index)
        aim = (told.target_lane_from, told.target_lane_to, told.target_lane_index)
        legs = zip(told.route_from, told.route_to, told.route_id, strict=True)
        route = [(begin, end, None if number < 0 else number) for begin, end, number in legs] or None
        place = np.array([told.x, told.y])
        if index:
            vehicle = IDMVehicle(road, place, told.heading, told.speed, aim, told.target_speed, route)
            vehicle.enable_lane_change, vehicle.DELTA = told.enable_lane_change, told.idm_delta
        else:
            vehicle = inside.vehicle
            vehicle.position, vehicle.heading, vehicle.speed = place, told.heading, told.speed
            vehicle.target_lane_index, vehicle.target_speed, vehicle.route = aim, told.target_speed, route
            if hasattr(vehicle, "target_speeds"):
                vehicle.target_speeds = np.array([told.target_speed0, told.target_speed1, told.target_speed2])
                vehicle.speed_index = told.speed_index
        if told.has_goal and getattr(vehicle, "goal", None) is not None:
            vehicle.goal.position, vehicle.goal.heading = np.array([told.goal_x, told.goal_y]), told.goal_heading
        vehicle.lane_index, vehicle.lane = lane, road.network.get_lane(lane)
        vehicle.timer, vehicle.crashed, vehicle.check_collisions = told.timer, told.crashed, told.check_collisions
        vehicles.append(vehicle)
    road.vehicles = vehicles


_BY_CLASS: dict[str, Put] = {
    "CartPoleEnv": _put_state,
    "MountainCarEnv": _put_state,
    "Continuous_MountainCarEnv": _put_state,
    "PendulumEnv": _put_pendulum,
    "AcrobotEnv": _put_acrobot,
    "ReacherEnv": _put_reacher,
    "AbstractEnv": _put_vehicles,
}
