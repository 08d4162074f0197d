"""The order of fine-tuning: bursts, judgements, the mean after three in vain, and back to the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from prunekit.compress.finetune import fine_tuned
from prunekit.compress.student import Lessons, Scale, Student
from prunekit.compress.teacher import Teacher
from prunekit.environments import Spaces

SPACES = Spaces(2, low=(-1.0,), high=(1.0,))


class Counting:
    """In the place of a tuner: adds 1 to every weight, so that a weight says how many bursts lie behind it."""

    def __init__(self) -> None:
        self.bursts = 0
        self._network: Any = None

    def take(self, network: Any) -> None:
        self._network = network

    def tune(self, steps: int, over: Any) -> int:
        self.bursts += 1
        with torch.no_grad():
            for parameter in self._network.parameters():
                parameter.add_(1.0)
        return steps


def beginner() -> Student:
    lessons = Lessons(Teacher("mine", SPACES, lambda seen: seen[:, :1].astype(np.float64)))
    lessons.add(np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32))
    student = Student((), Scale.of(lessons, SPACES), SPACES, 0)
    with torch.no_grad():
        for parameter in student.network.parameters():
            parameter.zero_()
    return student


def depth(student: Student) -> float:
    """Return how many bursts lie behind the student, on average where it is a mean."""
    return float(student.network[0].bias.detach())


def tuned(
    retentions: Sequence[float], patience: float = 9, good_at: float = math.inf, bursts: int = 99
) -> tuple[list[float], float, bool, int]:
    """Return (depths of the students judged, that of the result, whether it is good, bursts), judged as told."""
    tuner: Any = Counting()
    judged: list[float] = []

    def judge(student: Student) -> tuple[float, bool]:
        judged.append(depth(student))
        retention = retentions[len(judged) - 1]
        return retention, retention >= good_at

    best, good = fine_tuned(beginner(), 0.5, tuner, judge, 10, lambda _: patience, lambda: tuner.bursts >= bursts)
    return judged, depth(best), good, tuner.bursts


def test_it_ends_with_the_first_that_is_good() -> None:
    assert tuned([0.6, 0.7, 0.96], good_at=0.96) == ([1.0, 2.0, 3.0], 3.0, True, 3)


def test_after_three_in_vain_the_mean_of_the_trail_is_judged_and_the_best_goes_on() -> None:
    judged, _, _, _ = tuned([0.6, 0.4, 0.4, 0.4, 0.4, 0.4], bursts=5)
    # The best has one burst behind it, the mean those of 1, 2, 3 and 4, and what follows one more than the best.
    assert judged == [1.0, 2.0, 3.0, 4.0, 2.5, 2.0]


def test_a_mean_that_is_better_is_the_new_best() -> None:
    judged, result, good, _ = tuned([0.4, 0.4, 0.4, 0.8, 0.4], bursts=4)
    assert judged == [1.0, 2.0, 3.0, 1.5, 2.5]
    assert (result, good) == (1.5, False)


def test_a_mean_that_is_good_ends_it() -> None:
    assert tuned([0.4, 0.4, 0.4, 0.97], good_at=0.96) == ([1.0, 2.0, 3.0, 1.5], 1.5, True, 3)


@pytest.mark.parametrize("patience", [3, 6])
def test_it_is_given_up_after_so_many_in_vain_and_the_best_comes_back(patience: int) -> None:
    judged, result, good, bursts = tuned([0.4] * 20, patience=patience)
    assert (result, good, bursts) == (0.0, False, patience)
    assert len(judged) == patience + patience // 3


def test_without_time_nothing_is_begun() -> None:
    assert tuned([0.4] * 20, bursts=0) == ([], 0.0, False, 0)
    assert tuned([0.4] * 20, bursts=3)[0] == [1.0, 2.0, 3.0]
