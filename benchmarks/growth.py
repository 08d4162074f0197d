"""How time and memory grow with a network: reading, pruning and writing two hidden layers of 256 to 4,096 units.

    python benchmarks/growth.py             # benchmarks/results/growth.json

Each step runs in processes of its own, one thread, after it ran on a network of 16 units, so that nothing is imported
while it is measured. Seconds are the processor's, the least of ``REPEATS``. Memory is the largest resident size while
the step runs, above that before its input was made: the input, a network of 4 bytes per parameter or a file, is in it.
Linux tells that size, and forgets it when asked (``/proc``).
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from record import write_result
from torch import nn

import prunekit
from prunekit.export.c import CSettings, c_code, export_c
from prunekit.export.onnx import checked_onnx
from prunekit.graph import surgery
from prunekit.graph.graph import Graph, Port
from prunekit.graph.groups import find_groups
from prunekit.graph.tracing import trace
from prunekit.policy.graphs import graph_of
from prunekit.readers.read import read_policy

INPUTS, OUTPUTS, WIDTHS, SMALL, REPEATS = 64, 16, (256, 1024, 4096), 16, 3
REMOVED = 0.93


def network_of(width: int) -> nn.Sequential:
    """Return the network, always with the same weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(INPUTS, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, OUTPUTS)
    )


def actor_of(width: int) -> prunekit.Actor:
    """Return the network as a policy of ``OUTPUTS`` actions."""
    return prunekit.Actor(network_of(width), prunekit.ArgmaxHead())


def graph_alone(width: int) -> Graph:
    """Return the policy as a graph."""
    return graph_of(actor_of(width))


def masks_of(names: Sequence[str], width: int) -> dict[str, NDArray[np.bool_]]:
    """Return a mask per group that keeps some units at random."""
    kept = max(round(width * (1.0 - REMOVED)), 1)
    generator = np.random.default_rng(0)
    return {name: generator.permutation(width) < kept for name in names}


def write_files(folder: Path, width: int) -> None:
    """Write the policy as ``model.pt``, ONNX and TorchScript."""
    actor = actor_of(width)
    prunekit.save(prunekit.make_artifact(actor, None, {}), folder / f"{width}.pt")
    (folder / f"{width}.onnx").write_bytes(checked_onnx(actor, Path(), {})[0])
    script = torch.jit.trace(actor.network, torch.zeros(1, INPUTS))  # type: ignore[no-untyped-call]
    script.save(str(folder / f"{width}.ts"))


def trace_network(network: nn.Module) -> object:
    """Trace and find groups."""
    return find_groups(trace(network, [Port(name="obs", shape=(INPUTS,))]).graph)


def construct(network: nn.Module) -> object:
    """Make a pruner beside an optimizer."""
    return prunekit.Pruner(network, torch.optim.Adam(network.parameters()), total_steps=1_000)


def shrink_network(network: nn.Module) -> object:
    """Shrink a torch network."""
    width = len(network.get_parameter("0.bias"))
    return prunekit.shrink(
        network, {name: torch.from_numpy(keep) for name, keep in masks_of(("0", "2"), width).items()}
    )


def shrink_graph(graph: Graph) -> object:
    """Shrink a graph."""
    groups = find_groups(graph)
    return surgery.shrink(graph, masks_of([group.name for group in groups], groups[0].width))


def c_text(graph: Graph) -> object:
    """Write C into memory."""
    return c_code(graph, CSettings(name="policy"), {}, None)


def c_files(graph: Graph) -> object:
    """Write C, with all its checks."""
    with tempfile.TemporaryDirectory() as folder:
        return export_c(graph, Path(folder), CSettings(name="policy"), {}, lambda: np.zeros((0, INPUTS), np.float32))


def onnx_bytes(graph: Graph) -> object:
    """Write ONNX, with all its checks."""
    return checked_onnx(graph, Path(), {})


STEPS: dict[str, tuple[Callable[..., Any], Callable[..., object]]] = {
    "trace a torch network, find its groups": (network_of, trace_network),
    "make a `Pruner`": (network_of, construct),
    "`shrink` the torch network": (network_of, shrink_network),
    "shrink the graph": (graph_alone, shrink_graph),
    "read `model.pt`": (lambda width: Path(f"{width}.pt"), read_policy),
    "read ONNX": (lambda width: Path(f"{width}.onnx"), read_policy),
    "read TorchScript": (lambda width: Path(f"{width}.ts"), read_policy),
    "export ONNX, with its checks": (graph_alone, onnx_bytes),
    "write C": (graph_alone, c_text),
    "export C, with its checks": (graph_alone, c_files),
}
"""What makes the input of a step, by width, and the step."""


def measure(step: str, width: int) -> dict[str, float]:
    """Return the processor seconds of ``step``, and the largest resident size above that before, in bytes."""
    make, take = STEPS[step]
    take(make(SMALL))
    gc.collect()
    before = _status("VmRSS")
    given = make(width)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    began = time.process_time()
    made = take(given)
    seconds = time.process_time() - began
    found = {"seconds": seconds, "bytes": _status("VmHWM") - before}
    del made
    return found


def _status(entry: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{entry}:"))


def measured(step: str, width: int, folder: str) -> dict[str, float]:
    """Return the least of several runs, each in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), step, str(width)]
    runs = []
    for _ in range(REPEATS):
        done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout))
    return {key: min(run[key] for run in runs) for key in runs[0]}


def main() -> None:
    """Measure every step at every width, or one step as a child."""
    if sys.argv[1:]:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
        return
    found: dict[str, dict[int, Mapping[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for width in (SMALL, *WIDTHS):
            write_files(Path(folder), width)
        for step in STEPS:
            found[step] = {width: measured(step, width, folder) for width in WIDTHS}
            print(step, json.dumps(found[step]), flush=True)
    parameters = {width: graph_alone(width).parameter_count for width in WIDTHS}
    write_result("growth", "python benchmarks/growth.py", {"parameters": parameters, "steps": found})


if __name__ == "__main__":
    main()
