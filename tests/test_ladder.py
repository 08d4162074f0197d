"""The largest disturbance at which a certificate holds: the order, where it ends, and how often it says too much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunekit.disturbances.ladder import climb, largest, levels_named
from prunekit.disturbances.record import Disturbance
from prunekit.errors import InputError

LEVELS = levels_named("obs=0,0.01,0.02,0.05")


@dataclass(frozen=True)
class Said:
    certified: bool


@given(st.lists(st.booleans(), min_size=4, max_size=4))
def test_it_ends_at_the_first_that_is_not_shown(shown: list[bool]) -> None:
    asked: list[Disturbance] = []

    def test(disturbance: Disturbance) -> Said:
        asked.append(disturbance)
        return Said(shown[LEVELS.index(disturbance)])

    rungs = climb(LEVELS, test)
    held = shown.index(False) if False in shown else 4
    assert asked == LEVELS[: held + 1]
    assert [rung.disturbance for rung in rungs] == asked
    best = largest(rungs)
    assert (best is None) == (held == 0)
    assert best is None or best.disturbance == LEVELS[held - 1]


@pytest.mark.parametrize("true_levels", [0, 1, 3])
def test_all_that_is_said_is_wrong_as_seldom_as_one_certificate(true_levels: int) -> None:
    """Claims are true at the first levels alone; a test shows a false one with a probability of 5%."""
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(4000):
        rungs = climb(LEVELS, lambda level: Said(LEVELS.index(level) < true_levels or generator.random() < 0.05))
        best = largest(rungs)
        wrong += best is not None and LEVELS.index(best.disturbance) >= true_levels
    assert wrong / 4000 < 0.05 + 3 * (0.05 * 0.95 / 4000) ** 0.5


def test_levels_are_laid_over_what_is_there_already() -> None:
    assert levels_named("delay=1,2", Disturbance(drop=0.05)) == [
        Disturbance(drop=0.05, delay_steps=1),
        Disturbance(drop=0.05, delay_steps=2),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("wind=1,2", "'wind=1,2' names no levels; write them as in obs=0.01,0.02,0.05 (obs, action, delay, drop)"),
        ("0.1,0.2", "names no levels"),
        ("obs=0.1,x", "has a level that is not a number"),
        ("delay=1,1.5", "has a level that is not a number"),
        ("obs=0.2,0.1", "has levels that do not increase; give the smallest first"),
        ("obs=0.1,nan", "has levels that do not increase"),
        ("drop=0.5,1", "the share of lost observations must be a number from 0 to below 1, not 1"),
    ],
)
def test_wrong_levels_are_refused(text: str, told: str) -> None:
    with pytest.raises(InputError) as refused:
        levels_named(text)
    assert told in str(refused.value)
