"""ONNX Runtime sessions for deployed policies: checked first, one thread, limited memory, no telemetry."""

from __future__ import annotations

import importlib
import os
from functools import cache
from pathlib import Path
from typing import Any

from prunekit.errors import ArtifactError
from prunekit.files import require_file
from prunekit.formats.onnx_file import parse_onnx
from prunekit.formats.onnx_work import Work, bound_work
from prunekit.formats.text import reason_of

_TELEMETRY = "ORT_DISABLE_TELEMETRY"
_MAX_BYTES = 2**30


def _without_telemetry() -> Any:
    """Import ONNX Runtime with its telemetry off.

    On import, ONNX Runtime writes a device id and a database to the user's cache folder and a session file to TMPDIR,
    and warns on stderr if it cannot. ``disable_telemetry_events`` is too late to prevent that. The environment variable
    is read once, during the import, so the caller's environment is restored afterwards. A value that the user has set
    is respected.
    """
    if _TELEMETRY in os.environ:
        return importlib.import_module("onnxruntime")
    os.environ[_TELEMETRY] = "1"
    try:
        return importlib.import_module("onnxruntime")
    finally:
        del os.environ[_TELEMETRY]


onnxruntime = _without_telemetry()


def work_of(content: bytes, called: str, *, batch: int = 1, width: int | None = None) -> Work:
    """Return the limits of one run of the model in ``content``; raises ArtifactError as ``bound_work`` does."""
    return bound_work(parse_onnx(content, called), called, batch=batch, width=width)


def tuned_session(model: bytes | Path, called: str = "model") -> Any:
    """Return an ``onnxruntime.InferenceSession`` with one thread that does not spin; ``called`` names bytes in errors.

    ONNX Runtime's default threads spin between calls: 57% of a CPU at 50 Hz, compared with 1.1% with these options. All
    sessions together may allocate 1 GiB. Raises ArtifactError, in one line, if it is not an ONNX model that ONNX
    Runtime can run, or if its work is unbounded; such a model is never passed to ONNX Runtime.
    """
    if isinstance(model, Path):
        require_file(model)
        return checked_session(model.read_bytes(), str(model))[0]
    return checked_session(model, called)[0]


def checked_session(content: bytes, called: str) -> tuple[Any, Work]:
    """Return ``tuned_session`` of ``content`` and the limits of one run; raises as that does."""
    work = work_of(content, called)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = 4
    _limit_memory()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]), work
    except Exception as error:  # ONNX Runtime's own exception types share no public base
        raise ArtifactError(f"{called}: ONNX Runtime cannot run it ({reason_of(error)})") from error


@cache
def _limit_memory() -> None:
    """Register an allocator that only sessions asking for it use; a caller's own sessions keep theirs."""
    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg({"max_mem": _MAX_BYTES}))
