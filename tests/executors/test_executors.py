"""What every executor promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from job_functions import (
    all_events,
    count_down,
    fail,
    last_events,
    leave,
    place,
    report_unreadable,
    return_unpicklable,
    seeded,
)

from prunekit.errors import InputError
from prunekit.executors import Cancelled, Executor, Failed, Finished, Job, Progress, Started, executor_named

LOCAL = {"serial": 1, "processes": 2}


@pytest.fixture(params=LOCAL)
def make(request: pytest.FixtureRequest) -> Callable[..., Executor]:
    return lambda **given: executor_named(request.param, LOCAL[request.param], **given)


def outcome_of(executor: Executor, function: Callable[..., Any], argument: object = None) -> Any:
    executor.submit(Job(name="job", function=function, argument=argument))
    return last_events(all_events(executor))["job"]


def test_results_do_not_depend_on_the_executor() -> None:
    found = []
    for engine, slots in LOCAL.items():
        with executor_named(engine, slots, b"shared") as executor:
            for seed in range(6):
                executor.submit(Job(name=f"job {seed}", function=seeded, argument=seed))
            events = all_events(executor)
        results = sorted(last_events(events).items())
        assert [name for name, _ in results] == [f"job {seed}" for seed in range(6)]
        assert all(isinstance(event, Finished) and event.result[1] == b"shared" for _, event in results)
        progress = sorted(event.event for event in events if isinstance(event, Progress))
        found.append((results, progress))
    assert found[0] == found[1]


def test_a_job_tells_its_start_its_progress_in_order_and_its_end(make: Callable[..., Executor]) -> None:
    with make() as executor:
        executor.submit(Job(name="job", function=seeded, argument=3))
        events = all_events(executor)
    assert isinstance(events[0], Started)
    assert events[0].worker.isdecimal()
    assert [event.event[:2] for event in events[1:-1] if isinstance(event, Progress)] == [(3, 0), (3, 1), (3, 2)]
    assert isinstance(events[-1], Finished)
    assert len(events) == 5


def test_shared_bytes_reach_a_worker_once(make: Callable[..., Executor]) -> None:
    with make(shared=bytes(100_000)) as executor:
        for index in range(10):
            executor.submit(Job(name=str(index), function=place))
        ended = last_events(all_events(executor)).values()
    places = [event.result for event in ended if isinstance(event, Finished)]
    assert len(places) == 10
    assert len({process for process, _ in places}) <= executor.slots
    assert {objects for _, objects in places} == {1}


def test_an_error_arrives_in_words_whether_it_can_be_pickled_or_not(make: Callable[..., Executor]) -> None:
    with make() as executor:
        failed = outcome_of(executor, fail, "the gardener")
        left = outcome_of(executor, leave, 3)
        after = outcome_of(executor, seeded, 1)
    assert isinstance(failed, Failed)
    assert failed.error == "UnpicklableError: it was the gardener all along"
    assert "in fail\n" in failed.traceback
    assert isinstance(left, Failed)
    assert left.error == "SystemExit: 3"
    assert isinstance(after, Finished)


@pytest.mark.parametrize("function", [return_unpicklable, report_unreadable])
def test_what_cannot_be_sent_back_is_the_failure_of_its_job(
    make: Callable[..., Executor], function: Callable[..., Any]
) -> None:
    with make() as executor:
        failed = outcome_of(executor, function)
        assert isinstance(outcome_of(executor, seeded, 1), Finished)
    assert isinstance(failed, Failed)
    assert failed.error.startswith("TypeError: what a job returns or reports must be picklable: ")


def test_seconds_are_counted_from_the_start_of_the_job(make: Callable[..., Executor]) -> None:
    with make() as executor:
        executor.submit(Job(name="limited", function=count_down, seconds=0.4))
        executor.submit(Job(name="endless", function=count_down))
        ended = last_events(all_events(executor))
    assert isinstance(ended["limited"], Finished)
    first, second, third = ended["limited"].result
    assert 0.2 < first <= 0.4
    assert second <= first - 0.2
    assert third == 0.0
    assert isinstance(ended["endless"], Finished)
    assert ended["endless"].result == (math.inf,) * 3


def test_a_queued_job_is_dropped(make: Callable[..., Executor]) -> None:
    with make() as executor:
        for index in range(executor.slots):
            executor.submit(Job(name=f"first {index}", function=count_down))
        executor.submit(Job(name="dropped", function=seeded, argument=1))
        executor.submit(Job(name="kept", function=seeded, argument=1))
        executor.cancel("dropped")
        executor.cancel("unknown")
        events = all_events(executor)
    assert [event for event in events if event.name == "dropped"] == [Cancelled(name="dropped")]
    assert isinstance(last_events(events)["kept"], Finished)


def test_jobs_that_cannot_be_sent_are_refused_and_leave_nothing(make: Callable[..., Executor]) -> None:
    with make() as executor:
        with pytest.raises(InputError, match=r"job 'job' cannot be sent to a worker: .*top level of a module"):
            executor.submit(Job(name="job", function=lambda _, __: None))
        with pytest.raises(InputError, match="its argument picklable"):
            executor.submit(Job(name="job", function=seeded, argument=iter(lambda: 1, 2)))
        for seconds in (0.0, -1.0, math.inf, math.nan):
            with pytest.raises(InputError, match="the seconds of job 'job' must be positive and finite"):
                executor.submit(Job(name="job", function=seeded, argument=1, seconds=seconds))
        assert executor.events(0.0) == []
        executor.submit(Job(name="job", function=seeded, argument=1))
        with pytest.raises(InputError, match="a job 'job' is already running"):
            executor.submit(Job(name="job", function=seeded, argument=1))
        assert isinstance(last_events(all_events(executor))["job"], Finished)


def test_a_job_has_the_argument_as_it_was_when_it_was_submitted(make: Callable[..., Executor]) -> None:
    argument = [1]
    with make() as executor:
        executor.submit(Job(name="job", function=_changing, argument=argument))
        argument.append(2)
        event = last_events(all_events(executor))["job"]
    assert isinstance(event, Finished)
    assert event.result == [1, 3]
    assert argument == [1, 2]


def _changing(numbers: list[int], _: object) -> list[int]:
    numbers.append(3)
    return numbers


@pytest.mark.parametrize(
    ("engine", "given", "text"),
    [
        ("threads", {}, "unknown engine 'threads'; choose one of serial, processes, ray"),
        ("serial", {"slots": 2}, "the serial engine runs one job at a time, not 2"),
        ("processes", {"slots": 0}, "slots must be at least 1, not 0"),
        ("processes", {"address": "auto"}, "the processes engine has no address"),
    ],
)
def test_engines_that_cannot_be_had_are_refused(engine: str, given: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        executor_named(engine, **given)


def test_as_many_processes_as_cores_where_nothing_is_said() -> None:
    assert executor_named("processes").slots >= 1


def test_an_executor_without_jobs_has_no_events_and_does_not_wait(make: Callable[..., Executor]) -> None:
    with make() as executor:
        assert executor.events(1e6) == []
