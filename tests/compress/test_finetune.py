"""Fine-tuning in a branch: phases that are judged, what is kept of them, when it ends."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from prunekit.compression import finetune, round_context
from prunekit.compression.branch import Branch, Phase, RoundSettings
from prunekit.compression.candidates import Baseline
from prunekit.compression.judging import Judgement
from prunekit.compression.rounds import advance
from prunekit.compression.settings import SearchSettings
from prunekit.compression.student import ImitationDataset, Scale, Student
from prunekit.compression.teacher import Teacher
from prunekit.environments import Spaces
from prunekit.spaces.box import BoxActions
from prunekit.stats.betting import Paired
from prunekit.stats.clipping import ReturnRange

SPACES = Spaces(observation=2, actions=BoxActions(low=(-1.0,), high=(1.0,)))
BASELINE = Baseline(teacher=np.ones(80), random=np.zeros(80))


def beginner() -> Student:
    dataset = ImitationDataset(teacher())
    dataset.add(np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32))
    student = Student((3,), Scale.of(dataset, SPACES), SPACES, 0)
    with torch.no_grad():
        for parameter in student.network.parameters():
            parameter.zero_()
    return student


def teacher() -> Teacher:
    return Teacher(name="mine", spaces=SPACES, respond=lambda seen: seen[:, :1].astype(np.float64))


def depth(student: Student) -> float:
    """Return how many phases lie behind the student."""
    return float(student.network[0].bias.detach()[0])


def ahead_of(student: Student, more: float) -> Student:
    found = student.copied()
    with torch.no_grad():
        for parameter in found.network.parameters():
            parameter.add_(more)
    return found


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the function to (depths judged, the branch), where networks are judged as told.

    Averages keep what ``retentions`` say in turn, the ``latest`` of a depth what is said there, or nothing. A
    ``random`` policy that earns less than the teacher, 1, makes certificates cheap.
    """

    def run(
        retentions: Sequence[float],
        *,
        patience: int = 9,
        safe: float = math.inf,
        enough: float = math.inf,
        phases: int = 99,
        latest: Mapping[float, float] = {},
        anything_good: bool = True,
        random: float = 1.0,
    ) -> tuple[list[float], list[float], Branch]:
        depths: list[float] = []
        heard: list[float] = []
        students: list[Student] = []

        def burst(*given: Any, continued: bool) -> Any:
            _, saved, learning, steps, _ = given
            assert continued is (saved is not None)
            with torch.no_grad():
                for parameter in learning.network.parameters():
                    parameter.add_(1.0)
            students[:] = [learning.copied(), ahead_of(learning, 0.5)]
            return b"tuner", tuple(students), steps

        def judged(*_: Any, best: float, **__: Any) -> Judgement:
            found = depth(students.pop(0))
            depths.append(found)
            heard.append(best)
            kept = latest.get(found, 0.0) if found % 1.0 else retentions[int(found) - 1]
            return Judgement(
                played=Paired(small=np.ones(4), teacher=np.ones(4), random=np.full(4, random)),
                retention=kept,
                good=kept >= enough,
            )

        monkeypatch.setattr(finetune, "burst", burst)
        monkeypatch.setattr(round_context, "judged", judged)
        monkeypatch.setattr(round_context, "deployed", lambda *_: None)
        monkeypatch.setattr(SearchSettings, "safe", property(lambda _: safe))
        runner: Any = SimpleNamespace(
            steps=0,
            spaces=SPACES,
            stopped=lambda: False,
            play_all=lambda _, seeds: [SimpleNamespace(observations=np.zeros((3, 2), np.float32)) for _ in seeds],
        )
        worker: Any = SimpleNamespace(runner=runner, teacher=teacher(), tuner=lambda *_: None)
        start = beginner()
        dataset = ImitationDataset(teacher())
        branch = Branch(
            start=(3,), number=0, scale=start.scale, dataset=dataset, target=(3,), phase=Phase.TUNE, best=start,
            reached=0.5, learning=start.copied(),
        )  # fmt: skip
        settings = RoundSettings(
            search=SearchSettings(tuning_patience=patience, fresh_episodes=0),
            baseline=BASELINE,
            clip_range=ReturnRange(low=0.0, high=1.0),
            anything_good=anything_good,
        )
        for _ in range(phases):
            if branch.phase is not Phase.TUNE:
                break
            for judging in (False, True):
                assert bool(branch.unjudged) is judging
                found = advance(worker, branch, settings)
                assert len(found.candidates) <= (2 if judging else 0)
                branch = copy.deepcopy(found.branch)  # as it goes to another worker
        assert depth(start) == 0.0
        return depths, heard, branch

    return run


