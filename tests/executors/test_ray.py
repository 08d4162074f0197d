"""Jobs as tasks of Ray: the same results, on a cluster whose nodes and workers may be killed."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from job_functions import (
    PATIENCE,
    all_events,
    await_end,
    die,
    die_unless_there,
    fail,
    is_alive,
    last_events,
    place,
    seeded,
    tidy,
    until,
    wait_for_cancel,
    wait_for_file,
)

from prunekit.errors import InputError
from prunekit.executors import (
    Cancelled,
    Context,
    Event,
    Failed,
    Finished,
    Job,
    Lost,
    Progress,
    Started,
    executor_named,
)
from prunekit.executors.ray import RayExecutor


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        InputError,
        match=r"the ray engine needs the package ray, which is not installed; run: pip install 'prunekit\[ray\]'",
    ):
        executor_named("ray")


try:
    import ray
    from ray.cluster_utils import Cluster
except ImportError:
    ray = None

needs_ray = pytest.mark.skipif(ray is None, reason="needs Ray, an extra")
pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head of one core. A node more, which a test may kill, is its own to add."""
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 10**8}
    cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)  # which takes SIGTERM
    yield cluster
    cluster.shutdown()


@pytest.fixture
def executor(cluster: Any) -> Iterator[RayExecutor]:
    with RayExecutor(cluster.address, 1, b"shared", max_attempts=2) as executor:
        yield executor


def where(path: Path, context: Context) -> str:
    """Report the node that this runs on, and return it when ``path`` is there."""
    node = ray.get_runtime_context().get_node_id()
    context.report(node)
    wait_for_file(path, context)
    return str(node)


@needs_ray
def test_results_are_those_of_the_calling_process(executor: RayExecutor) -> None:
    found = []
    for each in (executor, executor_named("serial", shared=b"shared")):
        for seed in range(4):
            each.submit(Job(name=str(seed), function=seeded, argument=seed))
        events = all_events(each)
        assert sum(isinstance(event, Started) for event in events) == 4
        progress = [event for event in events if isinstance(event, Progress)]
        found.append((last_events(events), sorted(progress, key=lambda event: event.name)))
    assert found[0] == found[1]


@needs_ray
def test_failures_and_lost_workers_and_shared_bytes(executor: RayExecutor, tmp_path: Path) -> None:
    executor.submit(Job(name="fails", function=fail, argument="the butler"))
    executor.submit(Job(name="dies once", function=die_unless_there, argument=tmp_path / "there"))
    executor.submit(Job(name="dies", function=die, argument=3))
    for index in range(4):
        executor.submit(Job(name=f"place {index}", function=place))
    events = all_events(executor)
    ended = last_events(events)
    failed = ended["fails"]
    assert isinstance(failed, Failed)
    assert failed.error == "UnpicklableError: it was the butler all along"
    assert "in fail\n" in failed.traceback
    kinds = [type(event).__name__ for event in events if event.name == "dies once"]
    assert kinds == ["Started", "Progress", "Lost", "Started", "Progress", "Finished"]
    died = ended["dies"]
    assert isinstance(died, Failed)
    assert died.error == "its worker died 2 times: WorkerCrashedError"
    places = [event.result for event in ended.values() if isinstance(event, Finished) and event.name[:5] == "place"]
    assert len(places) == 4
    assert {objects for _, objects in places} == {1}


