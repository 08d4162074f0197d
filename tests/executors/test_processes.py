"""Worker processes die, are cancelled and end without harm to anything else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from job_functions import (
    PATIENCE,
    all_events,
    await_end,
    die,
    die_unless_there,
    is_alive,
    is_open,
    last_events,
    seeded,
    surroundings,
    tidy,
    until,
    wait_for_cancel,
    wait_for_file,
)

from prunekit.executors import Cancelled, Failed, Finished, Job, Lost, Progress, Started
from prunekit.executors.processes import ProcessExecutor
from prunekit.executors.starting import deaf_processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


def open_files() -> list[str]:
    return sorted(os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if is_open(number))


def test_a_killed_worker_is_replaced_and_others_are_not_disturbed(tmp_path: Path) -> None:
    with ProcessExecutor(2) as executor:
        executor.submit(Job(name="other", function=wait_for_file, argument=tmp_path / "other"))
        executor.submit(Job(name="killed", function=wait_for_file, argument=tmp_path / "killed"))
        events = until(executor, Progress(name="other", event="waiting"))
        if Progress(name="killed", event="waiting") not in events:
            events += until(executor, Progress(name="killed", event="waiting"))
        worker_of = {event.name: int(event.worker) for event in events if isinstance(event, Started)}
        os.kill(worker_of["killed"], signal.SIGKILL)
        events += until(executor, Progress(name="killed", event="waiting"))
        for name in worker_of:
            (tmp_path / name).touch()
        events += all_events(executor)
    ended = last_events(events)
    assert ended["other"] == Finished(name="other", result=worker_of["other"])
    assert isinstance(ended["killed"], Finished)
    assert ended["killed"].result != worker_of["killed"]
    assert [event for event in events if isinstance(event, Lost)] == [Lost(name="killed", attempt=1)]
    assert sum(isinstance(event, Started) for event in events) == 3


def test_a_job_that_kills_its_worker_runs_again(tmp_path: Path) -> None:
    with ProcessExecutor(1) as executor:
        executor.submit(Job(name="job", function=die_unless_there, argument=tmp_path / "there"))
        events = all_events(executor)
    kinds = [type(event).__name__ for event in events]
    assert kinds == ["Started", "Progress", "Lost", "Started", "Progress", "Finished"]


def test_a_job_fails_that_kills_every_worker_and_others_go_on() -> None:
    with ProcessExecutor(1, max_attempts=2) as executor:
        executor.submit(Job(name="deadly", function=die, argument=7))
        executor.submit(Job(name="after", function=seeded, argument=1))
        events = all_events(executor)
    ended = last_events(events)
    assert ended["deadly"] == Failed(name="deadly", error="its worker died 2 times: exit code 7", traceback="")
    assert isinstance(ended["after"], Finished)
    assert [event for event in events if isinstance(event, Lost)] == [Lost(name="deadly", attempt=1)]
    assert [event.name for event in events if isinstance(event, Started)] == ["deadly", "deadly", "after"]


def test_an_idle_worker_that_dies_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    with ProcessExecutor(1) as executor:
        executor.submit(Job(name="first", function=wait_for_file, argument=tmp_path / "there"))
        first = last_events(all_events(executor))["first"]
        assert isinstance(first, Finished)
        os.kill(first.result, signal.SIGKILL)
        await_end(first.result)
        executor.submit(Job(name="second", function=wait_for_file, argument=tmp_path / "there"))
        second = last_events(all_events(executor))["second"]
    assert isinstance(second, Finished)
    assert second.result != first.result


def test_a_running_job_sees_that_it_is_cancelled_and_its_worker_goes_on() -> None:
    with ProcessExecutor(1) as executor:
        executor.submit(Job(name="job", function=wait_for_cancel))
        executor.submit(Job(name="next", function=seeded, argument=1))
        until(executor, Progress(name="job", event="waiting"))
        executor.cancel("job")
        executor.cancel("job")
        events = all_events(executor)
    assert last_events(events)["job"] == Cancelled(name="job")
    assert isinstance(last_events(events)["next"], Finished)


def test_a_cancelled_job_whose_worker_dies_is_not_run_again(tmp_path: Path) -> None:
    with ProcessExecutor(1) as executor:
        executor.submit(Job(name="job", function=wait_for_file, argument=tmp_path / "never"))
        started = until(executor, Progress(name="job", event="waiting"))[0]
        assert isinstance(started, Started)
        executor.cancel("job")
        os.kill(int(started.worker), signal.SIGKILL)
        assert all_events(executor) == [Cancelled(name="job")]


def test_a_job_is_cancelled_whose_worker_has_not_begun() -> None:
    with ProcessExecutor(1) as executor:
        executor.submit(Job(name="job", function=wait_for_cancel))
        executor.cancel("job")
        assert all_events(executor) == [Cancelled(name="job")]


def test_workers_have_one_thread_and_no_files_or_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        with ProcessExecutor(1) as executor:
            executor.submit(Job(name="job", function=surroundings))
            event = last_events(all_events(executor))["job"]
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert isinstance(event, Finished)
    assert event.result["threads"] == 1
    assert event.result["ignores"]
    assert file.name not in event.result["files"]
    assert event.result["files"].count("/dev/null") >= 2
    assert capfd.readouterr() == ("", "")


def test_nothing_is_left_when_an_executor_is_left(tmp_path: Path) -> None:
    for _ in range(2):  # multiprocessing keeps files of its own from the first time on
        before = open_files()
        with ProcessExecutor(2, grace_seconds=0.1) as executor:
            for index in range(4):
                executor.submit(Job(name=str(index), function=wait_for_file, argument=tmp_path / "never"))
            workers = []
            while len(workers) < 2:
                workers += [int(event.worker) for event in executor.events(PATIENCE) if isinstance(event, Started)]
        after = open_files()
    assert after == before
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_what_runs_has_time_to_see_that_it_is_cancelled(tmp_path: Path) -> None:
    with ProcessExecutor(1, grace_seconds=PATIENCE) as executor:
        executor.submit(Job(name="job", function=tidy, argument=tmp_path / "tidied"))
        until(executor, Progress(name="job", event="waiting"))
    assert (tmp_path / "tidied").exists()


def test_no_time_is_given_where_the_main_process_was_told_to_end(tmp_path: Path) -> None:
    began = time.monotonic()
    with suppress(KeyboardInterrupt), ProcessExecutor(1, grace_seconds=PATIENCE) as executor:
        executor.submit(Job(name="job", function=wait_for_file, argument=tmp_path / "never"))
        until(executor, Progress(name="job", event="waiting"))
        raise KeyboardInterrupt
    assert time.monotonic() - began < PATIENCE / 2


_MAIN = """
import os, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from job_functions import wait_for_file
from prunekit.executors import Job, Started
from prunekit.executors.processes import ProcessExecutor
if __name__ == "__main__":
    with ProcessExecutor(2) as executor:
        for index in range(2):
            executor.submit(Job(name=str(index), function=wait_for_file, argument=Path({never!r})))
        started = 0
        while started < 2:
            for event in executor.events(60.0):
                if isinstance(event, Started):
                    started += 1
                    print(event.worker, flush=True)
        if {fork} and os.fork() == 0:
            print(os.getpid(), flush=True)
            import time; time.sleep(60.0)
        executor.events(60.0), executor.events(60.0), executor.events(60.0)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("fork", [False, True])
