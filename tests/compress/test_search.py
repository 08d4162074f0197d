"""How the search judges, chooses sizes and branches, and ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prunekit.compression.branch import Branch, Phase, aim_of, retarget
from prunekit.compression.budget import Budget
from prunekit.compression.candidates import Baseline, Candidate, episodes_wanted, own_copy_wants
from prunekit.compression.judging import FreshEpisodes, Judgement, judged, judged_again
from prunekit.compression.opened import OpenBranch, RunningRound
from prunekit.compression.planning import Pace
from prunekit.compression.search import Search
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.sizes import next_units, parameters_of, shrunk, units_below
from prunekit.environments import Spaces
from prunekit.rollouts import Episode
from prunekit.spaces.box import BoxActions
from prunekit.stats.betting import Paired
from prunekit.stats.clipping import ReturnRange, range_of

SPACES = Spaces(observation=3, actions=BoxActions(low=(-1.0,), high=(1.0,)))
SEARCH = SearchSettings()
RANGE = ReturnRange(low=-10.0, high=110.0)
BASELINE = Baseline(teacher=np.full(80, 100.0), random=np.zeros(80))


def judge(returns: Sequence[float], best: float = -math.inf, over: Callable[[], bool] = lambda: False) -> Judgement:
    def play_all(_: Any, seeds: range) -> Iterator[Episode]:
        for seed, total in zip(seeds, returns, strict=False):
            yield Episode(seed=seed, total=total, observations=np.zeros((1, 3), np.float32))

    runner: Any = SimpleNamespace(play_all=play_all)
    policy: Any = None
    return judged(policy, runner, SEARCH, BASELINE, RANGE, best=best, over=over)


@pytest.mark.parametrize(
    ("returns", "episodes", "good"),
    [
        ([100.0] * 80, 33, True),
        ([20.0, 30.0] * 40, 4, False),
        ([98.0, 92.0] * 40, 10, False),
        ([97.0, 96.4] * 40, 80, True),  # good, but a certificate should take more than 200 episodes
        ([93.0, 99.1] * 40, 33, False),
        ([100.0] * 15 + [0.0] + [100.0] * 64, 80, True),
    ],
)
def test_a_network_plays_no_more_than_is_needed(returns: list[float], episodes: int, good: bool) -> None:
    found = judge(returns)
    assert (len(found.played), found.good) == (episodes, good)
    assert found.retention == pytest.approx(np.mean(returns[:episodes]) / 100.0)


def test_what_is_behind_what_it_was_plays_no_more() -> None:
    assert len(judge([97.0, 96.4] * 40, best=1.0).played) == 10
    assert len(judge([100.0] * 80, over=lambda: True).played) == 1


@pytest.mark.parametrize(
    ("kept", "retention", "good"),
    [(0.97, 0.97, True), (0.951, 0.9662, True), (0.94, 0.964, False), (1.0, 0.976, True)],
)
def test_what_is_good_on_the_selection_s_episodes_has_to_be_good_on_fresh_ones(
    kept: float, retention: float, good: bool
) -> None:
    """The fresh episodes were easy: teacher and student earned 20 more there, which is luck."""
    seeds = range(7, 27)

    def play_all(earned: float, chosen: range) -> Iterator[Episode]:
        assert chosen == seeds
        return (Episode(seed=seed, total=earned, observations=np.zeros((1, 3), np.float32)) for seed in chosen)

    runner: Any = SimpleNamespace(play_all=play_all)
    policy: Any = 120.0 - 100.0 * (1.0 - kept)
    teacher: Any = 120.0
    played = Paired(small=np.full(80, 97.0), teacher=np.full(80, 100.0), random=np.zeros(80))
    found = Judgement(played=played, retention=0.97, good=True)
    again = judged_again(found, policy, runner, SEARCH, BASELINE, FreshEpisodes(seeds=seeds, teacher=teacher))
    assert again.retention == pytest.approx(retention)
    assert again.good == good
    assert len(again.played) == 100
    assert again.played.teacher[80:].tolist() == [100.0] * 20
    assert again.played.small[80:] == pytest.approx(100.0 * kept)


def test_a_good_one_goes_on_becoming_safe_where_a_larger_one_would_have_to_stand_in() -> None:
    run = searching([0.0])
    good = student(2)
    good.parameters = 11
    one = OpenBranch(branch=branch((14,), 0, good=good, best=good, reached=0.97, hopeless_units=1, phase=Phase.TUNE))
    run.opened = [one]
    run.candidates = [candidate(11), candidate(14)]
    assert run._promise(one) > 0.0
    assert one.branch.phase is Phase.TUNE
    run.candidates = [candidate(11), candidate(14), candidate(8)]  # another branch has a smaller one
    assert run._promise(one) == 0.0
    alone = OpenBranch(branch=branch((14,), 0, good=good, best=good, reached=0.97, hopeless_units=1, phase=Phase.TUNE))
    run.candidates = [candidate(11)]
    assert run._promise(alone) == 0.0


def test_a_copy_of_the_teacher_wants_more_episodes_where_returns_are_spread() -> None:
    steady, spread = BASELINE, Baseline(teacher=np.tile([10.0, 300.0], 40), random=np.zeros(80))
    wanted = [own_copy_wants(one, 0.95, range_of(one.teacher, one.random)) for one in (steady, spread)]
    assert 60 < wanted[0] < 120 < wanted[1] < math.inf
    assert episodes_wanted(Paired(small=np.zeros(0), teacher=np.zeros(0), random=np.zeros(0)), 0.95, RANGE) == math.inf


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(widths=st.lists(st.integers(1, 40), max_size=3).map(tuple), hopeless=st.integers(0, 60))
def test_the_next_size_lies_between_and_the_search_of_sizes_ends(widths: tuple[int, ...], hopeless: int) -> None:
    steps, good, bad = 0, sum(widths), hopeless
    while (units := next_units(widths, bad)) is not None:
        assert max(bad, len(widths) - 1) < units < good
        assert sum(shrunk(widths, units)) >= units
        assert all(0 < less <= more for less, more in zip(shrunk(widths, units), widths, strict=True))
        bad, steps = units, steps + 1
    assert steps <= 12
    assert good <= len(widths) or bad >= good - 1 or not widths


def test_sizes_that_do_not_help_are_left_out() -> None:
    small = lambda hidden: parameters_of(hidden, 3, 1) < 60  # noqa: E731
    assert parameters_of((11,), 3, 1) == 56
    assert units_below((48,), 0, small) == 8
    assert units_below((48,), 10, small) == 11
    assert units_below((48,), 11, small) is None


def branch(start: tuple[int, ...], number: int, **told: Any) -> Branch:
    unused: Any = None
    return Branch(start=start, number=number, scale=unused, dataset=unused, target=told.pop("target", start), **told)


def student(*hidden: int) -> Any:
    return SimpleNamespace(hidden=hidden)


def test_a_branch_aims_at_half_and_below_what_others_have() -> None:
    one = branch((48,), 0, good=student(48), best=student(9), student=student(9), without_improvement=3)
    retarget(one, 1, 3, math.inf)
    assert (one.target, one.phase, one.best, one.without_improvement) == ((24,), Phase.SHRINK, None, 0)
    retarget(one, 1, 3, 60)
    assert one.target == (8,)
    one.hopeless_units = 11
    retarget(one, 1, 3, 60)
    assert one.phase is Phase.DONE
    settling = branch((48,), 0, good=(fine := student(48)), best=fine, phase=Phase.TUNE)
    assert aim_of(settling) == (24,)


def test_a_size_that_was_given_up_is_tried_again_from_a_smaller_student() -> None:
    one = branch((7,), 0, good=student(7), hopeless_units=5, hopeless_from=7)
    retarget(one, 1, 3, math.inf)
    assert (one.target, one.hopeless_units) == ((6,), 5)
    one.good = student(6)
    retarget(one, 1, 3, math.inf)
    assert (one.target, one.phase, one.hopeless_units) == ((5,), Phase.SHRINK, 4)
    again = branch((7,), 0, good=student(6), hopeless_units=5, hopeless_from=6)  # it failed
    retarget(again, 1, 3, math.inf)
    assert again.phase is Phase.DONE
    one.good = student(5)  # it is good now
    retarget(one, 1, 3, math.inf)
    assert (one.target, one.phase, one.hopeless_units) == ((4,), Phase.SHRINK, 3)


def test_a_branch_aims_at_the_student_that_it_works_on() -> None:
    """Of several layers, those lose most that have the least important units: the target's widths are a guess."""
    one = branch((6, 6), 0, good=student(7, 5), target=(4, 6), student=student(6, 4), phase=Phase.TEACH)
    assert aim_of(one) == (6, 4)
    one.learning = student(5, 4)
    assert aim_of(one) == (5, 4)


