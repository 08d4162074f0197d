"""What a compression plans by: the time that the search may take."""

from __future__ import annotations

import time
from typing import Any

import pytest

from prunekit.compress import run
from prunekit.compress.run import search_seconds
from prunekit.compress.settings import CompressSettings, SearchSettings


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
