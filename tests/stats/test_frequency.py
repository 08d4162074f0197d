"""The upper bound of how often something happens: against hand-computed capitals, and its coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunekit.stats.frequency import Frequency, faultless_episodes, frequency


def test_before_the_first_episode_anything_is_possible() -> None:
    assert Frequency(0.05).upper == 1.0


@pytest.mark.parametrize(("count", "expected"), [(59, 0.051), (100, 0.0302), (300, 0.0102), (1000, 0.0031)])
def test_faultless_episodes_rule_out_about_three_in_so_many(count: int, expected: float) -> None:
    upper = frequency([False] * count, 0.05).upper
    assert upper == pytest.approx(expected, rel=0.02)
    # No bound can be below that of a fixed number of episodes.
    assert upper >= 1.0 - 0.05 ** (1.0 / count)


def test_the_capital_is_that_of_the_bets_it_is_split_over() -> None:
    """After 9 episodes without and one with it, against a share p, in the worst order."""
    seen = frequency([True] + [False] * 9, 0.05)
    shares = [0.0, *(number / 10 for number in range(1, 10))]
    capital = sum(
        (0.9 if share == 0.0 else 0.1 / 9) * share * ((1.0 - share * seen.upper) / (1.0 - seen.upper)) ** 9
        for share in shares
    )
    assert capital == pytest.approx(20.0, rel=1e-6)
    assert (seen.played, seen.happened) == (10, 1)


def test_what_was_ruled_out_stays_so_whatever_comes_later() -> None:
    counted = frequency([False] * 300, 0.05)
    before = counted.upper
    counted.play(True)
    assert counted.upper == before


@given(st.lists(st.booleans(), max_size=60), st.sampled_from([0.01, 0.05]))
def test_the_bound_never_rises_and_is_the_least_of_all_moments(events: list[bool], alpha: float) -> None:
    counted, bounds = Frequency(alpha), [1.0]
    for event in events:
        counted.play(event)
        bounds.append(counted.upper)
    assert bounds == sorted(bounds, reverse=True)
    assert all(0.0 < bound <= 1.0 for bound in bounds)
    assert frequency(events, alpha).upper == bounds[-1]


@pytest.mark.parametrize("share", [0.003, 0.01, 0.05, 0.3, 0.9])
def test_the_true_share_is_below_the_bound_at_every_moment_in_95_of_100_cases(share: float) -> None:
    """Looking after every episode up to 500; a bound for a fixed number of them fails in this."""
    generator, missed, naive = np.random.default_rng(0), 0, 0
    for _ in range(500):
        events = generator.random(500) < share
        missed += frequency(events.tolist(), 0.05).upper < share
        failures, counts = np.cumsum(events), np.arange(1, 501)
        normal = failures / counts + 1.645 * np.sqrt(np.maximum(failures, 0.1) / counts) / np.sqrt(counts)
        naive += bool((normal[20:] < share).any())
    assert missed <= 500 * 0.05 + 2.33 * math.sqrt(500 * 0.05 * 0.95)
    assert naive > missed or share > 0.5


@pytest.mark.parametrize("share", [0.5, 0.05, 0.01, 0.001])
def test_so_many_faultless_episodes_are_enough_and_one_less_is_not(share: float) -> None:
    least = faultless_episodes(share, 0.05)
    assert frequency([False] * least, 0.05).upper <= share
    assert frequency([False] * (least - 1), 0.05).upper > share
