"""Certificates of simulated policies whose retention is known: one test alone, and the whole procedure of compress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from draws import KEEP, Draw, Teacher, at_the_threshold, random_policy
from torch import nn

from prunekit.compression.budget import Budget
from prunekit.compression.candidates import Baseline, Candidate
from prunekit.compression.planning import Pace, Plan
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.trial import Players, TrialSettings, claim_of
from prunekit.compression.trials import trials
from prunekit.policy.actor import Actor
from prunekit.policy.heads import ClipHead
from prunekit.stats.betting import Paired
from prunekit.stats.bootstrap import Array
from prunekit.stats.certificate import Certificate
from prunekit.stats.certify import Candidate as TestedPolicy
from prunekit.stats.certify import Returns, certify
from prunekit.stats.claim import ALPHA, Claim
from prunekit.stats.clipping import range_of

SELECTION = 20
NETWORKS, LATER = range(40, 120, 10), (10, 20, 30)
"""Sizes of the networks that a simulated search found, and of those that it finds where it goes on."""
# Without a margin luck chooses more often, and more candidates are tested, than with the default one.
SEARCH = SearchSettings(keep=KEEP, margin=0.0)
SETTINGS = CompressSettings(search=SEARCH, episodes=600)
BUDGET = 6_000
"""Episodes that all policies together may play after the search: three times what the first certificate may take."""


def simulated_certificates(
    teacher: Teacher,
    draw: Draw,
    retentions: Sequence[float | None],
    seed: int,
    episodes: int = 300,
    should_stop: Callable[[int], bool] = lambda _: False,
    max_failures: float | None = None,
) -> list[Certificate]:
    """Select on ``SELECTION`` episodes, then certify candidates of these retentions on fresh ones, with equal shares.

    A retention of None is that at which the clipped one is exactly what is to be kept.
    """
    generator, count = np.random.default_rng(seed), SELECTION + episodes
    dense, random = teacher(generator, count), random_policy(generator, count)
    clip_range = range_of(dense[:SELECTION], random[:SELECTION])
    found = [at_the_threshold(teacher, draw, clip_range) if one is None else one for one in retentions]
    played = [draw(generator, retention, count) for retention in found]
    candidates = [
        TestedPolicy(
            name=str(index),
            play=_by_seed(own, {range(SELECTION, count): SELECTION}),
            before=Paired(small=own[:SELECTION], teacher=dense[:SELECTION], random=random[:SELECTION]),
            alpha=ALPHA / len(retentions),
        )
        for index, own in enumerate(played)
    ]
    claim = Claim(keep=KEEP, clip_range=clip_range, max_failures=max_failures)
    return certify(
        candidates,
        lambda seed: float(dense[seed]),
        lambda seed: float(random[seed]),
        claim,
        range(SELECTION, count),
        should_stop=should_stop,
    )


def simulated_compression(
    teacher: Teacher, draw: Draw, seed: int, retention: float | None = None, *, first: float | None = None
) -> list[tuple[Candidate, Certificate]]:
    """Judge eight networks of one true retention, then look again and certify, as ``compress`` does.

    Without a ``retention`` that of clipped returns is exactly the one to be kept, whatever the range came to be. Where
    one is certified early, the search goes on and finds three smaller ones, of the same retention. That of the eight
    is ``first``, where this is given.
    """
    selected, looked, spent = SEARCH.selection_episodes, SEARCH.confirmation_episodes, [0]
    generator, count = np.random.default_rng(seed), selected + looked + 2 * SETTINGS.episodes
    dense, random = teacher(generator, count), random_policy(generator, count)
    baseline = Baseline(teacher=dense[:selected], random=random[:selected])
    if retention is None:
        retention = at_the_threshold(teacher, draw, claim_of(SETTINGS, baseline).clip_range)
    returns: dict[int, Array] = {
        size: draw(generator, retention if first is None or size in LATER else first, count)
        for size in (*NETWORKS, *LATER)
    }
    with torch.random.fork_rng(devices=[]):
        actor = Actor(nn.Sequential(nn.Linear(1, 1)), ClipHead(low=(-1.0,), high=(1.0,)))
    points = []
    for size, own in returns.items():
        played = baseline.paired(own[:selected].tolist())
        kept = float(baseline.kept(played).mean())
        good = kept >= KEEP + SEARCH.margin
        points.append(Candidate(actor=actor, hidden=(size,), parameters=size, played=played, retention=kept, good=good))
    fresh = range(SETTINGS.first_seed, SETTINGS.first_seed + 2 * SETTINGS.episodes)
    starts = {SEARCH.confirmation_seeds: selected, fresh: selected + looked}
    players = Players(
        returns_of=lambda point: _by_seed(returns[point.parameters], starts, spent),
        teacher=_by_seed(dense, starts, spent),
        random=_by_seed(random, starts, spent),
    )
    claim = claim_of(SETTINGS, baseline)
    plan = Plan(
        budget=Budget(total=float(BUDGET), spent=lambda: float(spent[0]), by_steps=True),
        pace=Pace(teacher=1.0, random=1.0, small=1.0),
        keep=claim.keep,
        clip_range=claim.clip_range,
        episodes=SETTINGS.episodes,
        confirming=looked // 2,
    )
    search = _Found(candidates=points[: len(NETWORKS)], later=points[len(NETWORKS) :])
    found = trials(search, TrialSettings(baseline=baseline, players=players, settings=SETTINGS, plan=plan))
    return list(found)


@final
@dataclass(kw_only=True)
class _Found:
    """A search that finds what comes ``later`` when it goes on."""

    candidates: list[Candidate]
    later: list[Candidate]
    promises: bool = True

    def go_on(self, _: float) -> None:
        """Find the rest."""
        self.candidates = [*self.candidates, *self.later]


def _by_seed(returns: Array, starts: dict[range, int], spent: list[int] | None = None) -> Returns:
    """Return the return of an episode by its seed; ``starts`` say where those of some seeds begin."""

    def earned(seed: int) -> float:
        if spent is not None:
            spent[0] += 1
        seeds = next(seeds for seeds in starts if seed in seeds)
        return float(returns[starts[seeds] + seed - seeds[0]])

    return earned
