"""Statistics against simulated truth: intervals must cover it about as often as they say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from prunekit.stats import bootstrap as stats
from prunekit.stats.bootstrap import (
    Retention,
    bootstrap_bound,
    interquartile_mean,
    iqm_interval,
    mean_interval,
    retention,
)

Array = NDArray[np.float64]
Episodes = tuple[Array, Array, Array]
TRIALS, FEW = 1_000, 500


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(20_240_501)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([4.0], 4.0),
        ([1.0, 3.0], 2.0),
        ([1.0, 2.0, 6.0], 3.0),
        ([100.0, 1.0, 3.0, -50.0], 2.0),
        ([9.0, 1.0, 2.0, 3.0, 4.0, -7.0], (1 + 2 + 3 + 4) / 4),
        ([1e9, 5.0, 6.0, 7.0, 8.0, -1e9, 1e9, -1e9], 6.5),
    ],
)
def test_interquartile_mean_leaves_out_a_quarter_on_each_side(values: list[float], expected: float) -> None:
    assert interquartile_mean(np.asarray(values)) == pytest.approx(expected)


def test_interquartile_mean_does_not_sort_the_callers_values() -> None:
    values = np.asarray([3.0, 1.0, 2.0, 9.0])
    interquartile_mean(values)
    assert values.tolist() == [3.0, 1.0, 2.0, 9.0]


def test_the_interval_of_an_interquartile_mean_is_that_of_resampled_ones() -> None:
    values = np.asarray([3.0, 1.0, 2.0, 9.0, -40.0, 4.0, 8.0])
    resampled = np.random.default_rng(0).integers(0, 7, size=(stats.RESAMPLES, 7))
    means = [interquartile_mean(values[chosen]) for chosen in resampled]
    expected = np.percentile(means, [2.5, 97.5])
    assert iqm_interval(values, np.random.default_rng(0)) == pytest.approx(tuple(expected))
    assert iqm_interval(values[:1], np.random.default_rng(0)) is None
    assert values.tolist() == [3.0, 1.0, 2.0, 9.0, -40.0, 4.0, 8.0]


DRAWS: dict[str, tuple[Callable[[np.random.Generator], Array], float]] = {
    "normal": (lambda g: g.normal(3.0, 2.0, 100), 3.0),
    "skewed": (lambda g: g.exponential(1.0, 100), 1.0),
    "two-valued": (lambda g: np.where(g.random(100) < 0.3, 500.0, 10.0), 157.0),
}


@pytest.mark.parametrize("name", DRAWS)
def test_the_95_percent_interval_of_a_mean_covers_it(name: str, generator: np.random.Generator) -> None:
    draw, truth = DRAWS[name]
    intervals = np.asarray([mean_interval(draw(generator), generator, resamples=FEW) for _ in range(TRIALS)])
    assert 0.92 <= np.mean((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])) <= 0.97
    for missed in (np.mean(intervals[:, 0] > truth), np.mean(intervals[:, 1] < truth)):
        assert 0.005 <= missed <= 0.06, "an interval must be missed on both sides"


def test_an_interval_is_repeatable_and_comes_from_many_resamples() -> None:
    values = np.random.default_rng(1).normal(size=50)
    assert stats.RESAMPLES == 10_000
    intervals = [mean_interval(values, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert intervals[0] == intervals[1]
    assert intervals[0] != intervals[2]
    assert intervals[0] == pytest.approx(intervals[2], abs=0.02)


def test_one_episode_has_no_interval() -> None:
    one, ten, none = (np.full(1, value) for value in (9.0, 10.0, 0.0))
    assert mean_interval(one, np.random.default_rng(0)) is None
    assert retention(one, ten, none, np.random.default_rng(0)) == Retention(estimate=0.9)


def symmetric(g: np.random.Generator) -> Episodes:
    dense = g.normal(100.0, 20.0, 100)
    return 0.8 * dense + g.normal(0.0, 20.0, 100), dense, g.normal(0.0, 10.0, 100)


def left_skewed(g: np.random.Generator) -> Episodes:
    return 80.0 - 20.0 * (g.exponential(1.0, 100) - 1.0), g.normal(100.0, 10.0, 100), g.normal(0.0, 5.0, 100)


def right_skewed(g: np.random.Generator) -> Episodes:
    return 80.0 + 20.0 * (g.exponential(1.0, 100) - 1.0), g.normal(100.0, 10.0, 100), g.normal(0.0, 5.0, 100)


def crashing(g: np.random.Generator) -> Episodes:
    crashed = g.random(100) < 0.05
    return np.where(crashed, -200.0, 0.0) + 90.0 + g.normal(0.0, 2.0, 100), np.full(100, 100.0), np.zeros(100)


def noisy_reference(g: np.random.Generator) -> Episodes:
    return g.normal(48.0, 100.0, 100), g.normal(60.0, 100.0, 100), g.normal(0.0, 100.0, 100)


@pytest.mark.parametrize(
    ("draw", "low", "high"),
    [
        (symmetric, 0.93, 0.975),
        (right_skewed, 0.93, 0.985),
        (noisy_reference, 0.93, 0.98),
        (left_skewed, 0.90, 0.96),  # a percentile bootstrap is known to promise too much here
        (crashing, 0.86, 0.95),
    ],
)
def test_the_lower_bound_of_retention_is_below_the_truth_about_as_often_as_it_says(
    draw: Callable[[np.random.Generator], Episodes], low: float, high: float, generator: np.random.Generator
) -> None:
    drawn = [draw(generator) for _ in range(TRIALS)]
    kept = [retention(*episodes, generator, resamples=FEW) for episodes in drawn]
    defined = [episodes for episodes, entry in zip(drawn, kept, strict=True) if entry.estimate is not None]
    assert len(defined) > 0.97 * TRIALS
    assert low <= np.mean([bootstrap_bound(*episodes, generator, resamples=FEW) <= 0.8 for episodes in defined]) <= high
    covered = [entry.ci95[0] <= 0.8 <= entry.ci95[1] for entry in kept if entry.ci95 is not None]
    assert low - 0.02 <= np.mean(covered) <= 0.975


@pytest.mark.parametrize(("failing", "low", "high"), [(0.01, 0.4, 0.6), (0.05, 0.8, 0.92)])
def test_the_lower_bound_promises_too_much_of_a_policy_that_rarely_fails(
    failing: float, low: float, high: float, generator: np.random.Generator
) -> None:
    """Decision 8 says how often it holds, and what the certificate does about it."""

    def bound() -> float:
        small = np.where(generator.random(60) < failing, 0.0, 80.0 / (1.0 - failing)) + generator.normal(0.0, 2.0, 60)
        return bootstrap_bound(small, np.full(60, 100.0), np.zeros(60), generator, resamples=FEW)

    assert low <= np.mean([bound() <= 0.8 for _ in range(TRIALS)]) <= high


def test_retention_of_known_episodes() -> None:
    dense, random = np.asarray([100.0, 110.0, 90.0, 100.0]), np.asarray([0.0, 20.0, 10.0, 10.0])
    kept = retention(0.7 * dense + 0.3 * random, dense, random, np.random.default_rng(0))
    assert kept.estimate == pytest.approx(0.7)
    assert kept.ci95 == pytest.approx((0.7, 0.7)), "resamples must take the same episodes of all three"
    assert kept.reason is None


def test_retention_is_the_ratio_of_means_and_not_the_mean_of_ratios() -> None:
    dense, random = np.asarray([100.0, 50.0, 100.0, 50.0]), np.asarray([0.0, 10.0, 0.0, 10.0])
    kept = retention(np.full(4, 50.0), dense, random, np.random.default_rng(0))
    assert kept.estimate == pytest.approx((50.0 - 5.0) / (75.0 - 5.0))


def test_a_policy_keeps_all_of_itself_and_the_random_one_nothing(generator: np.random.Generator) -> None:
    dense, random = generator.normal(50.0, 30.0, 40), generator.normal(0.0, 5.0, 40)
    whole = retention(dense, dense, random, generator)
    assert (whole.estimate, whole.ci95) == (1.0, (1.0, 1.0))
    nothing = retention(random, dense, random, generator)
    assert (nothing.estimate, nothing.ci95) == (0.0, (0.0, 0.0))


def test_the_one_sided_bound_lies_between_the_interval_and_the_estimate(generator: np.random.Generator) -> None:
    episodes = symmetric(generator)
    kept = retention(*episodes, generator)
    assert kept.estimate is not None
    assert kept.ci95 is not None
    assert kept.ci95[0] < bootstrap_bound(*episodes, generator) < kept.estimate < kept.ci95[1]


def test_negative_returns_and_retention_above_one() -> None:
    dense, random = np.full(20, -100.0), np.full(20, -300.0)
    assert retention(np.full(20, -50.0), dense, random, np.random.default_rng(0)).estimate == pytest.approx(1.25)
    assert retention(np.full(20, -400.0), dense, random, np.random.default_rng(0)).estimate == pytest.approx(-0.5)


@pytest.mark.parametrize("gap", [0.0, -5.0])
def test_retention_is_undefined_where_the_reference_learned_nothing(gap: float) -> None:
    random = np.linspace(-10.0, 10.0, 30)
    kept = retention(random, random + gap, random, np.random.default_rng(0))
    assert kept == Retention(estimate=None, reason="the reference earns no more than the random policy")


def test_retention_is_undefined_where_the_reference_is_not_clearly_better(generator: np.random.Generator) -> None:
    dense, random = generator.normal(0.0, 100.0, 20), np.zeros(20)
    dense += 10.0 - dense.mean()
    kept = retention(dense, dense, random, generator)
    assert kept.to_dict() == {
        "estimate": None,
        "ci95": None,
        "reason": "the reference is not clearly above the random policy; use more episodes",
    }
    assert retention(dense + 90.0, dense + 90.0, random, generator).estimate == 1.0
