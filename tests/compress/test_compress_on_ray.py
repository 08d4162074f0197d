"""With a budget of steps the same bytes come out in one process, in two, and on a cluster that loses a node."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from prunekit.compression.read import read_teacher
from prunekit.compression.result import Compressed
from prunekit.compression.run import compress, write
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.task import Task
from prunekit.compression.workers import WorkerPool
from prunekit.disturbances.record import Disturbance
from prunekit.executors import Event, Lost, Started
from prunekit.executors.ray import RayExecutor

try:
    import ray
    from ray.cluster_utils import Cluster
except ImportError:
    ray = None

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.skipif(ray is None, reason="needs Ray, an extra")]

SEARCH = SearchSettings(
    starts=((6,), (12,)),
    first_steps=150,
    steps=50,
    lesson_steps=50,
    refinements=0,
    recoveries=0,
    teacher_episodes=2,
    selection_episodes=15,
    tuning_steps=2_048,
    tuning_warmup=2_048,
)
SETTINGS = CompressSettings(
    search=SEARCH, episodes=20, steps=100_000, disturbance=Disturbance(observation_noise=0.05, drop=0.05)
)
TEACHER = Path(__file__).parents[2] / "models" / "CartPole-v1-ppo" / "dense.pt"


class NodeKiller:
    """Removes a node of the cluster when a round of the search has begun on it."""

    def __init__(self, cluster: Any, node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self._raylet = node.all_processes["raylet"][0].process.pid
        self.rounds: set[str] = set()
        self.killed, self.lost = "", list[str]()
        look, submit = RayExecutor.events, WorkerPool.submit_round

        def submitted(pool: WorkerPool, *words: Any) -> str:
            name = submit(pool, *words)
            self.rounds.add(name)
            return name

        def watched(executor: RayExecutor, timeout: float) -> list[Event]:
            events = look(executor, timeout)
            for event in events:
                if isinstance(event, Started) and not self.killed and self._is_round_there(event):
                    self.killed = event.name
                    cluster.remove_node(node, allow_graceful=False)
                if isinstance(event, Lost):
                    self.lost.append(event.name)
            return events

        monkeypatch.setattr(WorkerPool, "submit_round", submitted)
        monkeypatch.setattr(RayExecutor, "events", watched)

    def _is_round_there(self, event: Started) -> bool:
        stat = Path(f"/proc/{event.worker.rpartition(':')[2]}/stat").read_text()
        parent = int(stat.rpartition(")")[2].split()[1])
        return event.name in self.rounds and parent == self._raylet


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that works on nothing itself."""
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 10**8}
    cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)  # which takes SIGTERM
    yield cluster
    cluster.shutdown()


def test_the_same_bytes_wherever_the_workers_are_and_die(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    doomed, _ = (cluster.add_node(num_cpus=1, object_store_memory=10**8) for _ in range(2))
    task = Task(env_id="CartPole-v1", teacher_of=partial(read_teacher, TEACHER))
    found = [compress(task, SETTINGS), compress(task, SETTINGS, workers=2)]
    killer = NodeKiller(cluster, doomed, monkeypatch)
    found.append(compress(task, SETTINGS, workers=2, engine="ray", address=cluster.address))
    assert killer.killed in killer.lost
    assert len(found[0].points) > 2
    contents = [written(one, tmp_path) for one in found]
    assert contents[0] == contents[1] == contents[2]


def written(result: Compressed, folder: Path) -> list[bytes]:
    """Return what the policies, the card and ``certificate.json`` hold: with steps they tell no times."""
    return [path.read_bytes() for path in write(result, folder)]