@needs_ray
def test_jobs_are_cancelled_wherever_they_wait_or_run(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    with RayExecutor(cluster.address, 2) as executor:  # of which there is a core for one
        executor.submit(Job(name="runs", function=wait_for_cancel))
        until(executor, Progress(name="runs", event="waiting"))
        for name in ("waits in Ray", "waits here"):
            executor.submit(Job(name=name, function=wait_for_file, argument=tmp_path / "there"))
            executor.cancel(name)
        executor.cancel("runs")
        events = all_events(executor)
    assert len(events) == 3
    assert last_events(events) == {name: Cancelled(name=name) for name in ("runs", "waits in Ray", "waits here")}


@needs_ray
def test_no_job_is_lost_with_the_mailbox(executor: RayExecutor, tmp_path: Path) -> None:
    executor.submit(Job(name="cancelled", function=wait_for_cancel))
    until(executor, Progress(name="cancelled", event="waiting"))
    executor.cancel("cancelled")
    ray.kill(executor._mailbox, no_restart=False)
    executor.submit(Job(name="next", function=seeded, argument=1))
    ended = last_events(all_events(executor))
    assert ended["cancelled"] == Cancelled(name="cancelled")
    assert isinstance(ended["next"], Finished)


@needs_ray
def test_what_runs_is_cancelled_when_the_executor_is_left(cluster: Any, tmp_path: Path) -> None:
    with RayExecutor(cluster.address, 1, grace_seconds=PATIENCE) as executor:
        executor.submit(Job(name="job", function=tidy, argument=tmp_path / "tidied"))
        until(executor, Progress(name="job", event="waiting"))
    assert (tmp_path / "tidied").exists()


@needs_ray
def test_a_connection_of_the_caller_is_used_and_kept(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONBREAKPOINT", "0")  # Ray changes it, and how this process takes SIGTERM
    before = signal.getsignal(signal.SIGTERM)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    try:
        with executor_named("ray") as executor:
            assert executor.slots == 1
            executor.submit(Job(name="job", function=seeded, argument=1))
            assert isinstance(last_events(all_events(executor))["job"], Finished)
        with RayExecutor(None, None, grace_seconds=0.1) as executor:
            executor.submit(Job(name="job", function=wait_for_file, argument=tmp_path / "never"))
            started = until(executor, Progress(name="job", event="waiting"))[0]
        assert isinstance(started, Started)
        await_end(int(started.worker.rpartition(":")[2]))
        assert ray.is_initialized()
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, before)


@needs_ray
def test_a_job_runs_again_whose_node_was_killed(cluster: Any, tmp_path: Path) -> None:
    with RayExecutor(cluster.address, 2) as executor:  # connected before there is another node to connect through
        head = ray.get_runtime_context().get_node_id()
        other = cluster.add_node(num_cpus=1, object_store_memory=10**8)
        for name in ("a", "b"):
            executor.submit(Job(name=name, function=where, argument=tmp_path / name))
        events: list[Event] = []
        while sum(isinstance(event, Progress) and event.event == "waiting" for event in events) < 2:
            found = executor.events(PATIENCE)
            assert found
            events += found
        nodes = {
            event.name: event.event for event in events if isinstance(event, Progress) and event.event != "waiting"
        }
        assert sorted(nodes.values()) == sorted((head, other.node_id))
        killed, kept = sorted(nodes, key=lambda name: nodes[name] == head)
        cluster.remove_node(other, allow_graceful=False)
        events += until(executor, Lost(name=killed, attempt=1))
        (tmp_path / kept).touch()
        (tmp_path / killed).touch()
        events += all_events(executor)
    ended = last_events(events)
    assert ended == {name: Finished(name=name, result=head) for name in nodes}
    assert [event for event in events if isinstance(event, Lost)] == [Lost(name=killed, attempt=1)]


@needs_ray
def test_a_cluster_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"no Ray cluster at 'nowhere': "):
        RayExecutor("nowhere", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    begun = time.monotonic()
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "127.0.0.1:99999", f"no host:{port}", ":1"):
        with pytest.raises(InputError, match=f"no Ray cluster at '{address}': "):
            RayExecutor(address, 1)
    assert time.monotonic() - begun < 20.0, "Ray itself would ask for minutes"
    with pytest.raises(InputError, match="slots must be at least 1"):
        RayExecutor(None, 0)


_MAIN = """
import os, signal, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from job_functions import wait_for_file
from prunekit.executors import Job, Started, executor_named
if __name__ == "__main__":
    before = signal.getsignal(signal.SIGTERM), os.environ.get("PYTHONBREAKPOINT")
    with executor_named("ray", 1) as executor:
        assert before == (signal.getsignal(signal.SIGTERM), os.environ.get("PYTHONBREAKPOINT"))
        executor.submit(Job(name="job", function=wait_for_file, argument=Path({never!r})))
        while True:
            for event in executor.events(60.0):
                if isinstance(event, Started):
                    print(event.worker, flush=True)
"""


@needs_ray
def test_a_cluster_on_this_machine_ends_with_the_main_process(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(_MAIN.format(here=str(Path(__file__).parent), never=str(tmp_path / "never")))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE) as main:
        assert main.stdout is not None
        told = main.stdout.readline()
        assert told, main.communicate()
        worker = int(told.rpartition(":")[2])
        assert is_alive(worker)
        main.kill()
        await_end(worker)
