"""A script that measures the memory of a model, run by path in a process that has only ONNX Runtime.

Arguments: the ONNX file, the width of an observation, and the number of further copies to load. Prints bytes as JSON.
"""

import gc
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def _proportional_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _anonymous_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon:"))


def _used_session(path: str, inputs: int, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    dtype = np.float64 if source.type == "tensor(double)" else np.float32
    for _ in range(10):
        session.run(None, {source.name: np.zeros((1, inputs), dtype)})
    return session


def main() -> None:
    """Measure and print."""
    path, inputs, copies = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    gc.collect()
    empty = _proportional_bytes()
    sessions = [_used_session(path, inputs, options)]
    loaded = _proportional_bytes()
    before = _anonymous_bytes()
    sessions += [_used_session(path, inputs, options) for _ in range(copies)]
    marginal = (_anonymous_bytes() - before) / copies
    result = {"runtime_bytes": empty, "memory_bytes": loaded - empty, "marginal_memory_bytes": round(marginal)}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
