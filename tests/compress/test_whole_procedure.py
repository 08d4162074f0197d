"""Selection, second look and certificates together: how often does what is at the threshold get a certificate?"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from draws import DRAWS, KEEP, Draw, mean_of
from torch import nn

from prunekit.bench.stats import Array
from prunekit.compress.certify import Returns, Verdict
from prunekit.compress.points import Baseline, Point
from prunekit.compress.settings import CompressSettings, SearchSettings
from prunekit.compress.trial import Players, trial
from prunekit.policy.actor import Actor
from prunekit.policy.heads import ClipHead

SIZES = range(10, 90, 10)
# Without a margin luck chooses more often, and more candidates are tested, than with the default one.
SEARCH = SearchSettings(keep=KEEP, margin=0.0)
SETTINGS = CompressSettings(SEARCH, episodes=200)
SELECTED, LOOKED = SEARCH.selection_episodes, SEARCH.confirmation_episodes
FRESH = range(SETTINGS.first_seed, SETTINGS.first_seed + SETTINGS.episodes)


def by_seed(returns: Array) -> Returns:
    """Return those of the selection's episodes, the second look's and the certificate's by their seeds."""
    starts = {SEARCH.confirmation_seeds: SELECTED, FRESH: SELECTED + LOOKED}

    def earned(seed: int) -> float:
        seeds = next(seeds for seeds in starts if seed in seeds)
        return float(returns[starts[seeds] + seed - seeds[0]])

    return earned


def procedure(draw: Draw, retention: float, seed: int) -> list[tuple[Point, Verdict]]:
    """Judge eight networks of one true retention, then look again and certify."""
    generator, count = np.random.default_rng(seed), SELECTED + LOOKED + SETTINGS.episodes
    dense = generator.normal(mean_of(1.0), 30.0, count)
    random = generator.normal(mean_of(0.0), 5.0, count)
    baseline = Baseline(dense[:SELECTED], random[:SELECTED])
    returns: dict[int, Array] = {size: draw(generator, retention, count) for size in SIZES}
    with torch.random.fork_rng(devices=[]):
        actor = Actor(nn.Sequential(nn.Linear(1, 1)), ClipHead((-1.0,), (1.0,)))
    points = []
    for size, own in returns.items():
        played = baseline.paired(own[:SELECTED].tolist())
        kept = float(baseline.kept(played).mean())
        points.append(Point(actor, (size,), size, played, kept, kept >= KEEP + SEARCH.margin, False, 0, 0))
    players = Players(lambda point: by_seed(returns[point.parameters]), by_seed(dense), by_seed(random))
    tried = trial(points, baseline, players, SETTINGS, time.monotonic() + 600.0, [])
    return [(point, certificate.verdict) for point, certificate in tried]


@pytest.mark.parametrize("draw", DRAWS, ids=lambda draw: draw.__name__)
def test_eight_networks_at_the_threshold_get_a_certificate_in_five_of_a_hundred_at_most(draw: Draw) -> None:
    repetitions = 500
    found = [procedure(draw, KEEP, seed) for seed in range(repetitions)]
    wrong = sum(any(verdict is Verdict.CERTIFIED for _, verdict in tried) for tried in found)
    assert wrong <= repetitions * 0.05 + 2.33 * (repetitions * 0.05 * 0.95) ** 0.5
    # Luck has chosen most of them, and second candidates were tested.
    assert np.mean([tried[0][0].retention > KEEP for tried in found]) > 0.5
    assert np.mean([len(tried) == 2 for tried in found]) > 0.5


@pytest.mark.parametrize("draw", DRAWS[:3], ids=lambda draw: draw.__name__)
def test_networks_that_keep_everything_are_certified_mostly(draw: Draw) -> None:
    found = [procedure(draw, 1.0, seed)[-1][1] for seed in range(40)]
    assert np.mean([verdict is Verdict.CERTIFIED for verdict in found]) >= 0.9
