"""racetrack-v0 of highway-env with its grid filled by array operations: the same values, several times faster."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from highway_env.envs.common.observation import OccupancyGridObservation
from highway_env.envs.racetrack_env import RacetrackEnv
from highway_env.road.lane import CircularLane, StraightLane

Array = np.ndarray[Any, Any]


def require_equal(seed: int, steps: int = 300) -> int:
    """Play in both environments, and return how many steps were compared; raises SystemExit where one differs."""
    from driving_environments import flat_racetrack, slow_racetrack
    from driving_expert import steering

    quick, slow = flat_racetrack(), slow_racetrack()
    generator = np.random.default_rng(seed)
    done = ends = 0
    while done < steps:
        first, second = (environment.reset(seed=seed + ends)[0] for environment in (quick, slow))
        while done < steps:
            _require_same(first, second, done)
            action = steering(quick) if ends % 2 else generator.uniform(-1, 1, 1).astype(np.float32)
            (one, *told, _), (two, *other, _) = (environment.step(action) for environment in (quick, slow))
            first, second, done = one, two, done + 1
            _require_same(np.array(told), np.array(other), done)
            if told[1] or told[2]:
                break
        ends += 1
    quick.close()
    slow.close()
    return done


def _require_same(one: Array, other: Array, step: int) -> None:
    if one.dtype != other.dtype or not np.array_equal(one, other):
        raise SystemExit(f"racetrack-v0 with its grid filled faster differs from highway-env's at step {step}")


@final
class Racetrack(RacetrackEnv):  # type: ignore[misc]
    """racetrack-v0 of highway-env, with the usual settings."""

    def define_spaces(self) -> None:
        """Set the spaces, and the observation that is filled faster."""
        super().define_spaces()
        self.observation_type = _Grid(self, **self.config["observation"])


@final
class _Grid(OccupancyGridObservation):  # type: ignore[misc]
    """Which cells hold a vehicle, and which a lane: the two features of racetrack-v0, in the vehicle's own axes."""

    def observe(self) -> Array:
        """Return the two layers."""
        assert self.features == ["presence", "on_road"]
        grid = np.zeros(self.grid.shape, np.float32)
        road, own = self.env.road, self.observer_vehicle
        self._fill(grid[0], np.array([vehicle.position for vehicle in road.vehicles]) - own.position)
        lanes = (lane for ends in road.network.graph.values() for some in ends.values() for lane in some)
        self._fill(grid[1], np.concatenate([self._along(lane) for lane in lanes]) - own.position)
        return grid

    def _along(self, lane: StraightLane | CircularLane, reach: float = 100) -> Array:
        """Return points in the middle of a lane, [n, 2], as ``fill_road_layer_by_lanes`` takes them."""
        origin, _ = lane.local_coordinates(self.observer_vehicle.position)
        along = np.arange(origin - reach, origin + reach, np.amin(self.grid_step)).clip(0, lane.length)
        if isinstance(lane, StraightLane):
            return np.asarray(lane.start + along[:, None] * lane.direction)
        angle = lane.direction * along / lane.radius + lane.start_phase
        return np.asarray(lane.center + lane.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1))

    def _fill(self, layer: Array, apart: Array) -> None:
        """Set the cells of points given relative to the vehicle, [n, 2]."""
        heading = self.observer_vehicle.heading
        c, s = np.cos(heading), np.sin(heading)
        turned = np.stack([c * apart[:, 0] + s * apart[:, 1], -s * apart[:, 0] + c * apart[:, 1]], axis=1)
        cells = np.floor((turned - self.grid_size[:, 0]) / self.grid_step).astype(int)
        inside = ((cells >= 0) & (cells < layer.shape)).all(axis=1)
        layer[cells[inside, 0], cells[inside, 1]] = 1.0
