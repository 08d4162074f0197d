"""The distributions of an environment's parameters, drawn per episode, and the TOML file that defines them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, final

import numpy as np

from prunekit.errors import InputError
from prunekit.files import read_toml

_KEYS = ("range", "distribution", "relative")
_MAX_PARAMETERS = 200
# A normal distribution is cut off where its range ends, so many standard deviations from the middle.
_CUT = 2.0


def _uniform(share: float, low: float, high: float) -> float:
    return low + share * (high - low)


def _log_uniform(share: float, low: float, high: float) -> float:
    return math.exp(_uniform(share, math.log(low), math.log(high)))


def _normal(share: float, low: float, high: float) -> float:
    if low == high:
        return low
    normal = NormalDist((low + high) / 2.0, (high - low) / (2.0 * _CUT))
    return normal.inv_cdf(_uniform(share, normal.cdf(low), normal.cdf(high)))


DISTRIBUTIONS: Mapping[str, Callable[[float, float, float], float]] = {
    "uniform": _uniform,
    "log-uniform": _log_uniform,
    "normal": _normal,
}
"""Inverse distribution functions on a range: (share in [0, 1), low, high) to a value in it."""


@final
@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of an environment: its path, and its distribution.

    ``path`` is dotted, such as ``length``, ``model.opt.gravity[2]``, ``model.body_mass[torso]`` or ``kwargs.gravity``.
    With ``relative``, the drawn number is a factor of the environment's own value. ``normal`` has its mean in the
    middle of the range, and the ends of the range two standard deviations away. Values are integers if the
    environment's own value and both ends are. Raises InputError, naming the parameter, for an invalid range or
    distribution.
    """

    path: str
    low: float
    high: float
    distribution: str = "uniform"
    relative: bool = False

    def __post_init__(self) -> None:
        if self.distribution not in DISTRIBUTIONS:
            raise InputError(
                f"{self.path}: distribution '{str(self.distribution)[:60]}' is not one of {', '.join(DISTRIBUTIONS)}"
            )
        finite = math.isfinite(self.low) and math.isfinite(self.high) and math.isfinite(self.high - self.low)
        if not finite or self.low > self.high:
            raise InputError(
                f"{self.path}: range must be two finite numbers, the smaller one first, not {self.low:g} and "
                f"{self.high:g}"
            )
        if self.distribution == "log-uniform" and self.low <= 0.0:
            raise InputError(f"{self.path}: a log-uniform range must be above 0, but begins at {self.low:g}")

    def value(self, share: float, of: float = math.nan) -> float:
        """Return the quantile ``share`` in [0, 1) of the distribution; ``of`` is the environment's own value."""
        draw = DISTRIBUTIONS[self.distribution]
        if all(isinstance(value, int | np.integer) for value in (self.low, self.high, of)) and not self.relative:
            return min(max(round(draw(share, self.low - 0.5, self.high + 0.5)), self.low), self.high)
        return min(max(draw(share, self.low, self.high), self.low), self.high)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "path": self.path,
            "range": [self.low, self.high],
            "distribution": self.distribution,
            "relative": self.relative,
        }


@final
@dataclass(frozen=True, kw_only=True)
class Randomization:
    """The parameters that are drawn for every episode; raises InputError if there are none, or if one is named
    twice.
    """

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        names = [parameter.path for parameter in self.parameters]
        if not names:
            raise InputError("it names no parameter to randomize")
        for index, name in enumerate(names):
            if name in names[:index]:
                raise InputError(f"{name} is named twice")

    @property
    def words(self) -> str:
        """The randomized parameters, in the words of a claim."""
        return f"{', '.join(parameter.path for parameter in self.parameters)} randomized"

    def draw(self, generator: np.random.Generator) -> dict[str, float]:
        """Return a share in [0, 1) per path of a parameter, for ``Parameter.value``."""
        shares = generator.random(len(self.parameters))
        return {parameter.path: float(share) for parameter, share in zip(self.parameters, shares, strict=True)}

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain data."""
        return [parameter.to_json() for parameter in self.parameters]


def read_randomization(path: Path) -> Randomization:
    """Return the randomization in the TOML file ``path``: one table per parameter, named by its dotted path.

    Raises InputError, naming the file and the parameter, for anything else.
    """
    found = read_toml(path)
    try:
        tables = list(_tables(found, ""))
        if len(tables) > _MAX_PARAMETERS:
            raise InputError(f"has {len(tables)} parameters, more than {_MAX_PARAMETERS}")
        return Randomization(parameters=tuple(_parameter(name, table) for name, table in tables))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _tables(found: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every table with a range, and its dotted name, in the order of the file."""
    for key, value in found.items():
        name = f"{prefix}{key}"
        if not isinstance(value, dict):
            raise InputError(f'{name} must be a table with a range, as in ["{name}"] and range = [0.8, 1.2]')
        if value and all(isinstance(entry, dict) for entry in value.values()):
            yield from _tables(value, f"{name}.")
        else:
            yield name, value


def _parameter(name: str, table: Mapping[str, Any]) -> Parameter:
    for key in table:
        if key not in _KEYS:
            raise InputError(f"{name}: {key} is not known; the keys are {', '.join(_KEYS)}")
    ends = table.get("range")
    if not isinstance(ends, list) or len(ends) != 2 or not all(type(end) in (int, float) for end in ends):
        raise InputError(f"{name}: range must be two numbers, as in range = [0.8, 1.2]")
    relative = table.get("relative", False)
    if not isinstance(relative, bool):
        raise InputError(f"{name}: relative must be true or false")
    try:
        list(map(float, ends))
    except OverflowError:
        raise InputError(f"{name}: range has a number that is too large") from None
    distribution = str(table.get("distribution", "uniform"))
    return Parameter(path=name, low=ends[0], high=ends[1], distribution=distribution, relative=relative)
