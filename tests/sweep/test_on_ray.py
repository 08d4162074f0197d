"""A sweep on two nodes of Ray, one of which is killed: the table of an undisturbed one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from killed_sweep import results_of
from small_sweeps import SMALL, sweep_file

from prunekit.executors import executor_named
from prunekit.executors.serial import SerialExecutor
from prunekit.sweep.file import read_sweep
from prunekit.sweep.run import run_sweep

try:
    import ray
    from ray.cluster_utils import Cluster
except ImportError:
    ray = None

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.skipif(ray is None, reason="needs Ray, an extra")]


class KillsNode:
    """Removes a node of the cluster once a cell has got somewhere on it."""

    def __init__(self, cluster: Any, node: Any) -> None:
        self.cluster, self.node, self.killed = cluster, node, False
        self.lines: list[str] = []

    def counted(self, done: int, failed: int, of: int) -> None: ...

    def said(self, text: str) -> None:
        self.lines.append(text)

    def running(self, name: str, state: dict[str, Any] | None) -> None:
        if state is not None and state.get("steps", 0) >= 2048 and not self.killed:
            self.killed = True
            self.cluster.remove_node(self.node, allow_graceful=False)


def test_a_sweep_outlives_a_node(tmp_path: Path) -> None:
    text = SMALL.replace('"from scratch", "linear"]', '"linear"]').replace("steps = [4096]", "steps = [8192]")
    sweep = read_sweep(sweep_file(tmp_path, text))
    run_sweep(sweep, tmp_path / "whole", SerialExecutor)
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 10**8}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        doomed = cluster.add_node(num_cpus=1, object_store_memory=10**8)
        other = cluster.add_node(num_cpus=1, object_store_memory=10**8)
        assert other is not doomed
        display = KillsNode(cluster, doomed)
        run_sweep(sweep, tmp_path / "out", lambda: executor_named("ray", 2, address=cluster.address), [display])
    finally:
        cluster.shutdown()
    assert display.killed
    assert any("its worker has died" in line for line in display.lines)
    assert results_of(tmp_path / "out") == results_of(tmp_path / "whole")
