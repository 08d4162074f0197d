"""A sweep on two nodes of Ray, one of which is killed: the table of an undisturbed one."""

from __future__ import annotations

from pathlib import Path

import pytest
from killing.sweeps import results_of
from small_sweeps import SMALL, sweep_file
from sweep_kills import NodeKiller

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


def test_a_sweep_outlives_a_node(tmp_path: Path) -> None:
    text = SMALL.replace('"masked 0.9", "from scratch", "linear"]', '"linear"]')
    sweep = read_sweep(sweep_file(tmp_path, text))
    run_sweep(sweep, tmp_path / "whole", SerialExecutor)
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 10**8}
    cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
    try:
        doomed = cluster.add_node(num_cpus=1, object_store_memory=10**8)
        other = cluster.add_node(num_cpus=1, object_store_memory=10**8)
        assert other is not doomed
        display = NodeKiller(cluster, doomed, 1024)
        run_sweep(sweep, tmp_path / "out", lambda: executor_named("ray", 2, address=cluster.address), [display])
    finally:
        cluster.shutdown()
    assert display.killed
    assert display.lost
    assert results_of(tmp_path / "out") == results_of(tmp_path / "whole")
