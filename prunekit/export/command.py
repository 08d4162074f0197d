"""What ``prunekit export`` does: choose the format, record what it needs, write, and say what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.environments import arguments_for, named_by_file
from prunekit.errors import InputError
from prunekit.export.c import CSettings, c_paths, export_c
from prunekit.export.c_code import c_name
from prunekit.export.onnx import export_onnx
from prunekit.export.quantize import Bits
from prunekit.export.recording import recorded_observations, require_episodes
from prunekit.export.system_headers import is_system_header
from prunekit.files import require_file
from prunekit.outputs import require_apart
from prunekit.policy.artifact import Artifact, load
from prunekit.policy.heads import ArgmaxHead
from prunekit.policy.program import lower


@final
@dataclass(frozen=True)
class ExportWords:
    """The words of the command line."""

    model: Path
    format: str = "onnx"
    int8: bool = False
    activations: int | None = None
    name: str | None = None
    self_test: bool = False
    arduino: bool = False
    env: str | None = None
    episodes: int = 5
    out: Path | None = None
    json_file: Path | None = None


@final
@dataclass(frozen=True)
class ExportOutcome:
    """Lines to print about files, and the same for machines."""

    lines: tuple[tuple[Path, str], ...]
    facts: Mapping[str, Any]


def export_file(words: ExportWords) -> ExportOutcome:
    """Export as ``words`` say; raises InputError for words that do not go together."""
    settings = _c_settings(words) if words.format == "c" else None
    if words.format not in ("onnx", "c"):
        raise InputError(f"--format {words.format} is unknown; choose onnx or c")
    if settings is None:
        _refuse_words_of_c(words)
    require_episodes(words.episodes)
    require_file(words.model)
    folder = words.out or words.model.parent
    written = [_onnx_path(words, folder)] if settings is None else c_paths(folder, settings)
    require_apart([words.model], written, words.json_file)
    artifact = load(words.model)
    outcome = _to_onnx(words, artifact, folder) if settings is None else _to_c(words, artifact, folder, settings)
    dead = sum(int((~keep).sum()) for keep in artifact.masks.values())
    if not dead:
        return outcome
    hint = outcome.lines[0][0], f"holds {dead} dead units; prunekit shrink {words.model} removes them"
    return ExportOutcome((*outcome.lines, hint), outcome.facts)


def bits_named(int8: bool, activations: int | None) -> Bits | None:
    """Return the bits of activations, None for float32; raises InputError for words that do not go together."""
    if activations is not None and not int8:
        raise InputError("--activations goes with --int8")
    if activations not in (None, 8, 16):
        raise InputError(f"--activations must be 16 or 8, got {activations}")
    if not int8:
        return None
    return 8 if activations == 8 else 16


def _c_settings(words: ExportWords) -> CSettings:
    bits = bits_named(words.int8, words.activations)
    name = c_name(words.model.stem) if words.name is None else words.name
    if is_system_header(name):
        raise InputError(f"--name {name} is taken: {name}.h would hide a system's header; try {c_name(name)}")
    if c_name(name) != name:
        raise InputError(f"--name {name} is no name for C in lowercase letters, digits and _; try {c_name(name)}")
    return CSettings(name, bits, words.self_test, words.arduino)


def _refuse_words_of_c(words: ExportWords) -> None:
    given = {"--int8": words.int8, "--activations": words.activations is not None, "--name": words.name is not None}
    given |= {"--self-test": words.self_test, "--arduino": words.arduino, "--env": words.env is not None}
    for option, used in given.items():
        if used:
            raise InputError(f"{option} goes with --format c")


def _to_onnx(words: ExportWords, artifact: Artifact, folder: Path) -> ExportOutcome:
    report = export_onnx(artifact.actor, _onnx_path(words, folder), artifact.provenance)
    return ExportOutcome(
        ((report.path, report.summary),),
        {
            "onnx": str(report.path),
            "onnx_bytes": report.size_bytes,
            "largest_difference": report.largest_difference,
        },
    )


def _onnx_path(words: ExportWords, folder: Path) -> Path:
    return folder / f"{words.model.stem}.onnx"


def _to_c(words: ExportWords, artifact: Artifact, folder: Path, settings: CSettings) -> ExportOutcome:
    record = recorder(words.model, artifact, words.env, words.episodes)
    report = export_c(artifact.actor, folder, settings, artifact.provenance, record)
    if settings.activations is None:
        text = f"float32; torch and NumPy agree with it within {report.largest_difference:.2g}"
    else:
        far = f"actions within {report.largest_difference:.2g} of float32"
        if isinstance(artifact.actor.head, ArgmaxHead):
            far = f"{1.0 - report.largest_difference:.2%} of the actions those of float32"
        text = f"int8 weights, int{settings.activations} activations; {far} on {report.rows:,} recorded observations"
    facts = {
        "c": [str(path) for path in report.paths],
        "name": settings.name,
        "activations": settings.activations,
        "largest_difference": report.largest_difference,
    }
    return ExportOutcome(tuple((path, text) for path in report.paths if path.suffix == ".c"), facts)


def recorder(path: Path, artifact: Artifact, env: str | None, episodes: int) -> Callable[[], NDArray[np.float32]]:
    """Return what records observations of the policy at ``path``, in ``env`` or the environment that it names."""

    def record() -> NDArray[np.float32]:
        entry = artifact.provenance.get("env")
        if env is None and entry is None:
            raise InputError(f"{path}: names no environment to record observations in; give one with --env")
        env_id, kwargs = named_by_file(path, entry) if env is None else (env, arguments_for(env, path, entry) or {})
        return recorded_observations(lower(artifact.actor), env_id, kwargs, episodes)

    return record
