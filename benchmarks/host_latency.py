"""What one action takes on this machine, in ONNX Runtime, LiteRT, other C, and prunekit's C, with and without Python.

    python benchmarks/host_latency.py    # needs ai-edge-litert and emx-onnx-cgen; benchmarks/results/host_latency.json

One observation, one thread, everything in one process and one run, in alternating blocks, so that noise hits all alike.
From Python each call is timed, less the timer's own cost; in C a sample is the mean of 100 calls. Reading the weights
alone, in C, is the least that the dense policy can take. C that is not prunekit's gets vectors of the width that it is
faster with. The policies: the shipped ones of Hopper-v5, dense and compact, and untrained weights in the shape
11-18-18-3. All ways are checked to give the same action first.
"""

from __future__ import annotations

import ctypes
import gc
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import onnxruntime
from devices import PROBE, observed, program_of, written
from host_rivals import c_loop, emx_source, litert, quicker_c_loop, reading_source
from record import write_result

from prunekit.benching.host import host_facts
from prunekit.benching.models import BenchModel
from prunekit.benching.runtimes import OnnxRuntime
from prunekit.environments import spaces_of
from prunekit.export.onnx import to_onnx
from prunekit.policy.graphs import graph_of
from prunekit.policy.program import Program
from prunekit.runtimes.native import NativePolicy, vector_flags

POLICIES = ("Hopper-v5 dense", PROBE, "Hopper-v5 compact")
ROUNDS, BLOCK, C_CALLS, C_BLOCK = 100, 100, 100, 20
Ways = dict[str, Callable[[], Any]]
Loops = dict[str, Callable[[int], float]]


def ways_of(program: Program, observation: np.ndarray, folder: Path) -> tuple[Ways, Loops]:
    """Return what is called from Python, and what is called in a loop of C, after a check that all agree."""
    content = to_onnx(graph_of(program), {})
    file = folder / "policy.onnx"
    file.write_bytes(content)
    batch = observation[None]
    default = onnxruntime.InferenceSession(content)
    spaces = spaces_of(gym.make("Hopper-v5"))
    model = BenchModel(
        path=file,
        content=content,
        size_bytes=len(content),
        hidden=program.hidden,
        parameters=program.parameters,
        macs=program.macs,
    )
    tuned = OnnxRuntime(model, spaces)
    lite = litert(program)
    code = written(program, "float32", observation[None])
    native, action = NativePolicy(code), np.zeros(program.outputs, np.float32)
    code.write(folder)
    sizes = program.inputs, program.outputs
    own = folder / "own"
    own.mkdir()
    call = f"{code.name}_action(observation, action)"
    vectors = vector_flags(wide=code.wide)  # as the extension has them
    _, own_loop = c_loop(own, folder / f"{code.name}.c", f'#include "{code.name}.h"', call, sizes, vectors)
    alone = folder / "alone"
    alone.mkdir()
    source = reading_source(alone, program.parameters)
    _, reading_loop = quicker_c_loop(alone, source, "void reading(void);", "reading()", sizes)
    emx_library, emx_loop, emx_call = _emx(file, folder, program, observation)
    agreed = {
        "ONNX Runtime, default": default.run(["action"], {"obs": batch})[0][0],
        "ONNX Runtime, tuned": tuned.act(observation),
        "LiteRT": lite(batch)[0],
        "emx-onnx-cgen": emx_call(),
        "prunekit": native.act(observation),
    }
    for name, found in agreed.items():
        assert np.allclose(found, agreed["prunekit"], atol=1e-4), (name, found, agreed["prunekit"])
    ways: Ways = {
        "ONNX Runtime, default": lambda: default.run(["action"], {"obs": batch}),
        "ONNX Runtime, tuned": tuned.call,
        "LiteRT": lambda: lite(batch),
        "emx-onnx-cgen's C through ctypes": emx_library,
        "prunekit's C through its extension": lambda: native.run(observation, action),
    }
    loops = {"emx-onnx-cgen's C": emx_loop, "prunekit's C": own_loop, "reading the weights alone": reading_loop}
    return ways, loops


def _emx(file: Path, folder: Path, program: Program, observation: np.ndarray) -> tuple[Any, Any, Any]:
    source = emx_source(file, folder)
    other = folder / "other"
    other.mkdir()
    count = program.outputs
    shape = f"const float o[1][{program.inputs}], float a[1][{count}], float s[1][{count}], float t[1][{count}]"
    pointers = (
        f"(const float (*)[{program.inputs}])observation",
        *(f"(float (*)[{count}]){name}" for name in ("action", "outputs", "scores")),  # as the ONNX file has them
    )
    sizes = program.inputs, program.outputs
    library, loop = quicker_c_loop(other, source, f"void emx({shape});", f"emx({', '.join(pointers)})", sizes)
    action, outputs, scores = (np.zeros(count, np.float32) for _ in range(3))
    buffers = (observation, action, outputs, scores)
    given = [ctypes.c_void_p(values.ctypes.data) for values in buffers]
    function = library.emx

    def call(_: object = buffers) -> None:  # which keeps the buffers alive
        function(*given)

    def called() -> np.ndarray:
        call()
        return action.copy()

    return call, loop, called


def timed(call: Callable[[], Any]) -> int:
    """Return how many ns one call takes."""
    begun = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - begun


def percentiles(samples: list[float], off: float) -> dict[str, float]:
    """Return p50 and p99 in microseconds of samples in ns, ``off`` taken off each."""
    p50, p99 = (np.percentile(samples, [50, 99]) - off) / 1000.0
    return {"p50": round(float(p50), 4), "p99": round(float(p99), 4)}


def measure() -> dict[str, Any]:
    """Return the percentiles of every policy and way."""
    with tempfile.TemporaryDirectory() as name:
        found = {}
        for policy in POLICIES:
            folder = Path(name) / policy.replace(" ", "-")
            folder.mkdir()
            found[policy] = ways_of(program_of(policy), observed("Hopper-v5 compact")[100].copy(), folder)
        samples: dict[tuple[str, str], list[float]] = {}
        gc.disable()
        timer = float(np.median([timed(lambda: None) for _ in range(10_000)]))
        for _ in range(ROUNDS):
            for policy, (ways, loops) in found.items():
                for way, call in ways.items():
                    samples.setdefault((policy, way), []).extend(timed(call) for _ in range(BLOCK))
                for way, loop in loops.items():
                    own = [loop(C_CALLS) for _ in range(C_BLOCK)]
                    samples.setdefault((policy, f"{way}, called in C"), []).extend(own)
        gc.enable()
    return {
        policy: {
            way: percentiles(own, 0.0 if way.endswith("in C") else timer)
            for (other, way), own in samples.items()
            if other == policy
        }
        for policy in POLICIES
    }


def main() -> None:
    """Measure and write."""
    assert os.environ.get("OMP_NUM_THREADS") == "1", "set OMP_NUM_THREADS=1"
    found = measure()
    for policy, ways in found.items():
        for way, entry in ways.items():
            print(f"{policy:20} {way:40} {entry['p50']:8.3f} {entry['p99']:8.3f}")
    host = host_facts(gym.make("Hopper-v5").spec)
    print(write_result("host_latency", "python benchmarks/host_latency.py", {"host": host, "microseconds": found}))


if __name__ == "__main__":
    main()