def test_workers_end_with_their_main_process_however_it_ends(tmp_path: Path, number: int, fork: bool) -> None:
    script = tmp_path / "main.py"
    script.write_text(_MAIN.format(here=str(Path(__file__).parent), never=str(tmp_path / "never"), fork=fork))
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
    ) as main:
        assert main.stdout is not None
        told = [int(main.stdout.readline()) for _ in range(3 if fork else 2)]
        workers, others = told[:2], told[2:]
        assert all(is_alive(worker) for worker in workers)
        main.send_signal(number)
        for worker in workers:
            await_end(worker)
        for other in others:
            os.kill(other, signal.SIGKILL)


def test_workers_do_not_hear_what_the_terminal_says(tmp_path: Path) -> None:
    with ProcessExecutor(1) as executor:
        executor.submit(Job(name="job", function=wait_for_file, argument=tmp_path / "there"))
        (begun,) = multiprocessing.active_children()
        assert begun.pid is not None
        for _ in range(10):  # from before it has run any code of prunekit
            for number in (signal.SIGINT, signal.SIGHUP):
                os.kill(begun.pid, number)
            time.sleep(0.02)
        until(executor, Progress(name="job", event="waiting"))
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(begun.pid, number)
        (tmp_path / "there").touch()
        assert last_events(all_events(executor))["job"] == Finished(name="job", result=begun.pid)


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from prunekit.executors import Failed, Job\nfrom prunekit.executors.processes import ProcessExecutor\n"
        "with ProcessExecutor(1, max_attempts=1) as executor:\n    executor.submit(Job(name='job', function=print))\n"
        "    print([event.error for event in executor.events(60.0) if isinstance(event, Failed)])\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert "its worker died: exit code 1 while it began" in done.stdout
    assert "__main__" in done.stdout


def test_what_comes_while_processes_begin_is_heard_afterwards() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _: heard.append(number))
    try:
        with deaf_processes():
            os.kill(os.getpid(), signal.SIGHUP)
        deadline = time.monotonic() + 5.0
        while not heard and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert heard == [signal.SIGHUP]
