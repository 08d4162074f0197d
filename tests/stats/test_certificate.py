"""The certificate: honest over simulated repetitions, and stopping where it should."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from draws import DRAWS, KEEP, Draw, Teacher, crashes, jackpots, mean_of, normal, steady, world_name
from simulations import simulated_certificates

from prunekit.errors import FailedEpisodeError, InputError
from prunekit.stats.betting import NOTHING, Paired
from prunekit.stats.certificate import Certificate, Verdict
from prunekit.stats.certify import Candidate, certify
from prunekit.stats.claim import ALPHA, Claim, check_claim, check_episodes, counted
from prunekit.stats.clipping import ReturnRange

REPETITIONS = 500
ALLOWED = REPETITIONS * ALPHA + 2.33 * (REPETITIONS * ALPHA * (1.0 - ALPHA)) ** 0.5
RANGE = ReturnRange(low=-10.0, high=110.0)
CLAIM = Claim(keep=KEEP, clip_range=RANGE)
BEFORE = Paired(small=np.full(40, 100.0), teacher=np.full(40, 100.0), random=np.zeros(40))


def candidate(returns: float | Callable[[int], float], name: str = "a", alpha: float = ALPHA) -> Candidate:
    play = returns if callable(returns) else lambda _: float(returns)
    return Candidate(name=name, play=play, before=BEFORE, alpha=alpha)


def outcomes(*candidates: Candidate, claim: Claim = CLAIM, episodes: int = 200) -> list[Certificate]:
    return certify(candidates, lambda _: 100.0, lambda _: 0.0, claim, range(episodes))


CASES: list[tuple[tuple[Teacher, Draw], list[float | None]]] = [
    ((steady, normal), [None]),
    ((steady, normal), [0.3, None]),
    ((steady, DRAWS[1]), [None] * 4),
    ((steady, DRAWS[2]), [None]),
    ((steady, crashes(29.0)), [None]),
    ((jackpots(50.0), normal), [None]),
]
"""Some of the worlds; ``benchmarks/honesty.py`` has all."""


@pytest.mark.parametrize(("world", "sizes"), CASES, ids=[f"{world_name(world)}-{len(n)}" for world, n in CASES])
def test_a_retention_at_the_threshold_is_certified_in_five_of_a_hundred_at_most(
    world: tuple[Teacher, Draw], sizes: list[float | None]
) -> None:
    wrong = 0
    for seed in range(REPETITIONS):
        found = simulated_certificates(*world, sizes, seed)
        wrong += any(one.certified and sizes[index] is None for index, one in enumerate(found))
    assert wrong <= ALLOWED


@pytest.mark.parametrize("draw", [DRAWS[1], crashes(29.0)], ids=lambda draw: draw.__name__)
def test_the_simulation_tells_a_certificate_that_looks_only_at_the_mean(draw: Draw) -> None:
    """The control: a normal bound of the same episodes is wrong more often than it says."""
    wrong = 0
    for seed in range(REPETITIONS):
        (found,) = simulated_certificates(steady, draw, [None], seed, episodes=60, should_stop=lambda _: False)
        gains = found.episodes.clipped(found.claim.clip_range).differences(KEEP)
        wrong += gains.mean() > 1.645 * gains.std(ddof=1) / len(gains) ** 0.5
    assert wrong > ALLOWED


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_failures_at_the_limit_are_certified_in_five_of_a_hundred_at_most(share: float) -> None:
    """The mean is no obstacle: what crashes seldom keeps enough of it."""
    draw, wrong = crashes(29.0), 0
    for seed in range(REPETITIONS):
        (found,) = simulated_certificates(steady, draw, [1.0 - 29.0 * share], seed, episodes=600, max_failures=share)
        wrong += found.certified
    assert wrong <= ALLOWED


def test_a_limit_of_failures_is_met_by_what_never_fails() -> None:
    (found,) = outcomes(candidate(100.0), claim=Claim(keep=KEEP, clip_range=RANGE, max_failures=0.02), episodes=300)
    assert found.certified
    assert len(found.episodes) == 152
    assert found.below.upper <= 0.02
    (free,) = outcomes(candidate(100.0), episodes=300)
    assert len(free.episodes) < 152


def test_what_fails_too_often_is_given_up_though_its_mean_is_good() -> None:
    claim = Claim(keep=0.5, clip_range=RANGE, max_failures=0.02)
    (found,) = outcomes(candidate(lambda seed: -500.0 if seed % 5 == 0 else 100.0), claim=claim)
    assert (found.verdict, len(found.episodes)) == (Verdict.BELOW, 20)
    assert found.below.happened == 4


@pytest.mark.parametrize("draw", DRAWS[:3], ids=lambda draw: draw.__name__)
def test_a_retention_well_above_the_threshold_is_certified_mostly(draw: Draw) -> None:
    found = [simulated_certificates(steady, draw, [1.0], seed)[0] for seed in range(50)]
    passed = [certificate for certificate in found if certificate.certified]
    assert len(passed) >= 45
    assert np.median([len(certificate.episodes) for certificate in passed]) < 200


@pytest.mark.parametrize("draw", DRAWS[:3], ids=lambda draw: draw.__name__)
def test_a_hopeless_size_costs_few_episodes(draw: Draw) -> None:
    found = [simulated_certificates(steady, draw, [0.3], seed)[0] for seed in range(50)]
    assert {certificate.verdict for certificate in found} == {Verdict.BELOW}
    assert np.median([len(certificate.episodes) for certificate in found]) < 80


def test_the_first_size_that_is_certified_ends_it() -> None:
    found = simulated_certificates(steady, normal, [0.3, 1.0, 1.0], 0)
    assert [certificate.verdict for certificate in found] == [Verdict.BELOW, Verdict.CERTIFIED]


def test_a_size_without_time_left_makes_room_for_the_next() -> None:
    found = simulated_certificates(steady, normal, [0.99, 1.0], 0, should_stop=lambda index: index == 0)
    assert [one.verdict for one in found] == [Verdict.UNDECIDED, Verdict.CERTIFIED]
    assert len(found[0].episodes) == 1


def test_a_share_of_the_level_is_harder_to_meet_than_all_of_it() -> None:
    found = (
        simulated_certificates(steady, normal, [1.0], 0)[0],
        simulated_certificates(steady, normal, [1.0, 1.0], 0)[0],
    )
    assert [one.alpha for one in found] == [ALPHA, ALPHA / 2]
    assert [one.verdict for one in found] == [Verdict.CERTIFIED] * 2
    assert len(found[0].episodes) < len(found[1].episodes)


@pytest.mark.parametrize("loss", [1e3, 1e6, 1e300])
def test_a_crash_costs_what_the_range_says_and_is_told(loss: float) -> None:
    def crashes_once(seed: int) -> float:
        return -loss if seed == 25 else 100.0

    (clean,) = outcomes(candidate(100.0))
    (found,) = outcomes(candidate(crashes_once))
    assert found.certified
    assert len(clean.episodes) < len(found.episodes) < 200
    assert (clean.below.happened, found.below.happened) == (0, 1)
    assert clean.below.upper < 0.05 < found.below.upper
    assert found.episodes.retention is not None
    assert found.episodes.retention < KEEP <= found.lower_bound  # type: ignore[operator]
    assert found.retention == pytest.approx(1.0 - 110.0 / 100.0 / len(found.episodes))


def test_shares_beyond_the_level_are_refused() -> None:
    with pytest.raises(ValueError, match="shares"):
        outcomes(candidate(50.0, alpha=0.03), candidate(50.0, alpha=0.03))


def test_the_next_size_is_asked_for_when_it_is_needed() -> None:
    asked = []

    def candidates(*returns: float) -> Iterator[Candidate]:
        for earned in returns:
            asked.append(earned)
            yield candidate(earned, alpha=0.02)

    assert len(certify(candidates(100.0, 99.0), lambda _: 100.0, lambda _: 0.0, CLAIM, range(200))) == 1
    assert len(certify(candidates(50.0, 99.0), lambda _: 100.0, lambda _: 0.0, CLAIM, range(200))) == 2
    assert asked == [100.0, 50.0, 99.0]


def test_a_certificate_says_what_it_rests_on() -> None:
    (certificate,) = simulated_certificates(steady, normal, [1.0], 3)
    count = len(certificate.episodes)
    assert certificate.seeds == tuple(range(20, 20 + count))
    assert certificate.claim.keep == KEEP
    bound = certificate.lower_bound
    assert bound is not None
    assert certificate.retention is not None
    assert KEEP <= bound <= certificate.retention
    plain = json.loads(json.dumps(certificate.to_json(), allow_nan=False))
    assert plain["range"] == certificate.claim.clip_range.to_json()
    assert plain["claim"] == certificate.sentence
    assert plain["below_range"] == {"episodes": 0, "upper_bound": certificate.below.upper}
    assert plain["teacher_above_range"]["upper_bound"] < 0.05


def test_the_claim_is_told_in_plain_sentences() -> None:
    (found,) = outcomes(candidate(100.0))
    assert found.sentence == (
        "With 95% confidence the policy keeps at least 0.95 of the teacher's gain over the random policy in mean "
        "return, every return clipped to [-10, 110]. Each with 95% confidence by itself: it earns less than -10 in at "
        "most 3.7% of its episodes, and the teacher more than 110 in at most 3.7% (shown in 82 fresh episodes)."
    )
    (not_shown,) = outcomes(candidate(95.0), episodes=1)
    assert not_shown.sentence == (
        "Not certified: that it keeps at least 0.95 of the teacher's gain over the random policy in mean return, every "
        "return clipped to [-10, 110], was not shown in 1 fresh episode."
    )


def test_the_sentence_names_the_failures_that_the_claim_allows() -> None:
    claim = Claim(keep=KEEP, clip_range=RANGE, max_failures=0.07, failure_return=20.0)
    both = "return, every return clipped to [-10, 110], and earns less than 20 in at most 7% of its episodes"
    (shown,) = outcomes(candidate(100.0), claim=claim, episodes=300)
    assert f"{both}. Each with 95% confidence by itself: it fails, with less than 20, in at most " in shown.sentence
    (not_shown,) = outcomes(candidate(100.0), claim=claim, episodes=20)
    assert not_shown.sentence.endswith(f"{both}, was not shown in 20 fresh episodes.")


def test_an_undecided_size_has_a_bound_below_the_threshold() -> None:
    (certificate,) = simulated_certificates(steady, normal, [0.951], 3, episodes=60)
    assert certificate.verdict is Verdict.UNDECIDED
    assert len(certificate.episodes) == 60
    assert certificate.lower_bound is not None
    assert certificate.lower_bound < KEEP


def test_the_episodes_wanted_are_those_that_the_growth_so_far_would_take() -> None:
    (undecided,) = outcomes(candidate(100.0), episodes=30)
    assert undecided.verdict is Verdict.UNDECIDED
    (decided,) = outcomes(candidate(100.0))
    assert undecided.episodes_wanted() == pytest.approx(len(decided.episodes), rel=0.2)
    (hopeless,) = outcomes(candidate(90.0), episodes=30)
    assert hopeless.episodes_wanted() is None
    assert Certificate(**{**vars(hopeless), "episodes": NOTHING}).episodes_wanted() is None


def test_teacher_and_random_policy_play_a_seed_once_however_many_sizes_are_tested() -> None:
    played: list[int] = []

    def dense(seed: int) -> float:
        played.append(seed)
        return 100.0

    candidates = [candidate(94.9, alpha=0.02), candidate(100.0, alpha=0.02)]
    found = certify(candidates, dense, lambda _: 0.0, CLAIM, range(200))
    assert [one.verdict for one in found] == [Verdict.BELOW, Verdict.CERTIFIED]
    assert played == list(range(max(len(one.episodes) for one in found)))


def test_one_unlucky_episode_of_the_teacher_is_no_reason_to_lose_all() -> None:
    (found,) = certify([candidate(1.0)], lambda _: 0.0, lambda _: 1.0, CLAIM, range(30), should_stop=lambda _: True)
    assert found.verdict is Verdict.UNDECIDED
    assert found.retention is None


def test_an_environment_that_fails_under_a_policy_fails_it_and_the_next_is_tested() -> None:
    def fails(seed: int) -> float:
        if seed == 7:
            raise FailedEpisodeError("environment 'X' failed")
        return 100.0

    small, large = outcomes(candidate(fails, alpha=0.03), candidate(100.0, alpha=0.02), episodes=300)
    assert (small.verdict, small.failure, len(small.episodes)) == (Verdict.FAILED, "environment 'X' failed", 7)
    assert small.seeds == tuple(range(7))
    assert (large.verdict, large.failure) == (Verdict.CERTIFIED, "")


def test_an_environment_that_fails_under_the_teacher_decides_nothing() -> None:
    def fails(seed: int) -> float:
        raise FailedEpisodeError("environment 'X' failed")

    [found] = certify([candidate(100.0)], fails, lambda _: 0.0, CLAIM, range(300))
    assert (found.verdict, found.failure, len(found.episodes)) == (Verdict.UNDECIDED, "environment 'X' failed", 0)
    assert (found.retention, found.lower_bound) == (None, None)
    assert json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("keep", [0.0, -0.5, 1.01, float("nan")])
def test_a_share_to_keep_that_is_none_is_refused(keep: float) -> None:
    with pytest.raises(InputError, match=r"`keep` must lie in \(0, 1\]"):
        check_claim(keep, None)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.0, float("nan")])
def test_a_share_of_failures_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="`max_failures` must lie between 0 and 1"):
        check_claim(0.95, share)


def test_a_claim_needs_episodes_that_can_show_it() -> None:
    with pytest.raises(InputError, match="`episodes` must be at least 20 for a certificate, got 19 here"):
        check_episodes(19, None, where=" here")
    check_episodes(20, None)
    with pytest.raises(InputError, match=r"`max_failures` 0\.01 needs 306 episodes without a failure, got 305"):
        check_episodes(305, 0.01)
    with pytest.raises(InputError, match="`loop_episodes` must be"):
        check_episodes(19, None, parameter="loop_episodes")
    check_episodes(306, 0.01)


def test_things_are_counted_in_words() -> None:
    assert [counted(count, "fresh episode") for count in (0, 1, 2_000)] == [
        "0 fresh episodes",
        "1 fresh episode",
        "2,000 fresh episodes",
    ]


def test_the_draws_have_the_retention_that_they_are_asked_for() -> None:
    for draw in (*DRAWS, crashes(7.0)):
        drawn = draw(np.random.default_rng(0), 0.9, 400_000).mean()
        assert drawn == pytest.approx(mean_of(0.9), rel=0.01), draw.__name__
