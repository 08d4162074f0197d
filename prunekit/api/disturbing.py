"""The disturbance of all policies, from the arguments of functions."""

from __future__ import annotations

import os
from numbers import Real
from pathlib import Path
from typing import Any

from prunekit.api.policy import PathLike
from prunekit.disturbances.randomization import Randomization, read_randomization
from prunekit.disturbances.record import Disturbance
from prunekit.errors import InputError


def disturbance_of(
    noise: float, action_noise: float, delay: int, drop: float, randomize: PathLike | Randomization | None
) -> Disturbance:
    """Return the disturbance of these sizes; ``randomize`` is a TOML file or its content.

    Raises InputError, naming the parameter, for invalid values.
    """
    given: dict[str, Any] = {
        "observation_noise": noise,
        "action_noise": action_noise,
        "delay_steps": delay,
        "drop": drop,
    }
    for parameter, (field, value) in zip(("noise", "action_noise", "delay", "drop"), given.items(), strict=True):
        if isinstance(value, bool) or not isinstance(value, Real):
            raise InputError(f"`{parameter}` is a number, not {type(value).__name__}")
        alone: dict[str, Any] = {field: value}
        try:
            Disturbance(**alone)
        except InputError as error:
            raise InputError(f"`{parameter}`: {error}") from error
    if isinstance(randomize, str | os.PathLike):
        randomize = read_randomization(Path(randomize))
    if not isinstance(randomize, Randomization | None):
        raise InputError(f"`randomize` is a TOML file, not {type(randomize).__name__}")
    return Disturbance(**given, randomization=randomize)