def candidate(parameters: int, played: int = 40) -> Candidate:
    actor: Any = None
    returns = Paired(small=np.full(played, 100.0), teacher=np.full(played, 100.0), random=np.zeros(played))
    return Candidate(actor=actor, hidden=(1,), parameters=parameters, played=returns, retention=1.0, good=True)


def searching(spent: list[float], share: float = 1.0, by_steps: bool = False, total: float = 300.0) -> Search:
    pool: Any = SimpleNamespace(
        core_share=1.0, recent_core_share=share, slots=2, worker=SimpleNamespace(runner=SimpleNamespace(spaces=SPACES))
    )
    budget = Budget(total=total, spent=lambda: spent[0], by_steps=by_steps)
    return Search(pool, CompressSettings(), BASELINE, RANGE, budget, Pace(teacher=0.2, random=0.1, small=0.2), len)


def test_the_certificate_s_share_is_planned_anew() -> None:
    spent = [0.0]
    idle, busy, steps = searching(spent), searching(spent, 0.25), searching(spent, 0.25, by_steps=True)
    for run in (idle, busy, steps):
        assert run._reserved() == pytest.approx(45.0)  # nothing is good yet
        run.candidates.append(candidate(100))
    wanted = episodes_wanted(candidate(100).played, 0.95, RANGE, 0.03, cautious=False)
    assert 60 < wanted < episodes_wanted(candidate(100).played, 0.95, RANGE, 0.03)
    assert (1.6 * wanted + 40) * 0.5 < 120.0
    assert idle._reserved() == steps._reserved() == pytest.approx(120.0)  # caution would take more
    assert busy._reserved() == pytest.approx(180.0)
    for run in (idle, steps):
        run.candidates.append(candidate(80, played=80))
    wanted = episodes_wanted(candidate(80, played=80).played, 0.95, RANGE, 0.03)
    larger = episodes_wanted(candidate(100).played, 0.95, RANGE, 0.02, cautious=False)
    planned = (1.6 * wanted + 40) * 0.5 + (1.6 * larger + 40) * 0.2
    assert idle._reserved() == steps._reserved() == pytest.approx(min(planned, 120.0))
    spent[0] = 299.0 - idle._reserved()
    assert (idle._is_over(), busy._is_over()) == (False, True)


