"""Selection, confirmation and certificates together: how often does what is at the threshold get a certificate?"""

from __future__ import annotations

import numpy as np
import pytest
from draws import DRAWS, KEEP, Draw, Teacher, crashes, jackpots, normal, steady, world_name
from simulations import LATER, NETWORKS, simulated_compression

REPETITIONS = 500
USUAL = [(steady, draw) for draw in DRAWS[:2]]
WORLDS = [*USUAL, (steady, crashes(7.0)), (jackpots(50.0), normal)]
"""Some of the worlds; ``benchmarks/honesty.py`` has all."""


@pytest.mark.parametrize("world", WORLDS, ids=world_name)
def test_eight_networks_at_the_threshold_get_a_certificate_in_five_of_a_hundred_at_most(
    world: tuple[Teacher, Draw],
) -> None:
    found = [simulated_compression(*world, seed) for seed in range(REPETITIONS)]
    wrong = sum(any(certificate.certified for _, certificate in tried) for tried in found)
    assert wrong <= REPETITIONS * 0.05 + 2.33 * (REPETITIONS * 0.05 * 0.95) ** 0.5
    if world in USUAL:  # luck has chosen most of them
        assert np.mean([tried[0][0].retention > KEEP for tried in found]) > 0.5


def test_nor_do_smaller_ones_that_are_found_after_a_certificate() -> None:
    found = [simulated_compression(steady, DRAWS[1], seed, first=1.0) for seed in range(REPETITIONS)]
    later = [[certificate for one, certificate in tried if one.parameters in LATER] for tried in found]
    assert np.mean([len(tested) > 0 for tested in later]) > 0.5
    assert np.mean([any(one.parameters in NETWORKS and own.certified for one, own in tried) for tried in found]) > 0.9
    assert np.mean([any(own.certified for own in tested) for tested in later]) <= 0.05


@pytest.mark.parametrize("draw", DRAWS[:3], ids=lambda draw: draw.__name__)
def test_networks_that_keep_everything_are_certified_mostly(draw: Draw) -> None:
    found = [simulated_compression(steady, draw, seed, 1.0)[-1][1] for seed in range(40)]
    assert np.mean([certificate.certified for certificate in found]) >= 0.9
