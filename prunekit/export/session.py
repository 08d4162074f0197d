"""ONNX Runtime as a deployed policy wants it: checked before, one thread, bounded memory, no telemetry."""

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

    As it is imported, ONNX Runtime writes a device id and a database below the user's cache folder and a session file
    into TMPDIR, and a warning on stderr where it cannot; ``disable_telemetry_events`` comes too late for that. It reads
    the variable once, at that moment, so that the caller's environment is left as it was. Who sets it is obeyed.
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
    """Return what one run of the model in ``content`` can do at most; raises ArtifactError as ``bound_work``."""
    return bound_work(parse_onnx(content, called), called, batch=batch, width=width)


def tuned_session(model: bytes | Path, called: str = "model") -> Any:
    """Return an ``onnxruntime.InferenceSession`` of one thread that does not spin; errors call bytes ``called``.

    ONNX Runtime's default threads spin between calls: 57% of a CPU at 50 Hz against 1.1% with these options. All
    sessions together may allocate 1 GiB. Raises ArtifactError, in one line, where the file or the bytes are no ONNX
    model that ONNX Runtime can run, or one whose work nothing bounds; the latter it never sees.
    """
    if isinstance(model, Path):
        require_file(model)
        return checked_session(model.read_bytes(), str(model))[0]
    return checked_session(model, called)[0]


def checked_session(content: bytes, called: str) -> tuple[Any, Work]:
    """Return ``tuned_session`` of ``content``, and what one run of it can do at most; raises as that does."""
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
    """Register the allocator of sessions that ask for the process's own: others, of a caller's, keep theirs."""
    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg({"max_mem": _MAX_BYTES}))
