"""Certificates of simulated policies whose retention is known: one test alone, and the whole procedure of compress."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from draws import KEEP, Draw, Teacher, at_the_threshold, random_policy
from torch import nn

from prunekit.compression.budget import budget_of
from prunekit.compression.candidates import Baseline, Candidate
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.trial import Players, TrialSettings, claim_of, trial
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
NETWORKS = range(10, 90, 10)
"""Sizes of the networks that a simulated search found."""
# Without a margin luck chooses more often, and more candidates are tested, than with the default one.
SEARCH = SearchSettings(keep=KEEP, margin=0.0)
SETTINGS = CompressSettings(search=SEARCH, episodes=200, seconds=600.0)


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
    teacher: Teacher, draw: Draw, seed: int, retention: float | None = None
) -> list[tuple[Candidate, Certificate]]:
    """Judge eight networks of one true retention, then look again and certify, as ``compress`` does.

    Without a ``retention`` that of clipped returns is exactly the one to be kept, whatever the range came to be.
    """
    selected, looked = SEARCH.selection_episodes, SEARCH.confirmation_episodes
    generator, count = np.random.default_rng(seed), selected + looked + SETTINGS.episodes
    dense, random = teacher(generator, count), random_policy(generator, count)
    baseline = Baseline(teacher=dense[:selected], random=random[:selected])
    if retention is None:
        retention = at_the_threshold(teacher, draw, claim_of(SETTINGS, baseline).clip_range)
    returns: dict[int, Array] = {size: draw(generator, retention, count) for size in NETWORKS}
    with torch.random.fork_rng(devices=[]):
        actor = Actor(nn.Sequential(nn.Linear(1, 1)), ClipHead(low=(-1.0,), high=(1.0,)))
    points = []
    for size, own in returns.items():
        played = baseline.paired(own[:selected].tolist())
        kept = float(baseline.kept(played).mean())
        good = kept >= KEEP + SEARCH.margin
        points.append(Candidate(actor=actor, hidden=(size,), parameters=size, played=played, retention=kept, good=good))
    fresh = range(SETTINGS.first_seed, SETTINGS.first_seed + SETTINGS.episodes)
    starts = {SEARCH.confirmation_seeds: selected, fresh: selected + looked}
    players = Players(
        returns_of=lambda point: _by_seed(returns[point.parameters], starts),
        teacher=_by_seed(dense, starts),
        random=_by_seed(random, starts),
    )
    budget = budget_of(SETTINGS, lambda: 0)
    return trial(points, TrialSettings(baseline=baseline, players=players, settings=SETTINGS, budget=budget))


def _by_seed(returns: Array, starts: dict[range, int]) -> Returns:
    """Return the return of an episode by its seed; ``starts`` say where those of some seeds begin."""

    def earned(seed: int) -> float:
        seeds = next(seeds for seeds in starts if seed in seeds)
        return float(returns[starts[seeds] + seed - seeds[0]])

    return earned
