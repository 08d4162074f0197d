"""The memory that a model adds to a process with the runtime, and that each further copy adds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import final

from prunekit.benching.models import BenchModel
from prunekit.errors import CheckError
from prunekit.formats.text import shown

_COPIES = 64
"""Loaded copies over which the memory of a further one is averaged."""


@final
@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes that a model adds to the process's proportional set size, and bytes that each further copy adds.

    The second figure is anonymous memory, averaged over many loaded copies. It shows the effect of compression, while
    the first is nearly all runtime.
    """

    memory_bytes: int
    marginal_memory_bytes: int


def measure_memory(model: BenchModel, inputs: int, *, copies: int = _COPIES) -> Memory | None:
    """Measure ``model`` and ``copies`` of it, on observations of ``inputs`` values, in a new process without torch.

    Returns None on systems without ``/proc/self/smaps_rollup``. Raises CheckError if the process fails.
    """
    if not Path("/proc/self/smaps_rollup").exists():
        return None
    child = Path(__file__).with_name("memory_child.py")
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(model.content)
        file.flush()
        command = [sys.executable, "-I", str(child), file.name, str(inputs), str(copies)]
        # As in export/session.py; ONNX Runtime respects the caller's own setting.
        environment = {"ORT_DISABLE_TELEMETRY": "1", **os.environ}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        reason = shown(done.stderr.strip().splitlines()[-1]) if done.stderr.strip() else f"exit code {done.returncode}"
        raise CheckError(f"{model.path}: memory could not be measured ({reason})")
    figures = json.loads(done.stdout)
    return Memory(
        memory_bytes=int(figures["memory_bytes"]), marginal_memory_bytes=int(figures["marginal_memory_bytes"])
    )
