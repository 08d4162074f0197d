"""The trial of what a search found: who is tested, when, and with which share of the level."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from prunekit.compression.budget import Budget, budget_of
from prunekit.compression.candidates import Baseline, Candidate
from prunekit.compression.planning import Pace, Plan
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.trial import Players, TrialSettings, TrialShares, claim_of, trial, trial_of_smaller
from prunekit.compression.trials import trials
from prunekit.policy.actor import Actor
from prunekit.policy.heads import ClipHead
from prunekit.stats.betting import Paired
from prunekit.stats.certificate import Certificate, Verdict
from prunekit.stats.certify import Returns
from prunekit.stats.claim import ALPHA, Claim
from prunekit.stats.clipping import ReturnRange
from prunekit.stats.frequency import faultless_episodes

ONES = np.ones(80)
BASELINE = Baseline(teacher=100.0 * ONES, random=0.0 * ONES)
SETTINGS = CompressSettings(search=SearchSettings(), episodes=200)
SHARES = TrialShares()
FREE, EACH = Pace(teacher=0.0, random=0.0, small=0.0), Pace(teacher=1.0, random=1.0, small=1.0)


def point(size: int, retention: float) -> Candidate:
    played = Paired(small=100.0 * retention * ONES, teacher=100.0 * ONES, random=0.0 * ONES)
    with torch.random.fork_rng(devices=[]):
        actor = Actor(nn.Sequential(nn.Linear(1, 1)), ClipHead(low=(-1.0,), high=(1.0,)))
    good = retention > 0.96
    return Candidate(actor=actor, hidden=(size,), parameters=size, played=played, retention=retention, good=good)


class Recorded:
    """A display that remembers whom it showed."""

    def __init__(self) -> None:
        self.confirmed: dict[str, int] = {}
        self.certified: dict[str, int] = {}

    def started(self, dense: float, random: float) -> None:
        raise AssertionError

    def judged(self, points: Sequence[object]) -> None:
        raise AssertionError

    def confirming(self, name: str, episodes: int) -> None:
        self.confirmed[name] = episodes

    def certifying(self, name: str, episodes: int) -> None:
        self.certified[name] = episodes


def tried(
    points: Sequence[Candidate],
    truths: Mapping[int, float],
    seconds: float = 60.0,
    playing: Callable[[str, int], object] = lambda *_: None,
    shares: TrialShares = SHARES,
    pace: Pace = FREE,
    budget: Budget | None = None,
    fresh: Mapping[int, float] | None = None,
    run: Callable[[Sequence[Candidate], TrialSettings], list[tuple[Candidate, Certificate]]] = trial,
) -> tuple[list[tuple[Candidate, Certificate]], Recorded]:
    """Return (who was tested with which certificate, whom the display showed), with true retentions as given.

    ``playing`` is told who plays which seed. Where ``fresh`` says so, the truth of a certificate's episodes is another.
    """

    def plays(name: str, earned: float, then: float | None = None) -> Returns:
        def returns(seed: int) -> float:
            playing(name, seed)
            is_fresh = seed >= SETTINGS.first_seed and seed < SETTINGS.search.first_seed
            return then if then is not None and is_fresh else earned

        return returns

    def student(one: Candidate) -> Returns:
        then = (fresh or {}).get(one.parameters)
        return plays(str(one.parameters), 100.0 * truths[one.parameters], None if then is None else 100.0 * then)

    shown = Recorded()
    players = Players(
        returns_of=student,
        teacher=plays("dense", 100.0),
        random=plays("random", 0.0),
    )
    plan = plan_of(pace, budget or budget_of(replace(SETTINGS, seconds=max(seconds, 1e-9)), lambda: 0))
    given = TrialSettings(
        baseline=BASELINE, players=players, settings=SETTINGS, plan=plan, displays=[shown], shares=shares
    )
    return run(points, given), shown


def plan_of(pace: Pace, budget: Budget | None = None) -> Plan:
    return Plan(
        budget=budget or budget_of(SETTINGS, lambda: 0),
        pace=pace,
        keep=0.95,
        clip_range=claim_of(SETTINGS, BASELINE).clip_range,
        episodes=SETTINGS.episodes,
        confirming=20,
    )


def counted(total: float) -> tuple[Budget, Callable[[str, int], None]]:
    """Return (a budget of so many episodes, what counts one that is played, once each)."""
    played: set[tuple[str, int]] = set()
    budget = Budget(total=total, spent=lambda: float(len(played)), by_steps=True)
    return budget, lambda name, seed: played.add((name, seed))


def test_the_smallest_is_tested_alone_where_it_is_certified() -> None:
    ((chosen, certificate),), shown = tried([point(10, 1.0), point(30, 1.0)], {10: 1.0})
    assert (chosen.parameters, certificate.verdict, certificate.alpha) == (10, Verdict.CERTIFIED, 0.03)
    assert shown.confirmed == {"10": 20}


def test_all_of_the_level_is_for_one_that_nothing_larger_stands_beside() -> None:
    ((chosen, certificate),), _ = tried([point(10, 1.0), point(10, 1.0)], {10: 1.0})
    assert (chosen.parameters, certificate.alpha) == (10, ALPHA)


def test_a_level_is_left_for_another_trial_where_one_follows() -> None:
    for points in ([point(10, 1.0)], [point(10, 1.0), point(11, 1.0)], [point(10, 0.5)]):
        ((_, certificate),), _ = tried(points, {10: 1.0}, run=partial(trial, another_follows=True))
        assert certificate.alpha == SHARES.alphas[0]


def test_a_smaller_one_is_tested_at_what_is_left_of_the_level_on_new_episodes() -> None:
    points = [point(4, 0.5), point(6, 0.99), point(8, 1.0), point(10, 1.0)]
    found, shown = tried(points, {6: 0.9, 8: 1.0}, run=partial(trial_of_smaller, points[-1]))
    ((chosen, certificate),) = found
    assert (chosen.parameters, certificate.verdict, certificate.alpha) == (8, Verdict.CERTIFIED, SHARES.alphas[1])
    assert set(shown.confirmed) == {"6", "8"}
    first = set(range(SETTINGS.first_seed, SETTINGS.first_seed + SETTINGS.episodes))
    assert certificate.seeds
    assert not first & set(certificate.seeds)
    assert tried(points[:1], {}, run=partial(trial_of_smaller, points[-1]))[0] == []


def test_a_larger_one_is_looked_at_again_only_if_the_smallest_fails() -> None:
    found, shown = tried(
        [point(10, 0.98), point(20, 1.0), point(30, 0.99), point(40, 0.5)],
        {10: 0.99, 20: 0.98, 30: 1.0},
        fresh={10: 0.95},
    )
    assert [one.parameters for one, _ in found] == [10, 20]
    assert [one.verdict for _, one in found] == [Verdict.UNDECIDED, Verdict.CERTIFIED]
    assert math.fsum(one.alpha for _, one in found) == pytest.approx(ALPHA)
    assert set(shown.confirmed) == {"10", "20", "30"}
    assert len(found[1][0].played) == 80 + 20


def test_certificates_are_of_seeds_that_nobody_has_played() -> None:
    played: list[tuple[str, int]] = []
    points = [point(10, 0.99), point(20, 1.0)]
    found, shown = tried(
        points,
        {10: 0.99, 20: 0.98},
        playing=lambda *who: played.append(who),
        fresh={10: 0.95},
    )
    assert set(shown.certified) == set(shown.confirmed) == {"10", "20"}
    fresh = set(range(SETTINGS.first_seed, SETTINGS.first_seed + SETTINGS.episodes))
    for chosen, certificate in found:
        name, seeds = str(chosen.parameters), list(certificate.seeds)
        assert set(seeds) <= fresh
        assert [seed for who, seed in played if who == name and seed in fresh] == seeds
    looked = {seed for _, seed in played} - fresh
    assert looked
    assert looked <= set(SETTINGS.search.confirmation_seeds)
    assert not looked & set(SETTINGS.search.selection_seeds)


def test_where_none_is_good_twice_the_most_promising_by_both_looks_is_tested() -> None:
    found, shown = tried([point(10, 0.99), point(20, 0.98), point(30, 0.98)], {10: 0.7, 20: 0.96, 30: 0.955})
    ((chosen, certificate),) = found
    assert (chosen.parameters, certificate.alpha) == (20, ALPHA)
    assert set(shown.confirmed) == {"10", "20", "30"}
    assert len(chosen.played) == 80 + SETTINGS.search.confirmation_episodes


def test_where_none_is_good_the_best_is_tested() -> None:
    ((chosen, certificate),), shown = tried([point(10, 0.7), point(30, 0.9), point(20, 0.8)], {30: 0.9})
    assert (chosen.parameters, certificate.verdict, certificate.alpha) == (30, Verdict.BELOW, ALPHA)
    assert shown.confirmed == {}


def test_without_time_there_is_one_episode() -> None:
    found, _ = tried([point(10, 1.0), point(30, 1.0)], {10: 1.0, 30: 1.0}, seconds=-1.0)
    assert [(one.name, len(one.episodes), one.verdict) for _, one in found] == [("10", 1, Verdict.UNDECIDED)]


@pytest.mark.parametrize(("total", "expected"), [(1_000.0, 10), (655.0, 20), (480.0, 30)])
def test_one_whose_certificate_does_not_fit_is_passed_over_for_a_larger_one(total: float, expected: int) -> None:
    truths = {10: 0.98, 20: 0.99, 30: 1.0}
    budget, playing = counted(total)
    points = [point(size, truth) for size, truth in truths.items()]
    found, _ = tried(points, truths, playing=playing, pace=EACH, budget=budget)
    assert [(one.parameters, certificate.certified) for one, certificate in found] == [(expected, True)]


@pytest.mark.parametrize("total", [1_000.0, 660.0])
def test_where_there_is_not_enough_for_two_the_one_that_is_tested_has_all_of_it(total: float) -> None:
    budget, playing = counted(total)
    found, _ = tried(
        [point(10, 0.99), point(30, 0.99)],
        {10: 0.99, 30: 0.99},
        playing=playing,
        pace=EACH,
        budget=budget,
        fresh={10: 0.955},
    )
    told = [(one.parameters, certificate.alpha, certificate.certified) for one, certificate in found]
    assert told == ([(10, 0.03, False), (30, 0.02, True)] if total == 1_000.0 else [(10, ALPHA, False)])
    assert total - budget.spent() < 3.0 or total == 1_000.0


def test_a_confirmation_leaves_what_the_certificate_needs() -> None:
    needed = 3.0 * episodes(1.0, ALPHA)
    for total, confirmed in ((needed + 200.0, 20), (needed + 31.0, 10), (needed - 60.0, 0)):
        budget, playing = counted(total)
        ((_, certificate),), shown = tried(
            [point(10, 1.0), point(11, 1.0)], {10: 1.0, 11: 1.0}, playing=playing, pace=EACH, budget=budget
        )
        assert abs(shown.confirmed.get("10", 0) - confirmed) <= 3
        assert certificate.certified


def episodes(retention: float, alpha: float = SHARES.alphas[0]) -> float:
    """Return with how many episodes a certificate of a network is planned that always keeps so much."""
    return plan_of(Pace(teacher=0.5, random=0.0, small=0.5)).first(point(1, retention).played, alpha)


def test_a_claim_about_failures_needs_its_episodes_at_every_level() -> None:
    played = point(1, 1.0).played
    needed = {alpha: faultless_episodes(0.02, alpha) for alpha in (ALPHA, *SHARES.alphas)}
    assert 150 < needed[ALPHA] < needed[0.03] < needed[0.02] < 300
    for allowed in (1_000, needed[0.02], needed[0.03], needed[ALPHA]):
        plan = replace(plan_of(FREE), pace=EACH, episodes=allowed, max_failures=0.02)
        assert plan.allows_two == (allowed >= needed[0.02])
        for alpha, count in needed.items():
            assert plan.first(played, alpha) == (3.0 * min(1.6 * count, allowed) if allowed >= count else math.inf)
        assert math.isfinite(plan.second(played)) == plan.allows_two


def test_no_second_trial_follows_whose_level_is_too_little_for_the_episodes_allowed() -> None:
    search: Any = SimpleNamespace(promises=True, candidates=[point(10, 1.0)], go_on=None)
    allowed = faultless_episodes(0.02, SHARES.alphas[0])

    def run(_: Sequence[Candidate], given: TrialSettings) -> list[tuple[Candidate, Certificate]]:
        plan = replace(given.plan, episodes=allowed, max_failures=0.02)
        settings = replace(given.settings, episodes=allowed, max_failures=0.02)
        return list(trials(search, replace(given, plan=plan, settings=settings)))

    ((_, certificate),), _ = tried([], {10: 1.0}, run=run)
    assert (certificate.alpha, certificate.certified) == (ALPHA, True)


def test_the_range_is_fixed_by_the_selection_or_by_the_settings() -> None:
    assert claim_of(SETTINGS, BASELINE) == Claim(keep=0.95, clip_range=ReturnRange(low=-10.0, high=110.0))
    own = ReturnRange(low=0.0, high=50.0)
    settings = replace(SETTINGS, clip_range=own, max_failures=0.05)
    assert claim_of(settings, BASELINE) == Claim(keep=0.95, clip_range=own, max_failures=0.05)


@pytest.mark.parametrize(
    ("promises", "before", "total", "smaller", "sizes", "alphas"),
    [
        (True, 0.0, 400.0, 1.0, [10, 5], [0.03, 0.02]),  # the smaller one is certified, and is what came out
        (True, 0.0, 400.0, 0.98, [5, 10], [0.02, 0.03]),  # it is not
        (True, 0.0, 400.0, 0.5, [10], [0.03]),  # its confirmation shows that it is no good
        (True, 0.0, 100.0, 1.0, [10], [0.03]),  # too little is left for another trial
        (True, 190.0, 400.0, 1.0, [10], [0.03]),  # after the first trial it is less than half
        (True, 210.0, 400.0, 1.0, [10], [ALPHA]),  # it was less than half before
        (False, 0.0, 400.0, 1.0, [10], [ALPHA]),  # there was nothing more to find
    ],
)
def test_a_search_that_leaves_a_good_deal_goes_on_and_one_smaller_network_is_tested(
    promises: bool, before: float, total: float, smaller: float, sizes: list[int], alphas: list[float]
) -> None:
    spent, reserves = [before], list[float]()
    search: Any = SimpleNamespace(promises=promises, candidates=[point(10, 1.0)])

    def go_on(reserve: float) -> None:
        reserves.append(reserve)
        search.candidates.append(point(5, 1.0))

    def playing(_: str, __: int) -> None:
        spent[0] += 0.2

    search.go_on = go_on
    found, _ = tried(
        [],
        {10: 1.0, 5: smaller},
        playing=playing,
        budget=Budget(total=total, spent=lambda: spent[0], by_steps=False),
        fresh={5: 0.955} if smaller == 0.98 else {},
        run=lambda _, given: list(trials(search, given)),
    )
    assert [one.parameters for one, _ in found] == sizes
    assert [one.alpha for _, one in found] == alphas
    assert found[-1][1].certified
    assert all(0.0 < reserve < total / 2 for reserve in reserves)
    assert len(reserves) == (promises and not before and total > 200.0)
