"""What a compression plans by: the time that the search may take."""

from __future__ import annotations

import time
from typing import Any

import pytest

from prunekit.compression import run
from prunekit.compression.run import search_seconds
from prunekit.compression.settings import CompressSettings


@pytest.mark.parametrize(("pace", "expected"), [(0.01, 85.0), (0.1, 60.0), (0.2, 51.0), (9.0, 51.0)])
def test_the_search_leaves_time_for_certificates_but_takes_half_at_least(pace: float, expected: float) -> None:
    assert search_seconds(CompressSettings(seconds=100.0), pace) == pytest.approx(expected)


def slow(seconds: float) -> Any:
    def returns(seed: int) -> float:
        time.sleep(seconds)
        return float(seed)

    return returns


def test_a_slow_teacher_plays_fewer_episodes_but_ten() -> None:
    played = [run._played(slow(0.01), slow(0.0), range(80), seconds)[0] for seconds in (0.3, 0.0)]
    assert 10 < len(played[0].teacher) <= 31
    assert [len(one.random) for one in played] == [len(one.teacher) for one in played]
    assert len(played[1].teacher) == 10


def test_the_pace_is_that_of_three_policies() -> None:
    baseline, pace = run._played(slow(0.02), slow(0.01), range(5), 60.0)
    assert baseline.teacher.tolist() == baseline.random.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert pace == pytest.approx(0.05, rel=0.3)
