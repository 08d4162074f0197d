"""What holds for every kind of actions: it gives actions, and a student learns to do as its teacher does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces as gym_spaces
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kind_spaces import SPACES, kinds, outputs_of
from torch import Tensor

from prunekit.errors import CheckError, InputError
from prunekit.graph.op import Spec
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions
from prunekit.spaces.kind import (
    KINDS,
    ActionKind,
    kind_from_dict,
    kind_of_head,
    kind_of_space,
    register_kind,
)
from prunekit.spaces.multi_binary import MultiBinaryActions
from prunekit.spaces.multi_discrete import MultiDiscreteActions
from prunekit.spaces.unknown import UnknownActions

NAMES = sorted(KINDS)
CHOOSING = [name for name in NAMES if KINDS[name].taught_by == "outputs" and name != "unknown"]
SEEDS = st.integers(0, 2**32)


def test_every_kind_has_a_strategy_and_a_line_of_docs() -> None:
    ours = {name for name, kind in KINDS.items() if kind.__module__.startswith("prunekit.")}
    assert ours == {*SPACES, "unknown"}, "a kind without a strategy in kind_spaces.py is in no test"
    text = (Path(__file__).parents[2] / "docs" / "spaces.md").read_text()
    assert [name for name in ours if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize("name", sorted(SPACES))
@settings(deadline=None, max_examples=40)
@given(data=st.data(), seed=SEEDS)
def test_what_the_head_gives_is_an_action_of_the_environment(name: str, data: st.DataObject, seed: int) -> None:
    space = data.draw(SPACES[name])
    kind = kind_of_space(space)
    assert kind.name == name
    outputs = outputs_of(kind, seed, rows=6).astype(np.float32)
    answers = kind.head().reference((outputs,))[0]
    for row, answer in zip(outputs, answers, strict=True):
        for action in (kind.action(answer), kind.decided(row)):
            assert space.contains(action), f"{action!r} is not in {space}"
        np.testing.assert_array_equal(kind.action(answer), kind.decided(row))


@pytest.mark.parametrize("name", sorted(SPACES))
@settings(deadline=None, max_examples=40)
@given(data=st.data(), seed=SEEDS, noise=st.floats(0.0, 1.0))
def test_a_noisy_action_is_one_and_its_luck_does_not_depend_on_it(
    name: str, data: st.DataObject, seed: int, noise: float
) -> None:
    space = data.draw(SPACES[name])
    kind = kind_of_space(space)
    one, other = (kind.decided(row) for row in outputs_of(kind, seed, rows=2).astype(np.float32))
    if isinstance(kind, BoxActions) and not np.isfinite(np.subtract(kind.high, kind.low)).all():
        with pytest.raises(InputError, match=r"^has actions without finite bounds"):
            kind.with_noise(one, noise, np.random.default_rng(seed))
        return
    first, second = np.random.default_rng(seed), np.random.default_rng(seed)
    assert space.contains(kind.with_noise(one, noise, first))
    assert space.contains(kind.with_noise(other, 0.0, second))
    assert first.random() == second.random(), "as many numbers are drawn whatever the action and the noise"
    np.testing.assert_array_equal(kind.with_noise(one, 0.0, first), one)


def test_noise_on_actions_has_the_size_that_is_asked_for() -> None:
    generator = np.random.default_rng(0)
    box = BoxActions(low=(-2.0, 0.0), high=(2.0, 10.0))
    values = np.array([box.with_noise([0.0, 5.0], 0.1, generator) for _ in range(4000)])
    np.testing.assert_allclose(values.std(axis=0), [0.2, 0.5], rtol=0.05)
    numbers = np.array([DiscreteActions(count=4, start=2).with_noise(3, 0.4, generator) for _ in range(4000)])
    assert (numbers != 3).mean() == pytest.approx(0.3, abs=0.03)
    assert set(numbers) == {2, 3, 4, 5}
    parts = MultiDiscreteActions(counts=(2, 4), starts=(0, 1))
    chosen = np.array([parts.with_noise([1, 1], 0.4, generator) for _ in range(4000)])
    np.testing.assert_allclose((chosen != [1, 1]).mean(axis=0), [0.2, 0.3], atol=0.03)
    switches = np.array([MultiBinaryActions(count=2).with_noise([0, 1], 0.4, generator) for _ in range(4000)])
    np.testing.assert_allclose((switches != [0, 1]).mean(axis=0), [0.2, 0.2], atol=0.03)
    with pytest.raises(InputError, match=r"^has actions whose bounds are not known"):
        UnknownActions(count=1).with_noise(np.zeros(1), 0.1, generator)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=20)
@given(data=st.data(), seed=SEEDS)
def test_the_head_takes_the_outputs_and_says_what_it_gives(name: str, data: st.DataObject, seed: int) -> None:
    kind = data.draw(kinds(name))
    head = kind.head()
    (spec,) = head.shapes([Spec((kind.outputs,))])
    (answer,) = head.reference((outputs_of(kind, seed, 3),))
    assert answer.shape == (3, *spec.shape)
    assert (answer.dtype == np.int64) == (spec.dtype == "int64")
    assert (spec.dtype == "int64") == (kind.choices is not None)
    assert kind.choices is None or answer.size == 3 * kind.choices
    assert kind.takes(head)
    again = kind_of_head(head, kind.outputs)
    assert again is not None
    assert (again.name, again.words, again.outputs) == (kind.name, kind.words, kind.outputs)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_plain_data_and_back(name: str, data: st.DataObject) -> None:
    kind = data.draw(kinds(name))
    assert kind_from_dict(json.loads(json.dumps(kind.to_dict(), allow_nan=False))) == kind


@pytest.mark.parametrize("name", CHOOSING)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_a_choice_without_scores_is_scored_as_itself(name: str, data: st.DataObject) -> None:
    space = data.draw(SPACES[name])
    space.seed(data.draw(st.integers(0, 1000)))
    kind = kind_of_space(space)
    chosen = np.stack([np.asarray(space.sample()).reshape(-1) for _ in range(5)])
    scores = kind.outputs_of(chosen)
    assert scores.shape == (5, kind.outputs)
    for row, action in zip(scores, chosen, strict=True):
        np.testing.assert_array_equal(np.asarray(kind.decided(row)).reshape(-1), action)


@pytest.mark.parametrize("name", sorted(SPACES))
@settings(deadline=None, max_examples=30)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_what_a_learner_does_is_an_action_of_the_environment(name: str, data: st.DataObject, seed: int) -> None:
    space = data.draw(SPACES[name])
    kind = kind_of_space(space)
    scale = kind.scale(kind.answers(outputs_of(kind, seed, 50)))
    for seen, action in (kind.for_learner(), kind.for_student(scale)):
        learned = space if seen is None else seen
        learned.seed(seed)
        assert not isinstance(learned, gym_spaces.Box) or learned.is_bounded()
        for _ in range(5):
            done = action(learned.sample())
            assert space.contains(done), f"{done!r} is not in {space}"


SCORED: list[tuple[ActionKind, list[int], list[float]]] = [
    (DiscreteActions(count=3, start=5), [6], [0.0, 1.0, 0.0]),
    (MultiDiscreteActions(counts=(2, 3), starts=(0, 1)), [1, 1], [0.0, 1.0, 1.0, 0.0, 0.0]),
    (MultiBinaryActions(count=3), [1, 0, 1], [1.0, -1.0, 1.0]),
]


@pytest.mark.parametrize(("kind", "choice", "scores"), SCORED, ids=lambda value: str(value)[:30])
def test_what_a_choice_is_scored_as(kind: ActionKind, choice: list[int], scores: list[float]) -> None:
    assert kind.outputs_of(np.array([choice])).tolist() == [scores]


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(CHOOSING)))
@settings(deadline=None, max_examples=30)
@given(data=st.data(), seed=SEEDS)
def test_what_a_student_gives_in_its_units_is_the_answer(name: str, data: st.DataObject, seed: int) -> None:
    kind = data.draw(kinds(name))
    answers = kind.answers(outputs_of(kind, seed, 12)).astype(np.float32)
    scale = kind.scale(answers.astype(np.float64))
    for answer in answers:
        found = kind.for_student(scale).action((answer - scale.middle.numpy()) / scale.half.numpy())
        size = 1.0 + np.abs(answer).max() + scale.half.max().item()
        np.testing.assert_allclose(found, kind.decided(answer), rtol=2e-3, atol=2e-6 * size)


def in_units(kind: ActionKind, seed: int) -> tuple[Tensor, Any]:
    """Return (a teacher's answers in the student's units, float64 [n, k], and these)."""
    answers = kind.answers(outputs_of(kind, seed, 12))
    scale = kind.scale(answers)
    return (torch.from_numpy(answers) - scale.middle) / scale.half, scale


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(data=st.data(), seed=SEEDS)
def test_a_student_loses_least_where_it_answers_as_its_teacher(name: str, data: st.DataObject, seed: int) -> None:
    kind = data.draw(kinds(name))
    answers, scale = in_units(kind, seed)
    noise = torch.randn(answers.shape, generator=torch.Generator().manual_seed(seed)).double()
    least = float(kind.loss(answers, answers, scale))
    for size in (0.01, 1.0):
        assert float(kind.loss(answers + size * noise, answers, scale)) >= least - 1e-12
    if name in CHOOSING and any(np.any(kind.decided(row) != kind.decided(-row)) for row in answers.numpy()):
        assert float(kind.loss(-answers, answers, scale)) > least


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=30)
@given(data=st.data(), seed=SEEDS)
def test_the_curvature_is_that_of_the_loss_at_the_answers(name: str, data: st.DataObject, seed: int) -> None:
    """In both of its forms, for the deviation of which a squared error is the logarithm of a probability."""
    kind = data.draw(kinds(name))
    answers, scale = in_units(kind, seed)
    answers = answers[:1].clamp(-0.9, 0.9)  # not at a bound, beyond which there is next to no error
    width, curvature = kind.outputs, kind.curvature(0.5**0.5)

    def loss(outputs: Tensor) -> Tensor:
        return kind.loss(outputs[None], answers, scale)

    expected = torch.autograd.functional.hessian(loss, answers[0])
    root = curvature.root(answers, torch.eye(width).double()[None])[0]
    torch.testing.assert_close(root.T @ root, expected, rtol=1e-5, atol=1e-7)
    product = curvature.product(answers.expand(width, -1), torch.eye(width).double())
    torch.testing.assert_close(product, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", CHOOSING)
@settings(deadline=None, max_examples=20)
@given(data=st.data(), seed=SEEDS)
def test_the_units_of_choices_are_logits(name: str, data: st.DataObject, seed: int) -> None:
    """Whatever the teacher's scores are measured in, its choice is as certain."""
    kind = data.draw(kinds(name))
    answers = kind.answers(outputs_of(kind, seed, 12))
    assume(min(getattr(kind, "counts", [kind.outputs])) > 1)  # a choice of one is certain in any units
    one, other = (torch.from_numpy(factor * answers) / kind.scale(factor * answers).half for factor in (1.0, 1000.0))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


