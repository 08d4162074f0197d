"""Presets: the training settings of each environment and algorithm, read from ``presets.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, final

from prunekit.errors import InputError

Schedule = Callable[[float], float]


@final
@dataclass(frozen=True, kw_only=True)
class Preset:
    """The settings of a preset. ``model`` and ``policy`` are keyword arguments of SB3."""

    steps: int
    n_envs: int
    normalize: bool
    activation: str
    hidden: tuple[int, ...]
    learning_rate_schedule: str
    model: dict[str, Any]
    policy: dict[str, Any]


def preset_for(env_id: str, algorithm: str) -> Preset:
    """Return the preset of ``env_id`` (or the algorithm's defaults)."""
    table = tomllib.loads(resources.files(__package__).joinpath("presets.toml").read_text())
    merged = overlaid(table["default"][algorithm], table.get(env_id, {}).get(algorithm, {}))
    merged["hidden"] = tuple(merged["hidden"])
    return Preset(**merged)


def algorithms_of(env_id: str) -> tuple[str, ...]:
    """Return the algorithms that have a preset for ``env_id``, the preferred one first."""
    table = tomllib.loads(resources.files(__package__).joinpath("presets.toml").read_text())
    return tuple(table.get(env_id, {}))


def rate_schedule(name: str, rate: float, frozen_from: float) -> Schedule:
    """Return SB3's schedule: a function from the remaining share of training (1 to 0) to the learning rate.

    ``frozen_from`` is the share of training after which masks no longer change (or would not, in an unpruned run). A
    last rollout may run past the end of training, where SB3's remaining share is negative; the rate then stays at its
    final value.
    """
    schedule = SCHEDULES[name](rate, frozen_from)
    return lambda remaining: schedule(max(remaining, 0.0))


def check_schedule(name: str) -> None:
    """Raise InputError unless ``name`` is a schedule."""
    if name not in SCHEDULES:
        raise InputError(f"`lr_schedule` {name} is unknown; choose one of {', '.join(SCHEDULES)}")


def _constant(rate: float, _: float) -> Schedule:
    return lambda _remaining: rate


def _linear(rate: float, _: float) -> Schedule:
    return lambda remaining: rate * remaining


def _hold(rate: float, frozen_from: float) -> Schedule:
    return lambda remaining: rate * min(1.0, remaining / max(1.0 - frozen_from, 1e-9))


SCHEDULES: dict[str, Callable[[float, float], Schedule]] = {"constant": _constant, "linear": _linear, "hold": _hold}


def overlaid(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the entries of ``top`` in place of its own, table by table."""
    result = dict(base)
    for key, value in top.items():
        result[key] = overlaid(result.get(key, {}), value) if isinstance(value, Mapping) else value
    return result
