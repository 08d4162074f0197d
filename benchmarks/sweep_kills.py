"""A sweep killed with -9 ten times and resumed, and one on two nodes of Ray of which one is killed.

    python benchmarks/sweep_kills.py      # benchmarks/results/sweep_kills.json; needs the extra ray

Both must end with the results of a sweep that was left alone, to the last return; only times may differ.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

from killing.sweeps import SMALL, left_behind, results_of, run_killed
from record import write_result

from prunekit.executors import executor_named
from prunekit.sweep.file import read_sweep
from prunekit.sweep.run import run_sweep

KILLS, LONGEST = 10, 10.0


class NodeKiller:
    """Removes a node of the cluster when a cell has got half-way on it or on the other."""

    def __init__(self, cluster: Any, node: Any, steps: int) -> None:
        self._cluster, self._node, self._steps = cluster, node, steps
        self.killed, self.lost = False, 0

    def counted(self, done: int, failed: int, of: int) -> None:
        """Take no notice."""

    def said(self, text: str) -> None:
        """Count jobs whose worker died."""
        self.lost += "its worker died" in text

    def running(self, name: str, state: dict[str, Any] | None) -> None:  # noqa: ARG002
        """Kill the node at the first report that is far enough."""
        if not self.killed and state is not None and state.get("steps", 0) >= self._steps:
            self.killed = True
            self._cluster.remove_node(self._node, allow_graceful=False)


def on_two_nodes(file: Path, out: Path) -> int:
    """Run a sweep on two nodes of one machine and kill one; return how many jobs that cost."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 10**8}
    cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
    try:
        doomed, _ = (cluster.add_node(num_cpus=1, object_store_memory=10**8) for _ in range(2))
        killer = NodeKiller(cluster, doomed, 8_192)
        run_sweep(read_sweep(file), out, lambda: executor_named("ray", 2, address=cluster.address), [killer])
    finally:
        cluster.shutdown()
    return killer.lost


def main() -> None:
    """Kill, resume, compare, keep."""
    seed = random.SystemRandom().randrange(2**32)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        file = root / "sweep.toml"
        file.write_text(SMALL)
        run_sweep(read_sweep(file), root / "whole", lambda: executor_named("processes"))
        lived = run_killed(file, root / "killed", KILLS, random.Random(seed), LONGEST)
        lost = on_two_nodes(file, root / "ray")
        whole = results_of(root / "whole")
        found = {
            "cells": len(whole["cells"]),
            "kills": len(lived),
            "seconds_lived": [round(value, 2) for value in lived],
            "moments_seed": seed,
            "killed_equal": results_of(root / "killed") == whole,
            "left_behind": left_behind(root / "killed"),
            "ray_jobs_lost": lost,
            "ray_equal": results_of(root / "ray") == whole,
        }
    print(found)
    print(write_result("sweep_kills", "python benchmarks/sweep_kills.py", found))


if __name__ == "__main__":
    main()