def test_by_steps_no_fine_tuning_begins_that_would_take_the_certificate_s_share() -> None:
    spent = [0.0]
    run, clock = searching(spent, by_steps=True, total=150_000.0), searching(spent, total=150_000.0)
    told = {"best": student(20), "reached": 0.9}
    first = OpenBranch(branch=branch((20,), 0, phase=Phase.TUNE, **told))
    begun = OpenBranch(branch=branch((20,), 1, phase=Phase.TUNE, tuner=b"", **told))
    taught = OpenBranch(branch=branch((20,), 2, phase=Phase.TEACH, **told))
    for one in (run, clock):
        one.opened = [first, begun, taught]
        one.candidates.append(candidate(200))
    left = run._reserved() + SEARCH.tuning_steps
    spent[0] = 150_000.0 - left - SEARCH.tuning_warmup

    def fits(search: Search) -> list[bool]:
        return [search._fits(one.next_tuning_steps(SEARCH)) for one in search.opened]

    assert fits(run) == [True, True, True]
    begun.running = RunningRound(job="0", began=0.0)
    assert fits(run) == [False, False, True]
    begun.branch.unjudged = (student(20),)  # the round that runs judges
    assert fits(run) == [True, True, True]
    begun.ahead = RunningRound(job="1", began=0.0)
    assert fits(run) == [False, True, True]
    begun.running = begun.ahead = None
    begun.branch.unjudged = ()
    spent[0] = 150_000.0 - left
    assert fits(run) == [False, True, True]
    spent[0] = 150_000.0 - left + 1.0
    assert fits(run) == [False, False, True]
    assert all(fits(clock))