BAD: list[tuple[ActionKind, Any]] = [
    (DiscreteActions(count=3, start=10), 13),
    (DiscreteActions(count=3, start=10), 9),
    (BoxActions(low=(0.0,), high=(1.0,)), [0.0, 0.0]),
    (MultiDiscreteActions(counts=(2, 3), starts=(0, 1)), [0, 0]),
    (MultiDiscreteActions(counts=(2, 3), starts=(0, 1)), [2, 1]),
    (MultiDiscreteActions(counts=(2, 3), starts=(0, 1)), [0]),
    (MultiBinaryActions(count=2), [0, 2]),
    (MultiBinaryActions(count=2), [0]),
    (UnknownActions(count=2), [0.0]),
]


@pytest.mark.parametrize(("kind", "answer"), BAD, ids=str)
def test_what_is_no_action_is_refused(kind: ActionKind, answer: Any) -> None:
    with pytest.raises(CheckError, match="not one of"):
        kind.action(np.asarray(answer))


UNUSABLE: list[tuple[gym.Space[Any], str]] = [
    (gym_spaces.MultiDiscrete([[2, 2], [3, 3]]), "has MultiDiscrete actions; only 1-D Box, Discrete.* are supported"),
    (gym_spaces.Tuple([gym_spaces.Discrete(2)]), "has Tuple actions"),
    (gym_spaces.Box(-1, 1, (0,), np.float32), "empty actions"),
]


