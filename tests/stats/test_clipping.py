"""The range that returns are clipped to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunekit import InputError
from prunekit.stats.clipping import ReturnRange, parse_range, range_of

RETURNS = st.lists(st.floats(-1e9, 1e9, allow_nan=False), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("teacher", "random", "shown"),
    [
        ([500.0, 500.0], [9.0, 60.0], "[-41, 550]"),
        ([3271.2], [5.0, 80.0], "[-330, 3600]"),
        ([-0.00123], [-0.0456], "[-0.0501, 0.0033]"),
        ([5.0], [5.0], "[4.5, 5.5]"),
        ([0.0], [0.0], "[-0.1, 0.1]"),
        ([2e7], [2e7], "[18000000, 22000000]"),
    ],
)
def test_the_range_holds_what_was_seen_and_a_tenth_on_both_sides(
    teacher: list[float], random: list[float], shown: str
) -> None:
    assert str(range_of(teacher, random)) == shown


@given(RETURNS, RETURNS)
def test_nothing_that_was_seen_is_clipped_and_the_margin_is_not_large(
    teacher: list[float], random: list[float]
) -> None:
    found, seen = range_of(teacher, random), np.array([*teacher, *random])
    assert (found.clip(seen) == seen).all()
    width, size = float(seen.max() - seen.min()), float(np.abs(seen).max())
    assert width < found.width <= max(1.3 * width, 0.3 * max(1.0, size) if width <= 1e-6 * size else 0.3)


def test_returns_beyond_it_count_as_its_ends() -> None:
    assert ReturnRange(low=-1.0, high=2.0).clip(np.array([-1e300, 0.5, 7.0])).tolist() == [-1.0, 0.5, 2.0]


def test_a_range_is_read_as_it_is_written() -> None:
    assert parse_range("-100,300.5") == ReturnRange(low=-100.0, high=300.5)
    assert parse_range(" 1e3 , 2e3 ").to_json() == [1000.0, 2000.0]


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,b", "1;2", "1,"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"is not a range; write it as in `clip_range`=-100,300"):
        parse_range(text)


@pytest.mark.parametrize("text", ["2,1", "1,1", "nan,1", "0,inf", "-inf,inf", "-1.7e308,1.7e308"])
def test_a_range_without_two_finite_ends_in_order_is_refused(text: str) -> None:
    with pytest.raises(
        InputError, match=r"`clip_range` (must be two finite numbers, the smaller one|.* is too wide for)"
    ):
        parse_range(text)
