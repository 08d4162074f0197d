"""The lower bound of retention: against hand-computed capitals, and its laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunekit.stats.betting import _CAUTION, NOTHING, Bettor, Paired, growth, lower_bound
from prunekit.stats.bootstrap import Array
from prunekit.stats.clipping import ReturnRange, range_of

WIDE = ReturnRange(low=-1000.0, high=1000.0)
TO_100 = ReturnRange(low=-20.0, high=100.0)


def game(episodes: Paired, rho: float, span: float, before: Paired) -> list[float]:
    """Return the logarithm of the capital after each episode."""
    bettor, capitals = Bettor(rho, span, before), []
    for difference in episodes.differences(rho):
        bettor.play(float(difference))
        capitals.append(bettor.log_capital)
    return capitals


def refuted(episodes: Paired, rho: float, span: float, before: Paired) -> bool:
    bettor = Bettor(rho, span, before)
    for difference in episodes.differences(rho):
        bettor.play(float(difference))
    return bettor.refutes(0.05)


def constant(small: float, count: int, dense: float = 100.0, random: float = 0.0) -> Paired:
    return Paired(small=np.full(count, small), teacher=np.full(count, dense), random=np.full(count, random))


def drawn(seed: int, count: int, retention: float = 1.0) -> Paired:
    generator = np.random.default_rng(seed)
    dense, random = generator.normal(100.0, 10.0, count), generator.normal(0.0, 5.0, count)
    return Paired(small=retention * generator.normal(100.0, 10.0, count), teacher=dense, random=random)


def test_a_difference_is_that_to_a_mixture_of_dense_and_random() -> None:
    episode = Paired(small=np.array([80.0]), teacher=np.array([100.0]), random=np.array([20.0]))
    assert episode.differences(0.5).tolist() == [20.0]
    assert episode.retention == pytest.approx(0.75)


def test_the_capital_is_the_product_of_what_every_bet_brings() -> None:
    before, episodes = (
        constant(70.0, 10),
        Paired(small=np.array([60.0, 20.0]), teacher=np.full(2, 100.0), random=np.zeros(2)),
    )
    shares, capital, gains, bets = np.linspace(0.0, 0.99, 100), 0.0, [0.2] * 10, []
    expected = []
    for gain in (0.1, -0.3):
        value = _CAUTION * np.log(1.0 - shares) + sum(np.log(1.0 + shares * past) for past in gains)
        bets.append(shares[value.argmax()])
        capital += math.log(1.0 + bets[-1] * gain)
        gains.append(gain)
        expected.append(capital)
    assert game(episodes, 0.5, 100.0, before) == pytest.approx(expected)
    assert all(0.2 < bet < 0.95 for bet in bets)


def test_clipping_moves_returns_into_the_range_and_nothing_else() -> None:
    episode = Paired(small=np.array([-500.0, 80.0]), teacher=np.array([100.0, 120.0]), random=np.array([0.0, -20.0]))
    clipped = episode.clipped(ReturnRange(low=-10.0, high=110.0))
    assert [values.tolist() for values in (clipped.small, clipped.teacher, clipped.random)] == [
        [-10.0, 80.0],
        [100.0, 110.0],
        [0.0, -10.0],
    ]


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3), min_size=1, max_size=20), st.floats(0.0, 1.0))
def test_no_clipped_episode_loses_more_than_the_width(returns: list[tuple[float, float, float]], rho: float) -> None:
    clip_range = ReturnRange(low=-10.0, high=110.0)
    small, teacher, random = (np.array(values) for values in zip(*returns, strict=True))
    clipped = Paired(small=small, teacher=teacher, random=random).clipped(clip_range)
    assert clipped.differences(rho).min() >= -clip_range.width * (1.0 + 1e-12)
    assert all(math.isfinite(capital) for capital in game(clipped, rho, clip_range.width, NOTHING))


def test_an_unclipped_episode_that_loses_more_is_refused() -> None:
    bettor = Bettor(0.9, 100.0, constant(91.0, 1))
    with pytest.raises(ValueError, match="clip the returns first"):
        bettor.play(-101.0)


def test_without_an_episode_nothing_is_refuted() -> None:
    assert not refuted(NOTHING, 0.0, 100.0, constant(100.0, 50))
    assert lower_bound(NOTHING, WIDE, constant(100.0, 50)) is None


@pytest.mark.parametrize("keep", [0.9, 0.95])
def test_faultless_episodes_are_certified_when_failures_that_rare_are_ruled_out(keep: float) -> None:
    """A policy that fails in a share 1 - keep of its episodes shows n faultless ones with probability keep^n."""
    least = math.ceil(math.log(0.05) / math.log(keep))
    before = constant(100.0, 1000)
    episodes = constant(100.0, 3 * least)
    needed = 1 + next(n for n, capital in enumerate(game(episodes, keep, 100.0, before)) if capital >= math.log(20.0))
    assert least <= needed <= 1.2 * least


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_is_where_refutation_ends(seed: int) -> None:
    episodes, before = drawn(seed, 150), drawn(seed + 100, 20)
    clip_range = range_of(before.teacher, before.random)
    bound = lower_bound(episodes, clip_range, before)
    episodes, before, width = episodes.clipped(clip_range), before.clipped(clip_range), clip_range.width
    assert bound is not None
    assert episodes.retention is not None
    assert 0.85 < bound < episodes.retention
    assert refuted(episodes, bound, width, before)
    assert not refuted(episodes, bound + 0.001, width, before)


def test_more_episodes_and_a_narrower_range_give_a_higher_bound() -> None:
    before, wide = drawn(1, 20), ReturnRange(low=-25.0, high=160.0)
    few, many = (lower_bound(drawn(2, count), wide, before) for count in (60, 400))
    narrow = lower_bound(drawn(2, 60), ReturnRange(low=-25.0, high=140.0), before)
    assert few is not None
    assert many is not None
    assert narrow is not None
    assert few < many
    assert few < narrow


def bound_of_mean(values: Array) -> float:
    """Return the 95% lower bound of a mean after the central limit theorem, the control."""
    return float(values.mean() - 1.645 * values.std() / math.sqrt(len(values)))


def test_rare_failures_do_not_fool_the_bound_as_they_fool_a_normal_one() -> None:
    """Retention is exactly 0.98 as one episode in fifty fails; the normal bound is above it far too often."""
    generator = np.random.default_rng(0)
    fooled = {"betting": 0, "normal": 0}
    for _ in range(500):
        small, before = [np.where(generator.random(n) < 0.02, 0.0, 100.0) for n in (60, 20)]
        episodes = Paired(small=small, teacher=np.full(60, 100.0), random=np.zeros(60))
        fooled["normal"] += bound_of_mean(episodes.differences(0.98)) > 0.0
        fooled["betting"] += refuted(
            episodes, 0.98, 120.0, Paired(small=before, teacher=np.full(20, 100.0), random=np.zeros(20))
        )
    assert fooled["normal"] > 100
    assert fooled["betting"] <= 500 * 0.05


def test_growth_is_what_the_best_bet_would_have_earned_per_episode() -> None:
    played = Paired(small=np.full(20, 100.0), teacher=np.full(20, 100.0), random=np.zeros(20))
    assert growth(played, 0.95, TO_100) == pytest.approx(np.log1p(0.99 * 5.0 / 120.0))
    assert growth(Paired(small=np.full(20, 90.0), teacher=played.teacher, random=played.random), 0.95, TO_100) == 0.0
    assert (
        growth(Paired(small=np.array([100.0, 40.0]), teacher=np.full(2, 90.0), random=np.zeros(2)), 0.5, TO_100) > 0.0
    )


@given(st.lists(st.floats(0.0, 120.0), min_size=1, max_size=30), st.integers(0, 99))
def test_no_bet_that_stays_the_same_earns_more_than_the_best(returns: list[float], percent: int) -> None:
    small = np.array(returns)
    best = growth(
        Paired(small=small, teacher=np.full(len(small), 100.0), random=np.zeros(len(small))),
        0.95,
        ReturnRange(low=-30.0, high=120.0),
    )
    earned = [math.log(1.0 + percent / 100.0 * (own - 95.0) / 150.0) for own in returns]
    assert sum(earned) / len(earned) <= best + 1e-9
