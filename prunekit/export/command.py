"""The command ``prunekit export``: it chooses the format, records observations if needed, writes, and reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.environments import Spaces, arguments_for, make_environment, named_by_file, spaces_of
from prunekit.errors import InputError
from prunekit.export.c import CSettings, c_paths, export_c
from prunekit.export.c_code import c_name
from prunekit.export.card_folder import FILES as CARD_FILES
from prunekit.export.card_folder import write_card_folder
from prunekit.export.onnx import export_onnx
from prunekit.export.quantize import Bits
from prunekit.export.recording import read_observations, recorded_observations, require_episodes
from prunekit.export.system_headers import is_system_header
from prunekit.graph.graph import Graph
from prunekit.outputs import require_apart, require_folder, require_not_foreign
from prunekit.policy.actions import with_actions_of
from prunekit.readers.normalizers import files_beside
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.read import policy_kind, read_policy
from prunekit.readers.registry import require_policy
from prunekit.readers.zoo import env_advice

if TYPE_CHECKING:
    from prunekit.policy.actor import Actor


@final
@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The options of ``prunekit export``."""

    policy: Path
    format: str = "onnx"
    int8: bool = False
    activations: int | None = None
    name: str | None = None
    self_test: bool = False
    arduino: bool = False
    card: bool = False
    env: str | None = None
    episodes: int = 5
    observations: Path | None = None
    options: PolicyOptions
    out: Path | None = None
    json_file: Path | None = None


@final
@dataclass(frozen=True, kw_only=True)
class ExportOutcome:
    """Lines about the written files, and the same as data."""

    lines: tuple[tuple[Path, str], ...]
    facts: Mapping[str, Any]


def export_file(request: ExportOptions) -> ExportOutcome:
    """Export as ``request`` says; raises InputError for options that exclude each other."""
    settings = _c_settings(request) if request.format == "c" else None
    if request.card and settings is not None:
        raise InputError("`card` needs `format` onnx; C has no card")
    if request.format not in ("onnx", "c"):
        raise InputError(f"`format` {request.format} is unknown; choose onnx or c")
    if settings is None:
        _refuse_options_of_c(request)
    require_episodes(request.episodes)
    require_policy(request.policy)
    folder = request.out or (
        request.policy.with_name(f"{request.policy.stem}-card") if request.card else request.policy.parent
    )
    file = _named_file(request)
    if file is None and request.out is not None:
        require_folder(request.out)
    onnx = folder / f"{request.policy.stem}.onnx" if file is None else file
    written = [onnx] if settings is None else c_paths(folder, settings)
    if request.card:
        written = [folder / name for name in CARD_FILES]
    read = [request.policy, request.options.normalizer, request.observations, *files_beside(request.policy)]
    require_apart(read, written, request.json_file)
    if file is None and not request.card:  # a card has rules of its own
        require_not_foreign(written)
    policy = _read(request)
    if request.card:
        outcome = _to_card(request, policy, folder)
    else:
        outcome = _to_onnx(policy, onnx) if settings is None else _to_c(request, policy, folder, settings)
    lines = list(outcome.lines)
    if policy.masks is None or request.card:
        lines += [(request.policy, text) for text in (policy.recognised, *policy.notes)]
    else:
        dead = sum(int((~keep).sum()) for keep in policy.masks.values())
        if dead:
            lines.append((lines[0][0], f"holds {dead} dead units; prunekit shrink {request.policy} removes them"))
    return ExportOutcome(
        lines=tuple(lines), facts={**outcome.facts, "recognised": policy.recognised, "notes": list(policy.notes)}
    )


def _read(request: ExportOptions) -> PolicyFile:
    """Return the policy; ``--env`` supplies the head if the file's action space is unknown."""
    spaces, policy = None, None
    if policy_kind(request.policy) == "model":
        policy = read_policy(request.policy, request.options)
    if request.env is not None and (policy is None or policy.keeps_outputs):
        spaces = _spaces_in(request.env)
    elif request.env is not None and request.format == "onnx":
        raise InputError("`env` needs `format` c; this file says what its actions are")
    policy = policy or read_policy(request.policy, request.options, spaces=spaces)
    if spaces is None or not policy.keeps_outputs:
        return policy
    graph = with_actions_of(policy.graph, spaces, str(request.policy))
    return replace(policy, graph=graph, artifact=None, keeps_outputs=False)


def _spaces_in(env: str) -> Spaces:
    environment = make_environment(env)
    try:
        return spaces_of(environment)
    finally:
        environment.close()


