"""What a student learns from: scales and losses."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from prunekit.compression.student import Lessons, Scale, Student
from prunekit.compression.teacher import Teacher
from prunekit.environments import Spaces
from prunekit.spaces.box import BoxActions, action_loss
from prunekit.spaces.discrete import choice_loss

FREE = Spaces(observation=2, actions=BoxActions(low=(-math.inf, -1.0), high=(math.inf, 1.0)))
BOUNDED = Spaces(observation=2, actions=BoxActions(low=(-2.0, 0.0), high=(2.0, 3.0)))


def lessons_of(spaces: Spaces, respond: Any, deviation: tuple[float, float] = (1.0, 1.0)) -> Lessons:
    lessons = Lessons(Teacher(name="mine", spaces=spaces, respond=respond))
    lessons.add((np.random.default_rng(0).normal(size=(2000, 2)) * deviation).astype(np.float32))
    return lessons


def test_bounded_actions_are_in_terms_of_their_bounds_and_free_ones_of_their_deviation() -> None:
    lessons = lessons_of(FREE, lambda seen: seen.astype(np.float64) * 5.0 + 7.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scale = Scale.of(lessons, FREE)
    assert scale.answers.bounded.tolist() == [False, True]
    assert scale.answers.middle.tolist() == pytest.approx([7.0, 0.0], abs=0.3)
    assert scale.answers.half.tolist() == pytest.approx([5.0, 1.0], abs=0.3)


def test_nothing_is_lost_beyond_a_bound_that_the_teacher_is_at_and_all_beyond_none() -> None:
    scores, answers = torch.tensor([[5.0], [0.5]]), torch.tensor([[1.0], [1.0]])
    bounded = action_loss(scores[:1], answers[:1], torch.tensor([True]))
    free = action_loss(scores[:1], answers[:1], torch.tensor([False]))
    assert float(bounded) < 0.01
    assert float(free) == 16.0
    assert float(action_loss(scores[1:], answers[1:], torch.tensor([True]))) == 0.25


def test_an_observation_of_small_values_beside_one_of_large_ones_is_seen() -> None:
    scale = Scale.of(lessons_of(BOUNDED, lambda seen: seen.astype(np.float64), (1e4, 0.05)), BOUNDED)
    assert (scale.normalizer.scale * torch.tensor([1e4, 0.05])).tolist() == pytest.approx([1.0, 1.0], rel=0.1)


def test_an_observation_that_never_changes_is_not_blown_up() -> None:
    scale = Scale.of(lessons_of(BOUNDED, lambda seen: seen.astype(np.float64), (1.0, 0.0)), BOUNDED)
    assert float(scale.normalizer.scale[1]) <= 1000.0


def test_a_choice_matters_as_much_as_its_scores_differ() -> None:
    wrong = torch.tensor([[0.0, 5.0]])
    clear, close = (float(choice_loss(wrong, torch.tensor([[gap, 0.0]]))) for gap in (4.0, 0.1))
    assert clear > 1.5 * close


@pytest.mark.parametrize("spaces", [FREE, BOUNDED], ids=["free", "bounded"])
def test_what_is_deployed_answers_in_the_teacher_s_units(spaces: Spaces) -> None:
    lessons = lessons_of(spaces, lambda seen: 0.4 * seen[:, ::-1].astype(np.float64) + [0.0, 0.5])
    student = Student((8,), Scale.of(lessons, spaces), spaces, 0)
    student.study(lessons, 1500)
    with torch.no_grad():
        found = student.actor(torch.from_numpy(lessons.states)).double().numpy()
    assert float(np.abs(found - lessons.answers).mean()) < 0.05
    assert student.hidden == (8,)


def test_refining_fits_the_lessons_more_closely_and_leaves_large_networks_alone() -> None:
    lessons = lessons_of(BOUNDED, lambda seen: np.tanh(2.0 * seen[:, ::-1].astype(np.float64)))
    for hidden, kept in (((4,), False), ((48, 48), True)):
        student = Student(hidden, Scale.of(lessons, BOUNDED), BOUNDED, 0)
        student.study(lessons, 100)
        errors = []
        for _ in range(2):
            with torch.no_grad():
                found = student.actor(torch.from_numpy(lessons.states)).double().numpy()
            errors.append(float(np.square(found - lessons.answers).mean()))
            student.refine(lessons, 20)
        assert (errors[1] == errors[0]) if kept else (errors[1] < 0.5 * errors[0])


def test_a_student_loses_units_while_it_learns_and_its_copy_does_not() -> None:
    lessons = lessons_of(BOUNDED, lambda seen: np.tanh(seen.astype(np.float64)))
    student = Student((12, 12), Scale.of(lessons, BOUNDED), BOUNDED, 0)
    student.study(lessons, 300)
    smaller = student.copied()
    smaller.study(lessons, 300, fewer=9)
    assert sum(smaller.hidden) == 15
    assert student.hidden == (12, 12)
    assert smaller.parameters < student.parameters


def test_lessons_forget_the_oldest_and_can_follow_another_teacher() -> None:
    lessons = Lessons(Teacher(name="mine", spaces=BOUNDED, respond=lambda seen: seen.astype(np.float64)), maximum=5)
    for first in range(0, 8, 2):
        lessons.add(np.full((2, 2), first, np.float32) + np.array([[0.0, 0.0], [1.0, 1.0]], np.float32))
    assert lessons.states[:, 0].tolist() == [3.0, 4.0, 5.0, 6.0, 7.0]
    assert lessons.answers[:, 0].tolist() == [2.0, 2.0, 2.0, 2.0, 2.0]
    lessons.follow(
        Teacher(name="another", spaces=BOUNDED, respond=lambda seen: -seen.astype(np.float64)), lessons.states[-3:]
    )
    lessons.add(np.ones((1, 2), np.float32))
    assert lessons.states[:, 0].tolist() == [5.0, 6.0, 7.0, 1.0]
    assert lessons.answers[:, 0].tolist() == [-2.0, -2.0, -2.0, -1.0]
