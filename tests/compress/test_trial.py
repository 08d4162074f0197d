"""The trial of what a search found: who is tested, when, and with which share of the level."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from prunekit.compression.budget import budget_of
from prunekit.compression.candidates import Baseline, Candidate
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.trial import Players, TrialShares, claim_of, trial
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
    return trial(
        points,
        BASELINE,
        players,
        SETTINGS,
        budget_of(replace(SETTINGS, seconds=max(seconds, 1e-9)), lambda: 0),
        [shown],
        shares=shares,
    ), shown


def test_the_smallest_is_tested_alone_where_it_is_certified() -> None:
    ((chosen, certificate),), shown = tried([point(10, 1.0), point(30, 1.0)], {10: 1.0})
    assert (chosen.parameters, certificate.verdict, certificate.alpha) == (10, Verdict.CERTIFIED, 0.03)
    assert shown.confirmed == {"10": 20}


def test_all_of_the_level_is_for_one_that_nothing_larger_stands_beside() -> None:
    ((chosen, certificate),), _ = tried([point(10, 1.0), point(11, 1.0)], {10: 1.0})
    assert (chosen.parameters, certificate.alpha) == (10, ALPHA)


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
