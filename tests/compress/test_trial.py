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
from prunekit.compression.run import _tried
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.trial import Players, TrialSettings, TrialShares, claim_of, trial, trial_of_smaller
from prunekit.policy.actor import Actor
from prunekit.policy.heads import ClipHead
from prunekit.stats.betting import Paired
from prunekit.stats.certificate import Certificate, Verdict
from prunekit.stats.certify import Returns
from prunekit.stats.claim import ALPHA, Claim
from prunekit.stats.clipping import ReturnRange

ONES = np.ones(80)
BASELINE = Baseline(teacher=100.0 * ONES, random=0.0 * ONES)
SETTINGS = CompressSettings(search=SearchSettings(), episodes=200)
SHARES = TrialShares()


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
    run: Callable[[Sequence[Candidate], TrialSettings], list[tuple[Candidate, Certificate]]] = trial,
) -> tuple[list[tuple[Candidate, Certificate]], Recorded]:
    """Return (who was tested with which certificate, whom the display showed), with true retentions as given.

    ``playing`` is told who plays which seed.
    """

    def plays(name: str, earned: float) -> Returns:
        def returns(seed: int) -> float:
            playing(name, seed)
            return earned

        return returns

    shown = Recorded()
    players = Players(
        returns_of=lambda one: plays(str(one.parameters), 100.0 * truths[one.parameters]),
        teacher=plays("dense", 100.0),
        random=plays("random", 0.0),
    )
    budget = budget_of(replace(SETTINGS, seconds=max(seconds, 1e-9)), lambda: 0)
    given = TrialSettings(
        baseline=BASELINE, players=players, settings=SETTINGS, budget=budget, displays=[shown], shares=shares
    )
    return run(points, given), shown


def test_the_smallest_is_tested_alone_where_it_is_certified() -> None:
    ((chosen, certificate),), shown = tried([point(10, 1.0), point(30, 1.0)], {10: 1.0})
    assert (chosen.parameters, certificate.verdict, certificate.alpha) == (10, Verdict.CERTIFIED, 0.03)
    assert shown.confirmed == {"10": 20}


def test_all_of_the_level_is_for_one_that_nothing_larger_stands_beside() -> None:
    ((chosen, certificate),), _ = tried([point(10, 1.0), point(11, 1.0)], {10: 1.0})
    assert (chosen.parameters, certificate.alpha) == (10, ALPHA)


def test_a_level_is_left_for_another_trial_where_one_follows() -> None:
    for points in ([point(10, 1.0)], [point(10, 1.0), point(11, 1.0)], [point(10, 0.5)]):
        ((_, certificate),), _ = tried(points, {10: 1.0}, run=partial(trial, another_follows=True))
        assert certificate.alpha == SHARES.alphas[0]


def test_a_smaller_one_is_tested_at_what_is_left_of_the_level_on_new_episodes() -> None:
    points = [point(4, 0.5), point(6, 0.97), point(8, 1.0), point(10, 1.0)]
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
        [point(10, 0.97), point(20, 1.0), point(30, 0.99), point(40, 0.5)],
        {10: 0.97, 20: 0.98, 30: 1.0},
        shares=TrialShares(reserved=1.0),  # no time for the smallest
    )
    assert [one.parameters for one, _ in found] == [10, 20]
    assert [one.verdict for _, one in found] == [Verdict.UNDECIDED, Verdict.CERTIFIED]
    assert math.fsum(one.alpha for _, one in found) == pytest.approx(ALPHA)
    assert set(shown.confirmed) == {"10", "20", "30"}
    assert len(found[1][0].played) == 80 + 20


