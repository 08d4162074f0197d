"""The bounds of ``prunekit.stats`` against others, which are written here from the papers, by their definitions.

``confseq`` of the papers' authors would be the other way; its last release (0.0.11) does not import with NumPy 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from prunekit import stats
from prunekit.errors import InputError
from prunekit.stats import (
    ReturnRange,
    cvar,
    cvar_lower_bound,
    faultless_episodes,
    mean_lower_bound,
    mean_upper_bound,
    retention_upper_bound,
    share_lower_bound,
    share_upper_bound,
)
from prunekit.stats.betting import NOTHING, Bettor, Paired, is_missed
from prunekit.stats.frequency import is_exceeded
from prunekit.stats.mixtures import _CAPITAL, _SHARES

Array = NDArray[np.float64]
UNIT = ReturnRange(low=0.0, high=1.0)
ALPHA = 0.05
DRAWS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "steady": lambda generator, count: generator.normal(0.8, 0.03, count).clip(0.0, 1.0),
    "broad": lambda generator, count: generator.uniform(0.2, 1.0, count),
    "rare falls": lambda generator, count: np.where(generator.random(count) < 0.04, 0.0, 0.9),
}


def capital(values: Array, mean: float, share: float) -> Array:
    """The capital process K_t(m) of the paper, equation (21), for the bet lambda = share / m, by its definition."""
    money, found = 1.0, []
    for value in values.tolist():
        money *= 1.0 + share / mean * (value - mean)
        found.append(money)
    return np.asarray(found)


def bound_by_definition(values: Array) -> float:
    """The smallest mean on a grid whose mixture of capitals never reached 1 / alpha."""
    grid = np.arange(1, 1001) / 1000.0
    for mean in grid:
        mixed = sum(part * capital(values, mean, share) for part, share in zip(_CAPITAL, _SHARES, strict=True))
        if mixed.max() < 1.0 / ALPHA:
            return float(mean)
    return 1.0


@pytest.mark.parametrize("name", DRAWS)
def test_the_bound_of_the_mean_is_where_the_capital_of_the_paper_never_reached_it(name: str) -> None:
    values = DRAWS[name](np.random.default_rng(0), 80)
    bound = mean_lower_bound(values, UNIT)
    assert 0.0 <= bound_by_definition(values) - bound <= 1e-3
    assert mean_upper_bound(1.0 - values, UNIT) == pytest.approx(1.0 - bound)
    shifted = ReturnRange(low=-100.0, high=300.0)
    assert mean_lower_bound(400.0 * values - 100.0, shifted) == pytest.approx(400.0 * bound - 100.0)


def empirical_bernstein(values: Array) -> float:
    """The predictable plug-in bound of the same paper (theorem 2), which knows no bets: the best over all moments."""
    means, variances, best = 0.5, 0.25, 0.0
    sums, weights, spent = 0.0, 0.0, 0.0
    for index, value in enumerate(values.tolist(), 1):
        bet = min(math.sqrt(2.0 * math.log(1.0 / ALPHA) / (variances * index * math.log(1.0 + index))), 0.5)
        spent += 4.0 * (value - means) ** 2 * (-math.log1p(-bet) - bet) / 4.0
        sums, weights = sums + bet * value, weights + bet
        seen = values[:index]
        means = (0.5 + seen.sum()) / (index + 1)
        variances = (0.25 + float(((seen - means) ** 2).sum())) / (index + 1)
        best = max(best, (sums - math.log(1.0 / ALPHA) - spent) / weights)
    return best


@pytest.mark.parametrize("name", DRAWS)
def test_bets_bound_the_mean_as_closely_as_the_plug_in_bound_of_the_paper(name: str) -> None:
    values = DRAWS[name](np.random.default_rng(1), 300)
    ours, theirs = mean_lower_bound(values, UNIT), empirical_bernstein(values)
    assert max(ours, theirs) < values.mean()
    assert ours > theirs - 0.015


def clopper_pearson(events: int, count: int) -> float:
    """The upper bound for a fixed number of episodes: the share at which so few events have a probability of alpha."""
    low, high = 0.0, 1.0
    for _ in range(50):
        share = (low + high) / 2.0
        chance = sum(math.comb(count, k) * share**k * (1.0 - share) ** (count - k) for k in range(events + 1))
        low, high = (share, high) if chance > ALPHA else (low, share)
    return high


@pytest.mark.parametrize(("failed", "count"), [(0, 60), (0, 300), (2, 200), (10, 400)])
def test_the_bound_of_a_share_is_above_that_for_a_fixed_number_of_episodes_but_not_by_much(
    failed: int, count: int
) -> None:
    events = [True] * failed + [False] * (count - failed)  # so that the last bound is the lowest of all moments
    fixed, anytime = clopper_pearson(failed, count), share_upper_bound(events)
    assert fixed < anytime < (1.05 if failed == 0 else 1.9) * fixed
    late = [*events[failed:], *events[:failed]]
    least = 1.0 - clopper_pearson(count - failed, count)  # the lower bound for a fixed number of episodes
    assert (0.4 * least if failed > 2 else 0.0) <= share_lower_bound(late) <= least
    assert is_exceeded(late, 0.003) == (share_lower_bound(late) > 0.003)


def worst_by_hand(values: Array, share: float) -> float:
    """The largest of c - E[max(c - x, 0)] / q over all c, which is taken at one of the values."""
    return max(float(end - np.maximum(end - values, 0.0).mean() / share) for end in values)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.33, 0.9])
def test_the_mean_of_the_worst_is_what_the_formula_of_rockafellar_and_uryasev_says(share: float) -> None:
    values = np.random.default_rng(2).normal(size=137)
    assert cvar(values, share) == pytest.approx(worst_by_hand(values, share))
    assert cvar(np.sort(values)[:100], 0.1) == pytest.approx(np.sort(values)[:10].mean())


def test_the_capital_against_a_mean_of_the_worst_is_the_one_of_the_definition() -> None:
    """With ten of before, of which the second smallest is the quantile at a tenth; then the episodes join them."""
    before, values, value = np.linspace(0.5, 0.95, 10), np.array(([0.9] * 29 + [0.1]) * 6), 0.2
    seen, parts, best = sorted(before.tolist()), np.ones(10), 0.0
    for x in values.tolist():
        end = seen[math.floor(0.1 * len(seen))]
        gain = 0.1 * (end - value) - max(end - x, 0.0)
        parts *= 1.0 + _SHARES * gain / (end - 0.1 * (end - value))
        best = max(best, float(parts @ _CAPITAL))
        seen = sorted([*seen, x])
    bound = cvar_lower_bound(values, UNIT, alpha=1.0 / best, before=before)
    assert bound == pytest.approx(value, abs=1e-6)


def test_faultless_episodes_bound_the_worst_tenth_by_ten_times_what_may_be_lost() -> None:
    """After n faultless episodes a share of about 3.5 / n may still be lost, and ten times that of the worst tenth."""
    bounds = [cvar_lower_bound(np.ones(count), UNIT, before=np.ones(20)) for count in (100, 300, 1000)]
    assert bounds == pytest.approx([1.0 - 35.0 / count for count in (100, 300, 1000)], abs=0.02)
    assert cvar_lower_bound(np.ones(20), UNIT) == 0.0
    assert faultless_episodes(0.1, ALPHA) == 30


def test_the_capital_of_a_retention_is_the_product_of_what_the_best_bet_so_far_earns() -> None:
    """The bet that would have earned most so far, with a part of an episode on which all is lost, of 100 bets."""
    generator = np.random.default_rng(3)
    played, rho, money = (
        Paired(small=generator.uniform(0.5, 1.0, 60), teacher=np.full(60, 0.8), random=np.zeros(60)),
        0.8,
        1.0,
    )
    bettor, shares, seen = Bettor(rho, 1.0, NOTHING), np.linspace(0.0, 0.99, 100), []
    for difference in played.differences(rho).tolist():
        earned = [(1.0 - share) ** 0.3 * math.prod(1.0 + share * other for other in seen) for share in shares.tolist()]
        money *= 1.0 + shares[int(np.argmax(earned))] * difference
        bettor.play(difference)
        seen.append(difference)
        assert math.exp(bettor.log_capital) == pytest.approx(money)
    assert money > 20.0


def test_an_upper_bound_of_retention_is_what_bets_on_less_refute() -> None:
    generator = np.random.default_rng(4)
    small, teacher, random = generator.uniform(0.4, 0.8, 200), np.full(200, 0.9), np.zeros(200)
    bound = retention_upper_bound(Paired(small=small, teacher=teacher, random=random), UNIT, NOTHING)
    assert bound is not None
    assert small.mean() / 0.9 < bound < 0.8
    assert is_missed(Paired(small=small, teacher=teacher, random=random), UNIT, NOTHING, bound)
    assert not is_missed(Paired(small=small, teacher=teacher, random=random), UNIT, NOTHING, bound - 0.002)
    assert retention_upper_bound(Paired(small=teacher, teacher=teacher, random=random), UNIT, NOTHING) is None


COVERED: dict[str, Callable[[Array], bool]] = {
    "mean from below": lambda values: mean_lower_bound(values, UNIT) <= 0.864,
    "mean from above": lambda values: mean_upper_bound(values, UNIT) >= 0.864,
    "worst tenth": lambda values: cvar_lower_bound(values, UNIT) <= 0.54,
    "share": lambda values: share_lower_bound((values == 0.0).tolist()) <= 0.04,
}


@pytest.mark.parametrize("name", COVERED)
def test_a_bound_holds_at_every_moment_in_95_of_100_cases(name: str) -> None:
    """Of policies that fall in 4% of their episodes; every bound is the best of all moments up to the last."""
    generator = np.random.default_rng(5)
    missed = sum(not COVERED[name](DRAWS["rare falls"](generator, 200)) for _ in range(200))
    assert missed <= 200 * ALPHA + 2.33 * math.sqrt(200 * ALPHA * (1.0 - ALPHA))


def test_what_is_no_share_and_no_episode_is_refused() -> None:
    with pytest.raises(InputError, match="at least one episode is needed"):
        cvar([])
    for share in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(InputError, match="share of the worst episodes must lie between 0 and 1"):
            cvar_lower_bound([1.0], UNIT, share)


def test_without_an_episode_nothing_is_known() -> None:
    assert (mean_lower_bound([], UNIT), mean_upper_bound([], UNIT), cvar_lower_bound([], UNIT)) == (0.0, 1.0, 0.0)


def test_every_public_name_is_there_and_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()
    for name in stats.__all__:
        assert getattr(stats, name) is not None
        assert f"`{name}`" in text, name