def test_it_ends_with_the_first_that_is_safely_good(tuned: Any) -> None:
    depths, _, branch = tuned([0.6, 0.7, 0.98], enough=0.96, safe=0.98)
    assert depths == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert (branch.phase, depth(branch.good), branch.is_safe, branch.target) == (Phase.SHRINK, 3.0, True, (2,))
    assert branch.guide is not None


def test_it_falls_and_goes_on_and_the_best_comes_back(tuned: Any) -> None:
    depths, heard, branch = tuned([0.6, 0.9, 0.2, 0.1, 0.8], phases=5)
    assert depths == [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5]
    assert heard == [0.5, 0.6, 0.6, *[0.9] * 7]
    assert (depth(branch.best), branch.reached, branch.tuning_steps) == (2.0, 0.9, 5 * SearchSettings().tuning_steps)


@pytest.mark.parametrize("anything_good", [True, False])
def test_a_size_that_goes_on_improving_a_little_is_given_up_in_the_end(tuned: Any, anything_good: bool) -> None:
    """Something good is there: what this size would save is not worth an endless fine-tuning."""
    depths, _, branch = tuned([0.5 + 0.01 * phase for phase in range(20)], phases=18, anything_good=anything_good)
    phases = SearchSettings().max_tuning_phases if anything_good else 18
    assert len(depths) == 2 * phases
    assert branch.hopeless_units == (3 if anything_good else 0)


def test_a_size_that_has_reached_what_is_to_be_kept_is_not_given_up_for_the_time_it_took(tuned: Any) -> None:
    phases, keep = SearchSettings().max_tuning_phases, SearchSettings().keep
    below = [0.5 + 0.01 * phase for phase in range(phases)]
    assert len(tuned([*below[:-1], keep, *[keep + 0.001] * 9], phases=phases + 4)[0]) == 2 * (phases + 4)
    assert len(tuned([*below[:-1], keep - 0.001, *[keep] * 9], phases=phases + 4)[0]) == 2 * phases


def test_the_latest_network_counts_where_it_is_better_than_the_average(tuned: Any) -> None:
    branch = tuned([0.6, 0.7, 0.7], phases=3, latest={2.5: 0.9})[2]
    assert (depth(branch.best), branch.reached) == (2.5, 0.9)


@pytest.mark.parametrize("patience", [3, 6])
def test_it_is_given_up_after_so_many_without_improvement(tuned: Any, patience: int) -> None:
    depths, _, branch = tuned([0.4] * 20, patience=patience)
    assert len(depths) == 2 * patience
    assert (branch.phase, branch.hopeless_units) == (Phase.DONE, 3)


def test_patience_begins_anew_with_every_new_best(tuned: Any) -> None:
    assert len(tuned([0.4, 0.4, 0.6, 0.4, 0.4, 0.4], patience=3)[0]) == 12


def test_it_is_never_given_up_while_the_search_has_nothing_good(tuned: Any) -> None:
    assert len(tuned([0.4] * 20, patience=3, phases=20, anything_good=False)[0]) == 40


def test_what_is_good_may_become_safe_for_a_while(tuned: Any) -> None:
    depths, _, branch = tuned([0.6, 0.965, *[0.9] * 5], enough=0.96, safe=0.98)
    assert depths[-1] == 6.5
    assert (branch.phase, depth(branch.good), branch.is_safe) == (Phase.SHRINK, 2.0, False)


def test_what_is_good_is_safe_where_a_certificate_should_be_cheap(tuned: Any) -> None:
    depths, _, branch = tuned([0.6, 0.965, *[0.9] * 5], enough=0.96, safe=0.98, random=0.0)
    assert depths[-1] == 2.0
    assert (branch.phase, depth(branch.good), branch.is_safe) == (Phase.SHRINK, 2.0, True)