@pytest.mark.parametrize(("space", "words"), UNUSABLE, ids=lambda value: str(value)[:40])
def test_spaces_of_no_kind_are_refused(space: gym.Space[Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        kind_of_space(space)


DAMAGED: dict[str, dict[str, Any]] = {
    "no kind": {},
    "another kind": {"kind": "telepathy"},
    "no count": {"kind": "discrete", "start": 0},
    "a count that is text": {"kind": "discrete", "count": "3", "start": 0},
    "no actions": {"kind": "discrete", "count": 0, "start": 0},
    "bounds that cross": {"kind": "box", "low": [1.0], "high": [0.0]},
    "bounds of another number": {"kind": "box", "low": [1.0], "high": [2.0, 3.0]},
    "bounds that are text": {"kind": "box", "low": ["a"], "high": [2.0]},
    "a dtype that is none": {"kind": "box", "low": [0.0], "high": [2.0], "dtype": "object"},
    "parts without starts": {"kind": "multi_discrete", "counts": [2, 3], "starts": [0]},
    "parts without choices": {"kind": "multi_discrete", "counts": [2, 0], "starts": [0, 0]},
    "a dtype too small": {"kind": "multi_discrete", "counts": [300], "starts": [0], "dtype": "int8"},
    "no switches": {"kind": "multi_binary", "count": 0},
    "integers of no dtype": {"kind": "multi_discrete", "counts": [3], "starts": [0], "dtype": "float32"},
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_data_is_refused(case: str) -> None:
    with pytest.raises(InputError):
        kind_from_dict(DAMAGED[case])


def test_a_name_is_registered_once() -> None:
    with pytest.raises(InputError, match="named discrete is registered already"):
        register_kind(type("Mine", (), {"name": "discrete"}))


def test_choices_cannot_be_squashed_and_bounds_must_be_finite() -> None:
    assert BoxActions(low=(-1.0,), high=(1.0,)).squashed().squashes
    refused: list[ActionKind] = [
        DiscreteActions(count=2),
        MultiDiscreteActions(counts=(2,), starts=(0,)),
        MultiBinaryActions(count=2),
        UnknownActions(count=2),
        BoxActions(low=(0.0,), high=(np.inf,)),
    ]
    for kind in refused:
        with pytest.raises(InputError):
            kind.squashed()