def test_most_is_promised_by_what_is_much_smaller_near_to_good_and_cheap() -> None:
    run = searching([0.0])
    run.candidates.append(candidate(200))
    best = student(20)
    told = {
        "half": OpenBranch(branch=branch((48,), 0, good=student(40), target=(20,), phase=Phase.SHRINK), cost=10.0),
        "near": OpenBranch(branch=branch((20,), 1, best=best, reached=0.93, phase=Phase.TEACH), cost=10.0),
        "far": OpenBranch(branch=branch((20,), 2, best=best, reached=0.4, phase=Phase.TEACH), cost=10.0),
        "tired": OpenBranch(
            branch=branch((20,), 3, best=best, reached=0.93, without_improvement=5, phase=Phase.TUNE), cost=10.0
        ),
        "dear": OpenBranch(branch=branch((20,), 4, best=best, reached=0.93, phase=Phase.TEACH), cost=30.0),
        "no smaller": OpenBranch(branch=branch((40,), 5, best=best, reached=0.93, phase=Phase.TEACH), cost=10.0),
        "done": OpenBranch(branch=branch((20,), 6, phase=Phase.DONE), cost=10.0),
    }
    run.opened = list(told.values())
    promised = {name: run._promise(opened) for name, opened in told.items()}
    assert promised["near"] > promised["half"] > promised["far"] > 0.0
    assert promised["near"] > promised["tired"] > 0.0
    assert promised["near"] == pytest.approx(3.0 * promised["dear"])
    assert promised["no smaller"] == promised["done"] == 0.0


def test_while_nothing_is_good_the_first_start_goes_on_first() -> None:
    run = searching([0.0])
    run.opened = [
        OpenBranch(branch=branch((48,), 0, reached=0.2, phase=Phase.TEACH), cost=15.0),
        OpenBranch(branch=branch((14,), 1, reached=0.9, phase=Phase.TEACH), cost=10.0),
    ]
    assert run._promise(run.opened[0]) > run._promise(run.opened[1])


def test_a_round_takes_on_only_sizes_that_are_still_worth_it_when_it_is_over() -> None:
    run = searching([0.0])
    run.candidates.append(candidate(30))
    given: list[Any] = []
    run._pool.submit_round = lambda _, settings, *__: given.append(settings)  # type: ignore[method-assign,assignment]
    run._launch(OpenBranch(branch=branch((14,), 0)))
    maximum = given[0].max_parameters
    assert 28 < maximum < 29
    for parameters in (28, 29):
        one = OpenBranch(branch=branch((14,), 0, good=student(9), student=student(2), phase=Phase.TEACH))
        hidden = {28: (5, 1), 29: (7,)}[parameters]
        one.branch.student = student(*hidden)
        assert parameters_of(hidden, 3, 1) == {28: 28, 29: 36}[parameters]
        assert (run._promise(one) > 0.0 and one.branch.phase is Phase.TEACH) == (parameters < maximum)


def test_a_search_that_was_cut_short_goes_on_until_another_reserve() -> None:
    spent = [0.0]
    run = searching(spent)
    run.candidates.append(candidate(200))
    near = OpenBranch(branch=branch((20,), 0, best=student(20), reached=0.93, phase=Phase.TEACH), cost=10.0)
    run.opened = [near]
    launched: list[float] = []

    def launch(opened: OpenBranch) -> None:
        launched.append(spent[0])
        spent[0] += 30.0
        opened.branch = branch((20,), 0, phase=Phase.DONE) if len(launched) == 3 else opened.branch

    run._launch = launch  # type: ignore[method-assign,assignment]
    run._pool.slots = 1
    spent[0] = 250.0
    assert run._is_over()
    assert run.promises
    run.go_on(20.0)
    assert launched == [250.0]
    spent[0] = 100.0
    run.go_on(20.0)
    assert launched == [250.0, 100.0]


def test_a_free_worker_tunes_ahead_only_where_no_other_branch_promises_anything() -> None:
    run = searching([0.0])
    run.candidates.append(candidate(200))
    told = {"best": student(20), "reached": 0.93}
    judging = OpenBranch(branch=branch((20,), 0, phase=Phase.TUNE, unjudged=(student(20),), **told), cost=10.0)
    judging.running = RunningRound(job="0", began=0.0)
    other = OpenBranch(branch=branch((20,), 1, phase=Phase.TEACH, **told), cost=10.0)
    run.opened = [judging, other]

    def launched() -> list[tuple[int, bool]]:
        found: list[tuple[int, bool]] = []
        run._launch = lambda opened, ahead=False: found.append((opened.branch.number, ahead))  # type: ignore[method-assign,assignment]
        run._launch_all()
        return found

    assert launched() == [(1, False)]
    other.branch.phase = Phase.DONE
    assert launched() == [(0, True)]
    judging.branch.reached = 0.0
    run.candidates.append(candidate(20))  # so much smaller that this size no longer helps
    assert launched() == []
    run.candidates.pop()
    judging.ahead = judging.running
    assert launched() == []
    judging.ahead, run._pool.slots = None, 1  # type: ignore[misc]
    assert launched() == []
