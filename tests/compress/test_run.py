"""What a compression plans by: the time that the search may take, and the returns that a certificate rests on."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from prunekit.bench.betting import Paired
from prunekit.compress import run
from prunekit.compress.points import Baseline, Point
from prunekit.compress.run import search_seconds
from prunekit.compress.settings import CompressSettings, SearchSettings
from prunekit.compress.trial import returns_that_count

ONES = np.ones(3)


@pytest.mark.parametrize(("pace", "expected"), [(0.01, 90.0), (0.1, 60.0), (0.2, 54.0), (9.0, 54.0)])
def test_the_search_leaves_time_for_certificates_but_takes_most_of_its_own(pace: float, expected: float) -> None:
    settings = CompressSettings(SearchSettings(seconds=90.0), seconds=100.0)
    assert search_seconds(settings, pace) == pytest.approx(expected)


def test_the_pace_is_that_of_three_policies() -> None:
    def slow(seconds: float) -> Any:
        def returns(seed: int) -> float:
            time.sleep(seconds)
            return float(seed)

        return returns

    baseline, pace = run._played(slow(0.02), slow(0.01), range(5))
    assert baseline.dense.tolist() == baseline.random.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert pace == pytest.approx(0.05, rel=0.3)


def point(retention: float, small: float) -> Point:
    played = Paired(small * ONES, 100.0 * ONES, ONES)
    actor: Any = None
    return Point(actor, (1,), 9, played, retention, retention > 0.95, False, 0, 0)


def test_a_network_that_is_not_good_does_not_widen_what_an_episode_can_lose() -> None:
    baseline = Baseline(90.0 * ONES, 2.0 * ONES)
    broken, poor, good = point(-29.0, -13_000.0), point(0.1, 5.0), point(0.97, 97.0)
    found = {float(values[0]) for values in returns_that_count(baseline, [broken, poor, good], [good])}
    assert found == {90.0, 2.0, 97.0, 100.0, 1.0}