def test_certificates_are_of_seeds_that_nobody_has_played() -> None:
    played: list[tuple[str, int]] = []
    points = [point(10, 0.97), point(20, 1.0)]
    found, shown = tried(
        points,
        {10: 0.97, 20: 0.98},
        playing=lambda *who: played.append(who),
        shares=TrialShares(alphas=(1e-9, 0.02)),  # too little for the smallest to be certified
    )
    assert set(shown.certified) == set(shown.confirmed) == {"10", "20"}
    fresh = set(range(SETTINGS.first_seed, SETTINGS.first_seed + SETTINGS.episodes))
    for chosen, certificate in found:
        name, seeds = str(chosen.parameters), list(certificate.seeds)
        assert set(seeds) <= fresh
        assert [seed for who, seed in played if who == name and seed in fresh] == seeds
    looked = {seed for _, seed in played} - fresh
    assert looked == set(SETTINGS.search.confirmation_seeds)
    assert not looked & set(SETTINGS.search.selection_seeds)


def test_where_none_is_good_twice_the_most_promising_by_both_looks_is_tested() -> None:
    found, shown = tried([point(10, 0.99), point(20, 0.98), point(30, 0.97)], {10: 0.7, 20: 0.96, 30: 0.955})
    ((chosen, certificate),) = found
    assert (chosen.parameters, certificate.alpha) == (20, ALPHA)
    assert set(shown.confirmed) == {"10", "20", "30"}
    assert len(chosen.played) == 80 + SETTINGS.search.confirmation_episodes


def test_where_none_is_good_the_best_is_tested() -> None:
    ((chosen, certificate),), shown = tried([point(10, 0.7), point(30, 0.9), point(20, 0.8)], {30: 0.9})
    assert (chosen.parameters, certificate.verdict, certificate.alpha) == (30, Verdict.BELOW, ALPHA)
    assert shown.confirmed == {}


def test_without_time_there_is_one_episode_each() -> None:
    found, _ = tried([point(10, 1.0), point(30, 1.0)], {10: 1.0, 30: 1.0}, seconds=-1.0)
    assert [len(one.episodes) for _, one in found] == [1, 1]
    assert {one.verdict for _, one in found} == {Verdict.UNDECIDED}


def test_the_range_is_fixed_by_the_selection_or_by_the_settings() -> None:
    assert claim_of(SETTINGS, BASELINE) == Claim(keep=0.95, clip_range=ReturnRange(low=-10.0, high=110.0))
    own = ReturnRange(low=0.0, high=50.0)
    settings = replace(SETTINGS, clip_range=own, max_failures=0.05)
    assert claim_of(settings, BASELINE) == Claim(keep=0.95, clip_range=own, max_failures=0.05)


@pytest.mark.parametrize(
    ("promises", "total", "smaller", "sizes", "alphas"),
    [
        (True, 400.0, 1.0, [10, 5], [0.03, 0.02]),  # the smaller one is certified, and is what came out
        (True, 400.0, 0.966, [5, 10], [0.02, 0.03]),  # it is not
        (True, 400.0, 0.5, [10], [0.03]),  # its confirmation shows that it is no good
        (True, 100.0, 1.0, [10], [0.03]),  # too little is left for another trial
        (False, 400.0, 1.0, [10], [ALPHA]),  # there was nothing more to find
    ],
)
def test_a_search_that_leaves_a_good_deal_goes_on_and_one_smaller_network_is_tested(
    promises: bool, total: float, smaller: float, sizes: list[int], alphas: list[float]
) -> None:
    spent, reserves = [0.0], list[float]()
    search: Any = SimpleNamespace(promises=promises, candidates=[point(10, 1.0)])

    def go_on(reserve: float) -> None:
        reserves.append(reserve)
        search.candidates.append(point(5, 1.0))

    def playing(_: str, __: int) -> None:
        spent[0] += 0.2

    search.go_on = go_on
    budget = Budget(total=total, spent=lambda: spent[0], by_steps=False)
    found, _ = tried(
        [],
        {10: 1.0, 5: smaller},
        playing=playing,
        run=lambda _, given: _tried(search, replace(given, budget=budget)),
    )
    assert [one.parameters for one, _ in found] == sizes
    assert [one.alpha for _, one in found] == alphas
    assert found[-1][1].certified
    assert all(0.0 < reserve < total / 2 for reserve in reserves)
    assert len(reserves) == (promises and total > 200.0)