def bits_named(int8: bool, activations: int | None) -> Bits | None:
    """Return the bits of activations, None for float32; raises InputError for options that exclude each other."""
    if activations is not None and not int8:
        raise InputError("`activations` needs `int8`")
    if activations not in (None, 8, 16):
        raise InputError(f"`activations` must be 16 or 8, got {activations}")
    if not int8:
        return None
    return 8 if activations == 8 else 16


def _c_settings(request: ExportOptions) -> CSettings:
    bits = bits_named(request.int8, request.activations)
    name = c_name(request.policy.stem) if request.name is None else request.name
    if is_system_header(name):
        raise InputError(f"`name` {name} is taken: {name}.h would hide a system header; try {c_name(name)}")
    if c_name(name) != name:
        raise InputError(f"`name` {name} is not a C name (lowercase letters, digits and _); try {c_name(name)}")
    return CSettings(name=name, activations=bits, self_test=request.self_test, arduino=request.arduino)


def _refuse_options_of_c(request: ExportOptions) -> None:
    given = {
        "`int8`": request.int8,
        "`activations`": request.activations is not None,
        "`name`": request.name is not None,
    }
    given |= {"`self_test`": request.self_test, "`arduino`": request.arduino}
    given |= {"`observations`": request.observations is not None}
    for option, used in given.items():
        if used:
            raise InputError(f"{option} needs `format` c")


def _to_onnx(policy: PolicyFile, path: Path) -> ExportOutcome:
    report = export_onnx(source_of(policy), path, policy.metadata, with_torch=policy.with_torch)
    return ExportOutcome(
        lines=((report.path, report.summary),),
        facts={
            "onnx": str(report.path),
            "onnx_bytes": report.size_bytes,
            "largest_difference": report.largest_difference,
        },
    )


def _to_card(request: ExportOptions, policy: PolicyFile, folder: Path) -> ExportOutcome:
    paths = write_card_folder(policy, folder, request.env)
    lines = tuple((path, f"{path.stat().st_size:,} bytes") for path in paths)
    return ExportOutcome(lines=lines, facts={"card": [str(path) for path in paths]})


def _named_file(request: ExportOptions) -> Path | None:
    """Return ``out`` if it is the ONNX file to write; None if it is a folder."""
    out = request.out
    if out is None or request.format != "onnx" or request.card or out.suffix != ".onnx" or out.is_dir():
        return None
    return out


def source_of(policy: PolicyFile) -> Actor | Graph:
    """Return the form of ``policy`` with which exports are compared: its actor, if there is one."""
    return policy.graph if policy.artifact is None else policy.artifact.actor


def _to_c(request: ExportOptions, policy: PolicyFile, folder: Path, settings: CSettings) -> ExportOutcome:
    record = recorder(policy, request.env, request.episodes, request.observations)
    report = export_c(source_of(policy), folder, settings, policy.metadata, record, with_torch=policy.with_torch)
    if settings.activations is None:
        ways = "torch and NumPy agree" if policy.with_torch else "NumPy agrees"
        text = f"float32; {ways} with it within {report.largest_difference:.2g}"
    else:
        far = f"{1.0 - report.largest_difference:.2%} of the actions equal those of float32"
        if report.largest_action is not None:
            size = f"actions of up to {report.largest_action:.3g}"
            far = f"{size} within {report.largest_difference:.2g} of float32"
        text = f"int8 weights, int{settings.activations} activations; {far} on {report.rows:,} recorded observations"
    facts = {
        "c": [str(path) for path in report.paths],
        "name": settings.name,
        "activations": settings.activations,
        "largest_difference": report.largest_difference,
        "largest_action": report.largest_action,
    }
    return ExportOutcome(lines=tuple((path, text) for path in report.paths if path.suffix == ".c"), facts=facts)


def recorder(
    policy: PolicyFile, env: str | None, episodes: int, observations: Path | None = None
) -> Callable[[], NDArray[np.float32]]:
    """Return a function that gives observations of ``policy``: from a file, or recorded in ``env`` or the environment
    that its file names.
    """

    def record() -> NDArray[np.float32]:
        if observations is not None:
            return read_observations(observations, policy.graph)
        path, entry = policy.path, policy.metadata.get("env")
        if env is None and entry is None:
            raise InputError(
                f"{path}: names no environment to record observations in; {env_advice(path)}, or some observations of "
                "its own with `observations` FILE.npy"
            )
        env_id, kwargs = named_by_file(path, entry) if env is None else (env, arguments_for(env, path, entry) or {})
        return recorded_observations(policy.graph, env_id, kwargs, episodes)

    return record
