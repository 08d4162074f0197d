"""Statistics of what cannot be one: an error that says so, and no bound that looks like one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from prunekit.errors import InputError
from prunekit.stats import (
    Paired,
    ReturnRange,
    cvar,
    cvar_lower_bound,
    faultless_episodes,
    interquartile_mean,
    mean_interval,
    mean_lower_bound,
    mean_upper_bound,
    range_of,
    retention_lower_bound,
    retention_upper_bound,
    share_lower_bound,
    share_upper_bound,
)
from prunekit.stats.clipping import range_given

UNIT = ReturnRange(low=0.0, high=1.0)
HALVES = np.full(30, 0.5)


def paired(small: Any) -> Paired:
    return Paired(small=small, teacher=HALVES, random=np.zeros(30))


BOUNDS: dict[str, Callable[..., object]] = {
    "mean, lower": partial(mean_lower_bound, HALVES, UNIT),
    "mean, upper": partial(mean_upper_bound, HALVES, UNIT),
    "worst": partial(cvar_lower_bound, HALVES, UNIT),
    "share, lower": partial(share_lower_bound, [True, False]),
    "share, upper": partial(share_upper_bound, [True, False]),
    "retention, lower": partial(retention_lower_bound, paired(HALVES), UNIT, paired(HALVES)),
    "retention, upper": partial(retention_upper_bound, paired(HALVES), UNIT, paired(HALVES)),
    "faultless": partial(faultless_episodes, 0.1),
}


@pytest.mark.parametrize("alpha", [5.0, 1.0, 0.0, -0.05, float("nan")])
@pytest.mark.parametrize("bound", BOUNDS)
def test_a_level_lies_between_0_and_1(bound: str, alpha: float) -> None:
    with pytest.raises(InputError, match="`alpha`, how often a bound may be wrong, must lie between 0 and 1"):
        BOUNDS[bound](alpha=alpha)


def test_returns_that_are_no_numbers_have_no_bound() -> None:
    broken = np.array([*HALVES[:-1], np.nan])
    for bound in (mean_lower_bound, mean_upper_bound, cvar_lower_bound):
        with pytest.raises(InputError, match="not a number"):
            bound(broken, UNIT)
    with pytest.raises(InputError, match="not a number"):
        cvar(broken, 0.5)
    with pytest.raises(InputError, match="not a number"):
        retention_lower_bound(paired(broken), UNIT, paired(HALVES))


def test_returns_of_the_same_episodes_are_as_many() -> None:
    with pytest.raises(InputError, match="3 of the small one, 30 of the teacher and 30 of the random one"):
        paired(HALVES[:3])


@pytest.mark.parametrize("seen", [[], [np.nan], [np.inf, 1.0]])
def test_a_range_is_that_of_finite_returns(seen: list[float]) -> None:
    with pytest.raises(InputError, match="at least one finite return"):
        range_of(seen, [])


@pytest.mark.parametrize("ends", [(1.0,), (0.0, 1.0, 2.0), 5.0, "0,1", (0.0, None), [[0.0], [1.0, 2.0]]])
def test_a_range_is_two_numbers(ends: Any) -> None:
    with pytest.raises(InputError, match="`clip_range` must be two numbers"):
        range_given(ends)


def test_no_values_have_no_mean() -> None:
    with pytest.raises(InputError, match="no values"):
        interquartile_mean(np.zeros(0))
    with pytest.raises(InputError, match="no values"):
        mean_interval(np.zeros(0), np.random.default_rng(0))


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_a_share_lies_between_0_and_1(share: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        faultless_episodes(share, 0.05)
