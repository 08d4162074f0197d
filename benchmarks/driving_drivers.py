"""Drivers at work: what teachers of racetrack-v0 and of parking-v0 learn from, round by round."""

from __future__ import annotations

from typing import Any

import numpy as np
from driving_environments import flat_parking, flat_racetrack
from driving_expert import steering
from driving_imitation import Array, Course, imitated
from driving_planner import driven, planned

_RACES, _RACE_STEPS = 16, 300
_PARKING_STEPS, _WANDERING = 200, 0.1
# Positions are told in hundreds of metres, and a metre decides whether a car has parked.
_POSITIONS = np.tile(np.array([10, 10, 1, 1, 1, 1], np.float32), 3)


def racing_teacher(seed: int) -> tuple[Any, dict[str, float]]:
    """Return a policy of 256x256 for racetrack-v0, taught in highway-env's by the driver who leaves a lane in time."""
    environments = [flat_racetrack() for _ in range(_RACES)]
    begun, generator = 1_000_000 * seed, np.random.default_rng(seed)

    def drives(acts: Any) -> tuple[Array, Array]:
        nonlocal begun
        shown = [environment.reset(seed=begun + index)[0] for index, environment in enumerate(environments)]
        next_, begun = begun + _RACES, begun + _RACES * 100
        seen, wanted = [], []
        for _ in range(_RACE_STEPS):
            seen.append(np.array(shown, np.float32))
            wanted.append(np.array([steering(environment) for environment in environments]))
            taken = _wandering(wanted[-1] if acts is None else acts(seen[-1]), generator)
            for index, environment in enumerate(environments):
                shown[index], _, terminated, truncated, _ = environment.step(taken[index])
                if terminated or truncated:
                    shown[index], next_ = environment.reset(seed=next_)[0], next_ + 1
        return np.concatenate(seen), np.concatenate(wanted)

    found = imitated(environments[0], drives, Course(hidden=256, rounds=20, epochs=2, last_epochs=20), seed)
    for environment in environments:
        environment.close()
    return found


def parking_teacher(seed: int, cars: Any) -> tuple[Any, dict[str, float]]:
    """Return a policy of 128x128 for parking-v0, taught in ``cars``, EnvPool's, by the driver who plans."""
    plan, generator = planned(), np.random.default_rng(seed)
    shown = cars.reset()

    def drives(acts: Any) -> tuple[Array, Array]:
        nonlocal shown
        seen, wanted = [], []
        for _ in range(_PARKING_STEPS):
            seen.append(shown.astype(np.float32))
            wanted.append(driven(plan, shown.astype(np.float64)))
            shown = cars.step(_wandering(wanted[-1] if acts is None else acts(seen[-1]), generator))[0]
        return np.concatenate(seen), np.concatenate(wanted)

    course = Course(hidden=128, rounds=24, epochs=2, last_epochs=15, scale=_POSITIONS)
    return imitated(flat_parking(), drives, course, seed)


def _wandering(actions: Array, generator: np.random.Generator) -> Array:
    """Return ``actions`` with one in ten drawn at random, so that there is something to put right."""
    wanders = generator.random((len(actions), 1)) < _WANDERING
    return np.where(wanders, generator.uniform(-1.0, 1.0, actions.shape), actions).astype(np.float32)
