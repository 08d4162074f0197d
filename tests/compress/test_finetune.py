"""The order of fine-tuning: bursts and judgements of both networks, on and on, and the best of them in the end."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from prunekit.compression.finetune import Judgement, fine_tuned
from prunekit.compression.student import Lessons, Scale, Student
from prunekit.compression.teacher import Teacher
from prunekit.environments import Spaces
from prunekit.spaces.box import BoxActions

SPACES = Spaces(observation=2, actions=BoxActions(low=(-1.0,), high=(1.0,)))


class Counting:
    """In the place of a tuner: adds 1 to every weight, so that a weight says how many bursts lie behind it.

    Those of the latest network are half a burst ahead.
    """

    def __init__(self) -> None:
        self.bursts = 0
        self._network: Any = None

    def take(self, network: Any) -> None:
        assert self._network is None  # it goes on from where it is, whatever the returns do
        self._network = network

    def tune(self, steps: int, over: Any) -> int:
        self.bursts += 1
        with torch.no_grad():
            for parameter in self._network.parameters():
                parameter.add_(1.0)
        return steps

    @property
    def latest(self) -> Any:
        ahead = copy.deepcopy(self._network)
        with torch.no_grad():
            for parameter in ahead.parameters():
                parameter.add_(0.5)
        return ahead


def beginner() -> Student:
    lessons = Lessons(Teacher(name="mine", spaces=SPACES, respond=lambda seen: seen[:, :1].astype(np.float64)))
    lessons.add(np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32))
    student = Student((), Scale.of(lessons, SPACES), SPACES, 0)
    with torch.no_grad():
        for parameter in student.network.parameters():
            parameter.zero_()
    return student


def depth(student: Student) -> float:
    """Return how many bursts lie behind the student."""
    return float(student.network[0].bias.detach())


def tuned(
    retentions: Sequence[float],
    patience: float = 9,
    enough: float = math.inf,
    bursts: int = 99,
    latest: Mapping[float, float] = {},
) -> tuple[list[float], float, float]:
    """Return (depths of the students judged, that of the result, its retention), judged as told.

    Averages keep what ``retentions`` say in turn, the ``latest`` of a depth what is said there, or nothing.
    """
    tuner: Any = Counting()
    judged: list[float] = []

    def judge(student: Student, _: float) -> Judgement:
        found = depth(student)
        judged.append(found)
        retention = latest.get(found, 0.0) if found % 1.0 else retentions[int(found) - 1]
        return Judgement(retention=retention, enough=retention >= enough)

    start = beginner()
    best, kept = fine_tuned(start, 0.5, tuner, judge, 10, lambda: patience, lambda: tuner.bursts >= bursts)
    assert depth(start) == 0.0
    return judged, depth(best), kept


def test_it_ends_with_the_first_that_is_safely_good() -> None:
    assert tuned([0.6, 0.7, 0.98], enough=0.98) == ([1.0, 1.5, 2.0, 2.5, 3.0], 3.0, 0.98)


def test_it_falls_and_goes_on_and_the_best_comes_back() -> None:
    judged, result, kept = tuned([0.6, 0.9, 0.2, 0.1, 0.8], bursts=5)
    assert judged == [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5]
    assert (result, kept) == (2.0, 0.9)


def test_the_latest_network_counts_where_it_is_better_than_the_average() -> None:
    assert tuned([0.6, 0.7, 0.7], bursts=3, latest={2.5: 0.9})[1:] == (2.5, 0.9)
    assert tuned([0.6, 0.7, 0.7], latest={2.5: 0.98}, enough=0.98) == ([1.0, 1.5, 2.0, 2.5], 2.5, 0.98)


@pytest.mark.parametrize("patience", [3, 6])
def test_it_is_given_up_after_so_many_in_vain(patience: int) -> None:
    judged, result, kept = tuned([0.4] * 20, patience=patience)
    assert (len(judged), result, kept) == (2 * patience, 0.0, 0.5)


def test_patience_begins_anew_with_every_new_best() -> None:
    assert tuned([0.4, 0.4, 0.6, 0.4, 0.4, 0.4], patience=3)[1:] == (3.0, 0.6)


def test_without_time_nothing_is_begun() -> None:
    assert tuned([0.4] * 20, bursts=0) == ([], 0.0, 0.5)
    assert tuned([0.4] * 20, bursts=3)[0] == [1.0, 1.5, 2.0, 2.5, 3.0, 3.5]


def test_the_judge_hears_what_was_best_before() -> None:
    tuner: Any = Counting()
    kept, heard = iter([0.4, 0.7, 0.6, 0.8, 0.9, 0.2]), []

    def judge(_: Student, best: float) -> Judgement:
        heard.append(best)
        return Judgement(retention=next(kept), enough=False)

    fine_tuned(beginner(), 0.5, tuner, judge, 10, lambda: math.inf, lambda: tuner.bursts >= 3)
    assert heard == [0.5, 0.5, 0.7, 0.7, 0.8, 0.9]
