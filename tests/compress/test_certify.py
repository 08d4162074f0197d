"""The certificate: honest over simulated repetitions, and stopping where it should."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from draws import DENSE, DRAWS, KEEP, RANDOM, Draw, normal

from prunekit.bench.betting import Paired, span_of
from prunekit.compress.certify import ALPHA, Candidate, Certificate, Verdict, certify
from prunekit.errors import FailedEpisodeError


def procedure(
    draw: Draw,
    retentions: list[float],
    seed: int,
    episodes: int = 300,
    over: Callable[[int], bool] = lambda _: False,
) -> list[Certificate]:
    """Select on 20 episodes, then certify candidates of these retentions on fresh ones, with equal shares."""
    generator = np.random.default_rng(seed)
    dense, random = generator.normal(DENSE, 30.0, 20 + episodes), generator.normal(RANDOM, 5.0, 20 + episodes)
    played = [draw(generator, retention, 20 + episodes) for retention in retentions]
    span = span_of([dense[:20], random[:20], *(returns[:20] for returns in played)])
    candidates = [
        Candidate(
            str(index),
            lambda seed, own=own: float(own[seed]),
            Paired(own[:20], dense[:20], random[:20]),
            span,
            ALPHA / len(retentions),
        )
        for index, own in enumerate(played)
    ]
    seeds = range(20, 20 + episodes)
    return certify(
        candidates,
        lambda seed: float(dense[seed]),
        lambda seed: float(random[seed]),
        KEEP,
        seeds,
        over=over,
    )


@pytest.mark.parametrize("draw", DRAWS, ids=lambda draw: draw.__name__)
@pytest.mark.parametrize("sizes", [[KEEP], [0.3, KEEP], [KEEP] * 4], ids=["one", "after-a-poor-one", "all"])
def test_a_retention_at_the_threshold_is_certified_in_five_of_a_hundred_at_most(draw: Draw, sizes: list[float]) -> None:
    repetitions, wrong = 500, 0
    for seed in range(repetitions):
        found = procedure(draw, sizes, seed)
        passed = [index for index, certificate in enumerate(found) if certificate.verdict is Verdict.CERTIFIED]
        wrong += any(sizes[index] <= KEEP for index in passed)
    assert wrong <= repetitions * 0.05 + 2.33 * (repetitions * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize("draw", DRAWS[:3], ids=lambda draw: draw.__name__)
def test_a_retention_well_above_the_threshold_is_certified_mostly(draw: Draw) -> None:
    found = [procedure(draw, [1.0], seed)[0] for seed in range(50)]
    passed = [certificate for certificate in found if certificate.verdict is Verdict.CERTIFIED]
    assert len(passed) >= 45
    assert np.median([len(certificate.episodes) for certificate in passed]) < 200


@pytest.mark.parametrize("draw", DRAWS[:3], ids=lambda draw: draw.__name__)
def test_a_hopeless_size_costs_few_episodes(draw: Draw) -> None:
    found = [procedure(draw, [0.3], seed)[0] for seed in range(50)]
    assert {certificate.verdict for certificate in found} <= {Verdict.BELOW, Verdict.RUINED}
    assert np.median([len(certificate.episodes) for certificate in found]) < 80


def test_the_first_size_that_is_certified_ends_it() -> None:
    found = procedure(normal, [0.3, 1.0, 1.0], 0)
    assert [certificate.verdict for certificate in found] == [Verdict.BELOW, Verdict.CERTIFIED]


def test_a_size_without_time_left_makes_room_for_the_next() -> None:
    found = procedure(normal, [0.99, 1.0], 0, over=lambda index: index == 0)
    assert [one.verdict for one in found] == [Verdict.UNDECIDED, Verdict.CERTIFIED]
    assert len(found[0].episodes) == 1


def test_a_share_of_the_level_is_harder_to_meet_than_all_of_it() -> None:
    found = procedure(normal, [1.0], 0)[0], procedure(normal, [1.0, 1.0], 0)[0]
    assert [one.alpha for one in found] == [ALPHA, ALPHA / 2]
    assert [one.verdict for one in found] == [Verdict.CERTIFIED] * 2
    assert len(found[0].episodes) < len(found[1].episodes)


@pytest.mark.parametrize("fatal", [3, 15, 25])
def test_an_episode_beyond_the_span_ends_the_test_whatever_was_won_before(fatal: int) -> None:
    before = Paired(np.full(40, 100.0), np.full(40, 100.0), np.zeros(40))

    def falls(seed: int) -> float:
        return -500.0 if seed == fatal else 100.0

    def tested(keep: float) -> list[Certificate]:
        candidates = [
            Candidate("falls", falls, before, 120.0, 0.02),
            Candidate("b", lambda _: 100.0, before, 120.0, 0.02),
        ]
        return certify(candidates, lambda _: 100.0, lambda _: 0.0, keep, range(200))

    ruined, other = tested(KEEP)
    assert (ruined.verdict, len(ruined.episodes)) == (Verdict.RUINED, fatal + 1)
    assert other.verdict is Verdict.CERTIFIED
    # An easy claim is won in fewer episodes than a certificate takes at least.
    easy = [one.verdict for one in tested(0.3)]
    assert easy == ([Verdict.CERTIFIED] if fatal > 20 else [Verdict.RUINED, Verdict.CERTIFIED])


def test_shares_beyond_the_level_are_refused() -> None:
    before = Paired(np.full(40, 100.0), np.full(40, 100.0), np.zeros(40))
    candidates = [Candidate(name, lambda _: 50.0, before, 120.0, 0.03) for name in "ab"]
    with pytest.raises(ValueError, match="shares"):
        certify(candidates, lambda _: 100.0, lambda _: 0.0, KEEP, range(200))


def test_the_next_size_is_asked_for_when_it_is_needed() -> None:
    before, asked = Paired(np.full(40, 100.0), np.full(40, 100.0), np.zeros(40)), []

    def candidates(*returns: float) -> Iterator[Candidate]:
        for earned in returns:
            asked.append(earned)
            yield Candidate("a", lambda _, own=earned: own, before, 120.0, 0.02)

    assert len(certify(candidates(100.0, 99.0), lambda _: 100.0, lambda _: 0.0, KEEP, range(200))) == 1
    assert len(certify(candidates(50.0, 99.0), lambda _: 100.0, lambda _: 0.0, KEEP, range(200))) == 2
    assert asked == [100.0, 50.0, 99.0]


def test_a_certificate_says_what_it_rests_on() -> None:
    (certificate,) = procedure(normal, [1.0], 3)
    count = len(certificate.episodes)
    assert certificate.seeds == tuple(range(20, 20 + count))
    assert certificate.keep == KEEP
    bound = certificate.lower_bound
    assert bound is not None
    assert certificate.retention is not None
    assert KEEP <= bound <= certificate.retention


def test_an_undecided_size_has_a_bound_below_the_threshold() -> None:
    (certificate,) = procedure(normal, [0.951], 3, episodes=60)
    assert certificate.verdict is Verdict.UNDECIDED
    assert len(certificate.episodes) == 60
    assert certificate.lower_bound is not None
    assert certificate.lower_bound < KEEP


def test_teacher_and_random_policy_play_a_seed_once_however_many_sizes_are_tested() -> None:
    played: list[int] = []

    def dense(seed: int) -> float:
        played.append(seed)
        return 100.0

    before = Paired(np.full(40, 100.0), np.full(40, 100.0), np.zeros(40))
    sizes = {"a": 94.9, "b": 100.0}
    candidates = [Candidate(name, lambda _, own=own: own, before, 120.0, 0.02) for name, own in sizes.items()]
    found = certify(candidates, dense, lambda _: 0.0, KEEP, range(200))
    assert [one.verdict for one in found] == [Verdict.BELOW, Verdict.CERTIFIED]
    assert played == list(range(max(len(one.episodes) for one in found)))


def test_one_unlucky_episode_of_the_teacher_is_no_reason_to_lose_all() -> None:
    before = Paired(np.full(5, 100.0), np.full(5, 100.0), np.zeros(5))
    candidate = Candidate("a", lambda _: 1.0, before, 120.0)
    (found,) = certify([candidate], lambda _: 0.0, lambda _: 1.0, KEEP, range(30), over=lambda _: True)
    assert found.verdict is Verdict.UNDECIDED
    assert found.retention is None


def test_an_environment_that_fails_under_a_policy_ruins_it_and_the_next_is_tested() -> None:
    def fails(seed: int) -> float:
        if seed == 7:
            raise FailedEpisodeError("environment 'X' failed")
        return 100.0

    before = Paired(np.full(50, 100.0), np.full(50, 100.0), np.zeros(50))
    candidates = [
        Candidate("small", fails, before, 110.0, 0.03),
        Candidate("large", lambda _: 100.0, before, 110.0, 0.02),
    ]
    small, large = certify(candidates, lambda _: 100.0, lambda _: 0.0, 0.95, range(300))
    assert (small.verdict, small.failure, len(small.episodes)) == (Verdict.RUINED, "environment 'X' failed", 7)
    assert small.seeds == tuple(range(7))
    assert (large.verdict, large.failure) == (Verdict.CERTIFIED, "")


def test_an_environment_that_fails_under_the_teacher_decides_nothing() -> None:
    def fails(seed: int) -> float:
        raise FailedEpisodeError("environment 'X' failed")

    before = Paired(np.full(50, 100.0), np.full(50, 100.0), np.zeros(50))
    [found] = certify([Candidate("small", lambda _: 100.0, before, 110.0)], fails, lambda _: 0.0, 0.95, range(300))
    assert (found.verdict, found.failure, len(found.episodes)) == (Verdict.UNDECIDED, "environment 'X' failed", 0)
    assert (found.retention, found.lower_bound) == (None, None)
